/** What both wires do with node's socket: connect, pause, end, close. A repeated call does nothing; a closed wire calls nobody. */
import { isIP, type Socket } from 'node:net';
import type { WireEvents } from '../../contract/wire.ts';
import { type DialEvents, type DialTarget, dial } from './dial.ts';
import type { ConnectEvents } from './wire-maker.ts';

/** How long the end of a TLS connection may wait for the kernel. */
const LAST_WORDS_MS = 2_000;

/** SocketBound is the base of HandleWire and SocketWire. All connections of a process use one of them, so V8 sees one shape. */
export abstract class SocketBound implements DialEvents {
  closed = false;
  writeFailed = false;
  events: WireEvents;
  /** The TLS socket once a handshake with a backend is over. */
  protected socket: Socket;
  /** The TCP socket below TLS to a backend; null for any other wire. */
  protected tcp: Socket | null = null;
  /** The TLS handshake is over. */
  #isSecure: boolean;
  /** Who is told when the connection to a backend is open; null: it is, or was accepted. */
  #opening: ConnectEvents | null = null;
  paused = false;
  /** end() was called: our FIN follows what was written. */
  protected finSent = false;

  constructor(socket: Socket, events: WireEvents) {
    this.socket = socket;
    this.events = events;
    // A client's handshake is over before it has a wire.
    this.#isSecure = 'encrypted' in socket;
    socket.on('error', (error) => this.broken(error));
  }

  /** connect is called once, by the maker of a wire to a backend. */
  connect(target: DialTarget, events: ConnectEvents): void {
    this.#opening = events;
    dial(this.socket, target, this);
  }

  onOpen(socket: Socket): void {
    const events = this.#opening;
    this.#opening = null;
    if (this.closed || events === null) return;
    if (socket !== this.socket) {
      this.tcp = this.socket;
      this.socket = socket;
      this.#isSecure = true;
    }
    this.opened(events);
  }

  onTlsError(error: Error): void {
    this.broken(error);
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
    // Over TLS the peer is told of the end (close_notify), unless that would have to wait for it.
    const mayTell = this.#isSecure && !this.writeFailed && !this.blocked;
    if (!this.#shut()) return;
    if (mayTell) this.tellEnd();
    else this.socket.destroy();
  }

  /** tellEnd sends close_notify and our FIN, and then closes. */
  protected tellEnd(): void {
    this.socket.setTimeout(LAST_WORDS_MS, destroySocket);
    this.socket.destroySoon();
  }

  reset(): void {
    if (this.#shut()) resetOrDestroy(this.tcp ?? this.socket);
  }

  /** failWrites is called when a write fails on a connection that stays open. The owner is told once, a tick later. */
  failWrites(error: Error): void {
    if (this.closed || this.writeFailed) return;
    this.writeFailed = true;
    process.nextTick(() => {
      if (!this.closed) this.events.onWriteError(error);
    });
  }

  abstract readonly blocked: boolean;

  /** opened is called when the connection to a backend is open; it tells the owner. */
  protected abstract opened(events: ConnectEvents): void;

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

/** resetOrDestroy closes a socket by a RST where the transport allows it (TCP without TLS), else without. */
export function resetOrDestroy(socket: Socket): void {
  // node cannot reset while a FIN waits behind unsent bytes: it would leave the connection open for ever.
  if (socket.writableEnded && !socket.writableFinished) socket.destroy();
  else if (isIP(socket.remoteAddress ?? '') !== 0 && !('encrypted' in socket)) socket.resetAndDestroy();
  else socket.destroy();
}

function destroySocket(this: Socket): void {
  this.destroy();
}
