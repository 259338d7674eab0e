/** What the connections of a worker need of their server. */
import type { DirectReads } from './direct-reads.ts';
import type { NodeDownstream } from './node-downstream.ts';
import type { HeadWriter } from './response-heads.ts';
import type { SendWatchOwner } from './send-watch.ts';

/** Failure is why a request never became one. */
export interface Failure {
  status: number;
  /** Method, where it is known; else null. */
  method: string | null;
}

/** What a connection needs of its server; implemented by InboundServer, for InboundConnection. */
export interface ConnectionOwner<Connection> extends SendWatchOwner {
  readonly writeHead: HeadWriter;
  /** null: request bodies come through the parser. */
  readonly directReads: DirectReads | null;
  readonly keepAliveMs: number;
  /** When a head that has begun is surely over: the parser has made a request of it, or given it up. */
  readonly headMs: number;
  readonly draining: boolean;
  /** Whether takeSurplus could say so. */
  readonly crowded: boolean;
  /** Whether this connection should end with the answer under way although it could go on. */
  takeSurplus(): boolean;
  /**
   * Requests on all connections that wait behind others, or that nobody serves and node keeps until their connection ends;
   * the connections keep it.
   */
  waitingCount: number;
  serve(downstream: NodeDownstream): void;
  /** The connection is about to be cut for what it heaped up. */
  onOverload(): void;
  /** The whole answer to something that is no request. */
  refusalOf(connection: Connection, failure: Failure): string;
  onConnectionClosed(connection: Connection): void;
}
