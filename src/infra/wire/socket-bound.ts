/** What both wires do with node's socket: connect, pause, end, close. A repeated call does nothing; a closed wire calls nobody. */
import type { Socket } from 'node:net';
import type { WireEvents } from '../../contract/wire.ts';
import { backendNames } from '../backend-names.ts';
import type { BackendTls } from './backend-tls.ts';
import { type ConnectTarget, resetOrDestroy } from './wire-maker.ts';

/** After this much silence the operating system asks a backend whether it is there. */
const KEEP_ALIVE_PROBE_MS = 30_000;
/** How long the end of a TLS connection may wait for the kernel. */
const LAST_WORDS_MS = 2_000;

/** SocketBound is the base of HandleWire and SocketWire. A process uses only one of them, so V8 sees one shape. */
export abstract class SocketBound {
  closed = false;
  writeFailed = false;
  events: WireEvents;
  /** The TLS socket from the start of a handshake with a backend on. */
  protected socket: Socket;
  /** The TCP socket below TLS to a backend; null for any other wire. */
  protected tcp: Socket | null = null;
  /** The TLS handshake is over. */
  #isSecure: boolean;
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
  connect(target: ConnectTarget, onConnect: () => void): void {
    const { tls, proxyHeader = '' } = target;
    // `once`: a listener that stays would keep the first owner alive.
    this.socket.once('connect', () => {
      if (this.closed) return;
      // The kernel takes so few first bytes at once.
      if (proxyHeader !== '') this.socket.write(proxyHeader, 'latin1');
      if (tls === undefined) onConnect();
      else this.#secure(tls, onConnect);
    });
    connectBackend(this.socket, target);
  }

  #secure(tls: BackendTls, onConnect: () => void): void {
    this.tcp = this.socket;
    this.socket = tls.start(this.tcp, () => {
      if (this.closed) return;
      this.#isSecure = true;
      onConnect();
    });
    this.socket.on('error', (error) => this.broken(tls.explain(error)));
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
    const mayTell = this.#isSecure && !this.finSent && !this.writeFailed && !this.blocked;
    if (!this.#shut()) return;
    if (mayTell) this.tellEnd();
    else this.closeSocket();
  }

  protected closeSocket(): void {
    this.socket.destroy();
  }

  /** tellEnd sends close_notify and our FIN, and then closes. */
  protected tellEnd(): void {
    this.socket.setTimeout(LAST_WORDS_MS, destroySocket);
    this.socket.destroySoon();
  }

  reset(): void {
    if (this.#shut()) this.resetSocket();
  }

  protected resetSocket(): void {
    resetOrDestroy(this.tcp ?? this.socket);
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

/** connectBackend begins to connect a socket to a backend, by address or name. */
export function connectBackend(socket: Socket, { host, port }: { host: string; port: number }): void {
  socket.setNoDelay(true);
  socket.setKeepAlive(true, KEEP_ALIVE_PROBE_MS);
  socket.connect({ host, port, lookup: backendNames.lookup });
}

function destroySocket(this: Socket): void {
  this.destroy();
}
