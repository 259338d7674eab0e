/**
 * The first bytes of a connection where HTTP/2 may come without TLS (`h2c`): with prior knowledge a client begins with the preface
 * (RFC 9113 §3.4), which is no request of HTTP/1.1. The bytes are put back, and the connection is handed over to its protocol.
 */
import type { Socket } from 'node:net';
import type { ClientFacts } from '../../contract/downstream.ts';
import { BaseConnection, type ConnectionOwner, type ServeConnection } from './base-connection.ts';

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');
/** What a refused client gets to read its answer. */
const REFUSED_MS = 2_000;

interface FirstProtocols {
  http1: ServeConnection;
  h2: ServeConnection;
}

/** FirstBytes is a connection until its protocol is known; made by Acceptor. */
export class FirstBytes extends BaseConnection {
  readonly protocol = 'pending';
  readonly idle = true;
  readonly #socket: Socket;
  readonly #protocols: FirstProtocols;
  #bytes: Buffer = Buffer.alloc(0);
  #isRefused = false;

  readonly #onData = (chunk: Buffer): void => this.#take(chunk);
  readonly #onEnd = (): void => this.#refuse(400);
  readonly #onError = (): void => undefined;
  readonly #onClose = (): void => this.leave();

  constructor(socket: Socket, client: ClientFacts, owner: ConnectionOwner, protocols: FirstProtocols) {
    super(client, owner);
    this.#socket = socket;
    this.#protocols = protocols;
    socket.on('data', this.#onData);
    socket.on('end', this.#onEnd);
    socket.on('error', this.#onError);
    socket.on('close', this.#onClose);
    this.arm(owner.plan.timeouts.headersMs);
  }

  get receiving(): boolean {
    return this.#bytes.length > 0;
  }

  destroy(): void {
    this.#socket.destroy();
  }

  protected override onDue(): void {
    this.#refuse(408);
  }

  #take(chunk: Buffer): void {
    if (this.#isRefused) return;
    this.#bytes = this.#bytes.length === 0 ? chunk : Buffer.concat([this.#bytes, chunk]);
    const size = Math.min(this.#bytes.length, PREFACE.length);
    const isPreface = this.#bytes.compare(PREFACE, 0, size, 0, size) === 0;
    if (!isPreface) this.#handOver(this.#protocols.http1);
    else if (size === PREFACE.length) this.#handOver(this.#protocols.h2);
  }

  #handOver(serve: ServeConnection): void {
    const socket = this.#socket;
    if (socket.destroyed) return;
    socket.off('data', this.#onData);
    socket.off('end', this.#onEnd);
    socket.off('close', this.#onClose);
    this.forgetDeadline();
    // Paused, for a flowing socket would give the bytes to nobody.
    socket.pause();
    socket.unshift(this.#bytes);
    this.owner.replace(this, serve(socket, this.client));
    socket.off('error', this.#onError);
    if (serve === this.#protocols.http1) socket.resume();
  }

  /** Half a preface may have been half a request line. */
  #refuse(status: number): void {
    if (this.#bytes.length === 0 || this.#isRefused) {
      this.#socket.destroy();
      return;
    }
    this.#isRefused = true;
    this.#socket.end(this.owner.refusalOf(this, { status, method: null }), 'latin1');
    this.arm(REFUSED_MS);
  }
}
