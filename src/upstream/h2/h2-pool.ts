/**
 * The HTTP/2 connections of one worker to one backend. Requests share one connection; a further one is opened only while all
 * streams of the others are taken. Requests that find no free stream wait, for connectMs at most.
 */
import { LbError } from '../../contract/errors.ts';
import type { ConnectionSettings } from '../connection-settings.ts';
import type { BackendConnections, Exchange } from '../exchange.ts';
import { connectError, notConnected } from '../failures.ts';
import type { ResponseSink, UpstreamRequest } from '../upstream-request.ts';
import { BackendH2Connection, type BackendH2ConnectionHost } from './backend-h2-connection.ts';
import { BackendH2Request, type BackendH2RequestHost } from './backend-h2-request.ts';
import { RecentCount } from './recent-count.ts';

/**
 * Connections that take requests. Draining ones are not counted; each has a request, so requests bound them.
 */
const CONNECTIONS_MAX = 32;
const WAITING_MAX = 1024;
/** Connections given up in a short time (RecentCount): a backend that refuses streams on all of them is not helped by more. */
const REPLACED_MAX = 100;

/** See BackendConnections. */
export class H2Pool implements BackendConnections, BackendH2ConnectionHost, BackendH2RequestHost {
  readonly #settings: ConnectionSettings;
  /** Connecting and open, the oldest first. */
  readonly #connections: BackendH2Connection[] = [];
  /** In order of arrival; a Set, because a client may leave from its middle. */
  readonly #waiting = new Set<BackendH2Request>();
  readonly #replaced = new RecentCount();
  #closed = false;
  openCount = 0;
  readonly parkedCount = 0;
  readonly isExclusive = false;

  constructor(settings: ConnectionSettings) {
    this.#settings = settings;
  }

  /** Where one was lost, no other connection that had served takes requests (onLost), nor does a replaced one: `fresh` needs no more. */
  start(request: UpstreamRequest, sink: ResponseSink, _options: { fresh: boolean }): Exchange {
    const connection = this.#waiting.size === 0 ? this.#connections.find((each) => each.hasFree) : undefined;
    const options = { reused: connection !== undefined, settings: this.#settings, host: this };
    const started = new BackendH2Request(request, sink, options);
    if (connection !== undefined) started.open(connection);
    else if (this.#waiting.size >= WAITING_MAX)
      process.nextTick(() => started.fail(busy('too many requests wait')));
    else this.#enqueue(started);
    return started.exchange;
  }

  #enqueue(request: BackendH2Request): void {
    this.#waiting.add(request);
    request.wait();
    this.#grow();
  }

  /** Opens a connection for those that wait, unless one is on its way. */
  #grow(): void {
    const connections = this.#connections;
    if (this.#waiting.size === 0 || connections.length >= CONNECTIONS_MAX) return;
    if (connections.some((each) => each.isConnecting || each.hasFree || each.allowsNone)) return;
    this.#settings.onOpening?.();
    this.openCount++;
    connections.push(new BackendH2Connection(this.#settings, this));
  }

  close(): void {
    this.#closed = true;
    // A connection that is awaited by requests drains once they have begun.
    for (const connection of [...this.#connections])
      if (!connection.isConnecting || this.#waiting.size === 0) connection.drain();
  }

  closeParked(): boolean {
    return false;
  }

  // What connections say.

  onFree(connection: BackendH2Connection): void {
    for (const request of this.#waiting) {
      if (!connection.hasFree) break;
      this.#waiting.delete(request);
      request.open(connection);
    }
    if (this.#closed) connection.drain();
    this.#grow();
  }

  mayReplace(): boolean {
    return this.#replaced.add(this.#settings.timer.monotonicMs()) <= REPLACED_MAX;
  }

  onDraining(connection: BackendH2Connection): void {
    if (!this.#remove(connection)) return;
    if (connection.hasServed) this.#grow();
    // The next one would end as this one did, and so on without a pause.
    else if (this.#waiting.size > 0)
      this.#failWaiting(connection.lostBy ?? new Error('closed before a request'));
  }

  onLost(): void {
    // The lost one, and the others: they may be lost as well, and each is told of by itself.
    for (const each of [...this.#connections]) if (each.hasServed) each.drain();
  }

  onClosed(connection: BackendH2Connection): void {
    this.openCount--;
    this.onDraining(connection);
  }

  onConnectFailed(connection: BackendH2Connection, cause: Error): void {
    this.openCount--;
    this.#remove(connection);
    this.#failWaiting(cause);
  }

  /** @returns whether it was in the list */
  #remove(connection: BackendH2Connection): boolean {
    const index = this.#connections.indexOf(connection);
    if (index >= 0) this.#connections.splice(index, 1);
    return index >= 0;
  }

  /** No other connection is tried at once: the next request that waits opens one. */
  #failWaiting(cause: Error): void {
    // Those that wait for a stream of an open connection go on waiting.
    if (this.#connections.length > 0) return;
    const failed = [...this.#waiting];
    this.#waiting.clear();
    const error = connectError(cause);
    // One connection is one failure, however many wait for it.
    if (error.code === 'connect_failed') this.#settings.onConnectFailed?.(error.message);
    for (const request of failed) request.fail(error);
  }

  // What requests say.

  requeue(request: BackendH2Request): void {
    this.#enqueue(request);
    const connection = this.#connections.find((each) => each.hasFree);
    if (connection !== undefined) this.onFree(connection);
  }

  forget(request: BackendH2Request): void {
    this.#waiting.delete(request);
  }

  whyWaiting(): LbError {
    const { connectMs } = this.#settings;
    if (this.#connections.some((each) => !each.isConnecting))
      return busy(`no free stream within ${connectMs} ms`);
    return notConnected(connectMs);
  }
}

function busy(message: string): LbError {
  return new LbError('backend_busy', message);
}
