/** What both wires do with node's socket: connect, pause, end, close. A repeated call does nothing; a closed wire calls nobody. */
import type { Socket } from 'node:net';
import type { WireEvents } from '../../contract/wire.ts';
import { backendNames } from '../backend-names.ts';
import { resetOrDestroy } from './wire.ts';

/** After this much silence the operating system asks a backend whether it is there. */
const KEEP_ALIVE_PROBE_MS = 30_000;

/** SocketBound is the base of HandleWire and SocketWire. A process uses only one of them, so V8 sees one shape. */
export abstract class SocketBound {
  closed = false;
  writeFailed = false;
  protected readonly socket: Socket;
  events: WireEvents;
  protected paused = false;
  /** end() was called: our FIN follows what was written. */
  protected finSent = false;

  constructor(socket: Socket, events: WireEvents) {
    this.socket = socket;
    this.events = events;
    socket.on('error', (error) => this.broken(error));
  }

  /** connect is called once, by the maker of a wire to a backend. */
  connect(target: { host: string; port: number }, onConnect: () => void): void {
    // `once`: a listener that stays would keep the first owner alive.
    this.socket.once('connect', () => {
      if (!this.closed) onConnect();
    });
    this.socket.setNoDelay(true);
    this.socket.setKeepAlive(true, KEEP_ALIVE_PROBE_MS);
    this.socket.connect({ host: target.host, port: target.port, lookup: backendNames.lookup });
  }

  handTo(events: WireEvents): void {
    this.events = events;
  }

  pause(): void {
    this.#setPaused(true);
  }

  resume(): void {
    this.#setPaused(false);
  }

  end(): void {
    if (this.closed || this.finSent) return;
    this.finSent = true;
    this.socket.end();
  }

  close(): void {
    if (this.#shut()) this.socket.destroy();
  }

  reset(): void {
    if (this.#shut()) resetOrDestroy(this.socket);
  }

  /** failWrites is called when a write fails on a connection that stays open. The owner is told once, a tick later. */
  failWrites(error: Error): void {
    if (this.closed || this.writeFailed) return;
    this.writeFailed = true;
    process.nextTick(() => {
      if (!this.closed) this.events.onWriteError(error);
    });
  }

  /** applyPaused stops or resumes reading, as `paused` says. */
  protected abstract applyPaused(): void;

  /** dropReferences is called when the wire is closed. */
  protected abstract dropReferences(): void;

  /** broken closes the wire and tells its owner why. */
  protected broken(error: Error): void {
    if (this.closed) return;
    this.close();
    this.events.onBroken(error);
  }

  #setPaused(paused: boolean): void {
    if (this.closed || this.paused === paused) return;
    this.paused = paused;
    this.applyPaused();
  }

  /** @returns whether the wire was open until now */
  #shut(): boolean {
    if (this.closed) return false;
    this.closed = true;
    this.dropReferences();
    return true;
  }
}
