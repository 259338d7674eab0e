/**
 * Between the server of a worker and the connections of its clients: what each needs of the other. An engine makes the
 * connections: our own HTTP/1.1 on wires (wire/), or raw node:http (node/).
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
  /**
   * makeServer makes the server of one listener; it does not listen yet.
   * @param onAccept is called with each connection before anything else happens on it; false: it was turned away
   */
  makeServer(
    owner: ConnectionOwner,
    onAccept: (connection: InboundConnection) => boolean,
    kind: ListenAddress['kind'],
  ): Server;
}

/** InboundConnection is one connection of a client, as its server sees it. */
export interface InboundConnection extends Placed {
  readonly peerAddress: string;
  /** Counted against the cap per address; the server's. */
  counted: boolean;
  /** When it was opened, last became idle or began to linger; monotonic. */
  readonly sinceMs: number;
  /** Whether a drain may close it: no answer is owed. True also with half a head (see receiving) or the rest of an unwanted body. */
  readonly idle: boolean;
  /** Whether bytes of a next request have come in while idle: it may be owed an answer soon. */
  readonly receiving: boolean;
  /** destroy cuts it, whatever is under way; onConnectionClosed follows. */
  destroy(): void;
}

/** ConnectionOwner is what a connection needs of its server; implemented by InboundServer. */
export interface ConnectionOwner {
  readonly timer: DeadlineTimer;
  readonly clock: Clock;
  readonly buffers: BodyBuffers;
  /** In force now: its limits and timeouts hold for whatever begins now. */
  readonly plan: Plan;
  readonly draining: boolean;
  /** takeSurplus: whether this connection should end with the answer under way although it could go on. */
  takeSurplus(): boolean;
  serve(downstream: Downstream): void;
  /** A connection is about to be cut for what it heaped up. */
  onOverload(): void;
  /** refusalOf is the whole answer to something that is no request; it is counted and logged. */
  refusalOf(connection: InboundConnection, request: UnparsedRequest): string;
  onConnectionClosed(connection: InboundConnection): void;
}

/**
 * isGone tells a client that reset its connection before it was accepted. The system names no address for it, as for a peer
 * on a Unix socket, but its bytes can still be read: limits and blocks by address would not hold for them.
 */
export function isGone(socket: Socket, kind: ListenAddress['kind']): boolean {
  return socket.remoteAddress === undefined && kind === 'tcp';
}
