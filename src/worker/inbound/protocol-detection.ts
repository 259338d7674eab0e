/**
 * The first bytes of a connection where HTTP/2 may come without TLS (`h2c`): with prior knowledge a client begins with the preface
 * (RFC 9113 §3.4), which is no request of HTTP/1.1. The bytes are put back, and the connection is handed over to its protocol.
 */
import type { Socket } from 'node:net';
import type { ClientFacts } from '../../contract/downstream.ts';
import { PREFACE } from '../../http2/frames.ts';
import type { ConnectionOwner, ServeConnection } from './base-connection.ts';
import { LINGER_IDLE_MS } from './lingering-connection.ts';
import { UndecidedConnection } from './undecided-connection.ts';

interface CleartextProtocols {
  http1: ServeConnection;
  h2: ServeConnection;
}

/** ProtocolDetection is a connection until its protocol is known; made by Acceptor. */
export class ProtocolDetection extends UndecidedConnection {
  readonly #protocols: CleartextProtocols;
  #isRefused = false;

  constructor(socket: Socket, client: ClientFacts, owner: ConnectionOwner, protocols: CleartextProtocols) {
    super(socket, client, owner);
    this.#protocols = protocols;
    this.read();
  }

  protected override look(): void {
    const { http1, h2 } = this.#protocols;
    const size = Math.min(this.bytes.length, PREFACE.length);
    const isPreface = this.bytes.compare(PREFACE, 0, size, 0, size) === 0;
    if (isPreface && size < PREFACE.length) return;
    this.handOver(0, (socket) => {
      this.owner.replace(this, (isPreface ? h2 : http1)(socket, this.client));
      socket.resume();
    });
  }

  protected override onEnded(): void {
    this.#refuse(400);
  }

  protected override onDue(): void {
    this.#refuse(408);
  }

  /** Half a preface may have been half a request line. */
  #refuse(status: number): void {
    if (!this.receiving || this.#isRefused) {
      this.destroy();
      return;
    }
    this.#isRefused = true;
    this.discard();
    this.socket.end(this.owner.refusalOf(this, { status, method: null }), 'latin1');
    this.arm(LINGER_IDLE_MS);
  }
}
