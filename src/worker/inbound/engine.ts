/**
 * What the server of a worker and the connections of its clients need of each other. An engine makes the connections: our own
 * HTTP/1.1 on wires (wire/), or raw node:http (node/).
 */
import type { Server, Socket } from 'node:net';
import type { Clock } from '../../contract/clock.ts';
import type { EngineName } from '../../contract/data-path.ts';
import type { Downstream } from '../../contract/downstream.ts';
import type { ListenAddress } from '../../contract/settings.ts';
import type { BodyBuffers } from '../../http1/body-buffers.ts';
import type { DeadlineTimer } from '../../infra/deadline-timer.ts';
import type { Placed } from '../../infra/placed-list.ts';
import type { UnparsedRequest } from '../../proxy/handler.ts';
import type { Plan } from '../../proxy/plan.ts';

/** Engine is chosen once per worker. */
export interface Engine {
  readonly name: EngineName;
  /** makeServer makes the server of one listener, which does not listen yet. It passes each new connection to owner.admit first. */
  makeServer(owner: ConnectionOwner, kind: ListenAddress['kind']): Server;
}

/** InboundConnection is one connection of a client, as its server sees it. */
export interface InboundConnection extends Placed {
  readonly peerAddress: string;
  /** Whether it counts against the cap per address; written by the server. */
  counted: boolean;
  /** When it was opened, became idle or began to linger, whichever was last; monotonic. */
  readonly sinceMs: number;
  /** Whether no answer is owed. Half a head (see receiving), or the rest of an unwanted body, may have come. */
  readonly idle: boolean;
  /** Whether bytes have come since it became idle: it may be owed an answer soon. */
  readonly receiving: boolean;
  /** destroy closes it, whatever is under way; onConnectionClosed follows. */
  destroy(): void;
}

/** ConnectionOwner is what a connection needs of its server; InboundServer implements it. */
export interface ConnectionOwner {
  readonly timer: DeadlineTimer;
  readonly clock: Clock;
  readonly buffers: BodyBuffers;
  /** The plan in force: its limits and timeouts hold for what begins now. */
  readonly plan: Plan;
  readonly draining: boolean;
  /** takeSurplus: whether this connection should end with the answer under way, because other workers have fewer. */
  takeSurplus(): boolean;
  /** admit is called with each new connection before anything else; false: the connection must be closed. */
  admit(connection: InboundConnection): boolean;
  serve(downstream: Downstream): void;
  /** A connection is about to be cut, because too much waits on it. */
  onOverload(): void;
  /** refusalOf is the whole answer to bytes that are no request; it counts and logs it. */
  refusalOf(connection: InboundConnection, request: UnparsedRequest): string;
  onConnectionClosed(connection: InboundConnection): void;
}

/**
 * isGone tells whether the client reset its connection before it was accepted. Its bytes can still be read, but the system names
 * no address for it, as if it were on a Unix socket: limits and blocks by address would not hold for it.
 */
export function isGone(socket: Socket, kind: ListenAddress['kind']): boolean {
  return socket.remoteAddress === undefined && kind === 'tcp';
}
