/**
 * The half that both wires share: how node's socket is connected, held back, ended and given up, and how the owner
 * hears of a failure. A call that is repeated does nothing, and a closed wire calls nobody.
 */
import type { Socket } from 'node:net';
import { backendNames } from '../backend-names.ts';
import { type ConnectTarget, resetOrDestroy, type WireEvents } from './wire.ts';

/** How long before the operating system asks a silent backend whether it is there. */
const KEEP_ALIVE_PROBE_MS = 30_000;

/** SocketBound is the base of HandleWire and SocketWire. A process makes only one of the two, so V8 sees one shape. */
export abstract class SocketBound {
  closed = false;
  writeFailed = false;
  protected readonly socket: Socket;
  protected readonly events: WireEvents;
  protected paused = false;
  /** Our FIN is on its way, behind what was written. */
  protected finSent = false;

  constructor(socket: Socket, events: WireEvents) {
    this.socket = socket;
    this.events = events;
    socket.on('error', (error) => this.broken(error));
  }

  /** connect is called once, by the maker of a wire to a backend. */
  connect(target: ConnectTarget, onConnect: () => void): void {
    this.socket.on('connect', () => {
      if (!this.closed) onConnect();
    });
    this.socket.setNoDelay(true);
    this.socket.setKeepAlive(true, KEEP_ALIVE_PROBE_MS);
    this.socket.connect({ host: target.host, port: target.port, lookup: backendNames.lookup });
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

  /** failWrites is called when a write fails on a connection that stays open: its owner hears once, a tick later. */
  failWrites(error: Error): void {
    if (this.closed || this.writeFailed) return;
    this.writeFailed = true;
    process.nextTick(() => {
      if (!this.closed) this.events.onWriteError(error);
    });
  }

  /** applyPaused stops or starts reading, as `paused` now says. */
  protected abstract applyPaused(): void;

  /** letGo drops what a closed wire needs no more. */
  protected abstract letGo(): void;

  /** broken closes the wire and tells its owner why; nothing is told behind it. */
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
    this.letGo();
    return true;
  }
}
