/** What all connections of clients have in common: facts about the client, a place in the server, one deadline. */
import type { Socket } from 'node:net';
import { canonicalAddress, UNIX_PEER } from '../../contract/addresses.ts';
import type { ConnectionProtocol } from '../../contract/connection-protocol.ts';
import type { ClientFacts, Downstream } from '../../contract/downstream.ts';
import type { ListenAddress } from '../../contract/settings.ts';
import { Deadline, type DeadlineTimer } from '../../infra/deadline-timer.ts';
import { NOWHERE, type Placed } from '../../infra/placed-list.ts';
import type { BodyBuffers } from '../../memory/body-buffers.ts';
import type { UnparsedRequest } from '../../proxy/handler.ts';
import type { Plan } from '../../proxy/plan.ts';

/** ConnectionOwner is what a connection needs of its server; InboundServer implements it. */
export interface ConnectionOwner {
  readonly timer: DeadlineTimer;
  readonly buffers: BodyBuffers;
  /** The plan in force: its limits and timeouts hold for what begins now. */
  readonly plan: Plan;
  readonly draining: boolean;
  /**
   * endsWithAnswer: whether this connection should end with the answer under way, because its address is gone, other workers have fewer,
   * or for an overload. Asked once per answer: each true is one connection less that must end.
   */
  endsWithAnswer(connection: BaseConnection): boolean;
  /** admit is called with each new connection before anything else. It may close it. @param entrance where it came in */
  admit(connection: BaseConnection, entrance: Entrance): void;
  /** replace puts a connection in the place of another one on the same socket. */
  replace(before: BaseConnection, after: BaseConnection): void;
  serve(downstream: Downstream): void;
  /** onOverload counts a connection that is cut because too much waits in the worker. */
  onOverload(): void;
  /** refusalOf is the whole answer to bytes that are not a request; it counts and logs it. */
  refusalOf(connection: BaseConnection, request: UnparsedRequest): string;
  onConnectionClosed(connection: BaseConnection): void;
}

/** Entrance is an address at which connections come in; Acceptor implements it. */
export interface Entrance {
  /** Whether a reload has removed it: its connections end with their next answers. */
  readonly gone: boolean;
}

/** destroyIfGone: the client reset the TCP connection before it was accepted. It has no address, so no limit by address would hold. */
export function destroyIfGone(socket: Socket, kind: ListenAddress['kind']): boolean {
  const isGone = socket.remoteAddress === undefined && kind === 'tcp';
  if (isGone) socket.destroy();
  return isGone;
}

/** clientOf is what is known of the client behind an accepted socket. */
export function clientOf(socket: Socket, acceptedMs: number): ClientFacts {
  const { remoteAddress } = socket;
  const address = remoteAddress === undefined ? null : canonicalAddress(remoteAddress);
  return { address: address ?? UNIX_PEER, scheme: 'http', certSubject: null, acceptedMs, ends: socket };
}

/**
 * ServeConnection takes over a socket on which the client's first request may begin, and serves one protocol on it. An
 * Engine (server.ts) makes one per worker; acceptor.ts calls it.
 *
 * @param socket open; a TLSSocket where TLS ends here. Nothing of it was read, and nobody else uses it
 * @returns the connection; the caller puts it among those of the server. It must call owner.onConnectionClosed once, when it ends
 */
export type ServeConnection = (socket: Socket, client: ClientFacts) => BaseConnection;

/** BaseConnection is a client's connection whatever its protocol. What its one deadline means depends on its state. */
export abstract class BaseConnection implements Placed {
  readonly client: ClientFacts;
  /** When its protocol took it over, or it became idle, or began to linger or to close, whichever was last; monotonic. */
  sinceMs: number;
  /** false while its address is that of a proxy, which will tell the client's. */
  readonly isClient: boolean = true;
  /** Whether it counts against the cap per address; written by ConnectionCaps. */
  counted = false;
  /** Where it came in; written by the server. */
  entrance: Entrance | null = null;
  place = NOWHERE;

  protected readonly owner: ConnectionOwner;
  /** The label of sluice_connections_open. */
  abstract readonly protocol: ConnectionProtocol;
  /** Whether no answer is owed. Half a head (see receiving), or the rest of an unwanted body, may have come. */
  abstract readonly idle: boolean;
  /** Whether bytes have come since it became idle: it may be owed an answer soon. */
  abstract readonly receiving: boolean;

  readonly #deadline = new Deadline(() => this.onDue());

  constructor(client: ClientFacts, owner: ConnectionOwner) {
    this.owner = owner;
    this.sinceMs = owner.timer.monotonicMs();
    this.client = client;
  }

  /** destroy closes it, whatever is under way; onConnectionClosed follows. */
  abstract destroy(): void;

  /** end is called in a drain when the connection has been idle for a moment: it closes. What it was answered still arrives: a client of HTTP/1.1 says nothing while it reads. */
  end(): void {
    this.destroy();
  }

  /** beginDrain is called when the worker begins to drain, or when it drains already. */
  beginDrain(): void {
    // HTTP/1.1 says it in the answers.
  }

  /** onDue is called when the time that arm() gave is over. */
  protected abstract onDue(): void;

  /** arm sets the one deadline; 0: the next tick. */
  protected arm(delayMs: number): void {
    this.owner.timer.arm(this.#deadline, delayMs);
  }

  /** armFromAccept is for constructors: what came before on the same socket has taken its part of the time. */
  protected armFromAccept(delayMs: number): void {
    this.arm(Math.max(0, this.client.acceptedMs + delayMs - this.sinceMs));
  }

  protected disarm(): void {
    this.owner.timer.disarm(this.#deadline);
  }

  /** leave tells the server that the connection has ended. It is called once. */
  protected leave(): void {
    this.forgetDeadline();
    this.owner.onConnectionClosed(this);
  }

  /** forgetDeadline is for a connection that ends or that another object takes over. */
  protected forgetDeadline(): void {
    this.owner.timer.remove(this.#deadline);
  }
}
