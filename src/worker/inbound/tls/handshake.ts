/**
 * A client's connection from accept to the end of its TLS handshake. It counts as a connection all the while, and has one deadline.
 *
 * State    entered by   what it means
 * WAITING               no byte has come. The connection costs a socket, and nothing of TLS.
 * SHAKING  #shake       node's TLSSocket owns the socket.
 * REFUSED  #refuse      the client speaks no TLS. The answer has left; what still comes is discarded for a while.
 * OVER     #leave, #handOver   closed, or the protocol has the connection. Final.
 */
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { ClientFacts } from '../../../contract/downstream.ts';
import { systemCodeOf } from '../../../contract/errors.ts';
import { HANDSHAKE_MS, type TlsAddress } from '../../../contract/tls.ts';
import { NOWHERE } from '../../../infra/placed-list.ts';
import { BaseConnection, type ConnectionOwner } from '../base-connection.ts';
import { LINGER_IDLE_MS } from '../lingering-connection.ts';
import { clientSubject } from './client-certificate.ts';
import type { HandshakeResult, HandshakeTracker, UnderWay } from './handshake-tracker.ts';
import type { HandshakeEvents, TlsTerminator } from './terminator.ts';

const WAITING = 0;
const SHAKING = 1;
const REFUSED = 2;
const OVER = 3;

/** The first byte of a TLS record with a handshake, and the least first byte of an SSL 2.0 hello, which OpenSSL refuses itself. */
const HANDSHAKE_RECORD = 0x16;
const SSL2_HELLO = 0x80;
/** The record with the fatal alert unrecognized_name (RFC 6066 §3). */
const UNRECOGNIZED_NAME = Buffer.from([0x15, 3, 3, 0, 2, 2, 112]);

/** The one with handshake_failure (RFC 8446 §6.2), as OpenSSL says it. */
const HANDSHAKE_FAILURE = Buffer.from([0x15, 3, 3, 0, 2, 2, 40]);

/** HandshakeHost is what a handshake needs of its address; implemented by Acceptor. */
export interface HandshakeHost {
  /** With the certificates in force; null while there is none that can be used. */
  readonly terminator: TlsTerminator | null;
  readonly handshakes: HandshakeTracker;
  /** secured takes over the connection of a handshake that is done. */
  secured(handshake: Handshake, socket: TLSSocket, client: ClientFacts): void;
}

/** Handshake is made by Acceptor for each connection to an address with TLS. */
export class Handshake extends BaseConnection implements HandshakeEvents {
  readonly protocol = 'pending';
  readonly idle = true;
  readonly #socket: Socket;
  readonly #host: HandshakeHost;
  readonly #underWay: UnderWay = { place: NOWHERE, shed: () => this.#fail('shed', 'too_many_handshakes') };
  #state = WAITING;
  #askedUnknownName = false;

  constructor(socket: Socket, client: ClientFacts, owner: ConnectionOwner, host: HandshakeHost) {
    super(client, owner);
    this.#socket = socket;
    this.#host = host;
    socket.on('readable', this.#onReadable);
    socket.on('end', this.#onEnd);
    socket.on('error', this.#onError);
    socket.on('close', this.#onClose);
    this.armFromAccept(HANDSHAKE_MS);
  }

  get receiving(): boolean {
    return this.#state === SHAKING;
  }

  destroy(): void {
    this.#socket.destroy();
    this.#leave();
  }

  // Events of the accepted socket.

  readonly #onReadable = (): void => {
    const bytes: Buffer | null = this.#socket.read();
    if (bytes === null || this.#state !== WAITING) return;
    const [first = 0] = bytes;
    if (first === HANDSHAKE_RECORD || first >= SSL2_HELLO) this.#shake(bytes);
    else this.#refuse();
  };

  readonly #onEnd = (): void => {
    if (this.#state !== SHAKING) this.destroy();
  };

  readonly #onError = (error: Error): void => {
    this.onFailed(error);
  };

  readonly #onClose = (): void => {
    if (this.#state === SHAKING) this.#fail('aborted', 'closed');
    else this.#leave();
  };

  // Events of the handshake.

  onUnknownName(): void {
    this.#askedUnknownName = true;
    // node would close without a word.
    this.#socket.write(UNRECOGNIZED_NAME);
  }

  onFailed(error: Error): void {
    if (this.#state === SHAKING) {
      const code = this.#askedUnknownName ? 'unknown_name' : (systemCodeOf(error) ?? 'unknown');
      this.#fail(code === 'ECONNRESET' || code === 'EPIPE' ? 'aborted' : 'failed', code);
    } else if (this.#state !== OVER) this.destroy();
  }

  onSecure(socket: TLSSocket, clientAuth: TlsAddress['clientAuth']): void {
    if (this.#state !== SHAKING) {
      socket.destroy();
      return;
    }
    const subject = clientSubject(socket, clientAuth);
    if ('problem' in subject) {
      this.#fail('failed', subject.problem, subject.cause);
      return;
    }
    this.#host.handshakes.succeeded(socket.getProtocol() ?? 'unknown', socket.isSessionReused());
    this.#handOver(socket, { ...this.client, scheme: 'https', certSubject: subject.name });
  }

  // Transitions.

  #shake(bytes: Buffer): void {
    const socket = this.#socket;
    this.#state = SHAKING;
    socket.off('readable', this.#onReadable);
    socket.unshift(bytes);
    this.#host.handshakes.begun(this.#underWay);
    const { terminator } = this.#host;
    if (terminator !== null) terminator.start(socket, this);
    else {
      socket.write(HANDSHAKE_FAILURE);
      this.#fail('failed', 'no_certificate');
    }
  }

  #refuse(): void {
    const socket = this.#socket;
    this.#host.handshakes.failed('plaintext', 'plaintext', this.client.address);
    this.#state = REFUSED;
    socket.off('readable', this.#onReadable);
    socket.end(this.owner.refusalOf(this, { status: 400, method: null, reason: 'plain_http' }), 'latin1');
    socket.resume();
    this.arm(LINGER_IDLE_MS);
  }

  #fail(result: HandshakeResult, kind: string, cause?: Error): void {
    if (this.#state !== SHAKING) return;
    this.#host.handshakes.failed(result, kind, this.client.address, cause);
    this.destroy();
  }

  #handOver(socket: TLSSocket, client: ClientFacts): void {
    this.#host.handshakes.ended(this.#underWay);
    this.#state = OVER;
    this.forgetDeadline();
    this.#socket.off('end', this.#onEnd);
    this.#socket.off('close', this.#onClose);
    // A socket without a listener of its own would end the process.
    this.#socket.off('error', this.#onError).on('error', ignore);
    this.#host.secured(this, socket, client);
  }

  #leave(): void {
    if (this.#state === OVER) return;
    if (this.#state === SHAKING) this.#host.handshakes.ended(this.#underWay);
    this.#state = OVER;
    this.leave();
  }

  protected override onDue(): void {
    if (this.#state === SHAKING) this.#fail('timeout', 'timeout');
    else this.destroy();
  }
}

/** The TLSSocket tells its owner. */
function ignore(): void {
  // See above.
}
