/**
 * The HTTP/2 connections of one worker to one backend. Requests share one connection; a further one is opened only while all
 * streams of the others are taken. Requests that find no free stream wait, for connectMs at most.
 */
import { isOwnShortage, LbError } from '../../contract/errors.ts';
import type { ConnectionSettings } from '../connection.ts';
import type { BackendConnections, Exchange, ResponseSink, UpstreamRequest } from '../exchange.ts';
import { H2Session, type SessionHost } from './h2-session.ts';
import { H2Stream, type StreamHost } from './h2-stream.ts';

/** Connections that take requests. Those that drain have at least one each. */
const SESSIONS_MAX = 32;
const WAITING_MAX = 1024;

/** See BackendConnections. */
export class H2Pool implements BackendConnections, SessionHost, StreamHost {
  readonly #settings: ConnectionSettings;
  /** Connecting and open, the oldest first. */
  readonly #sessions: H2Session[] = [];
  /** In order of arrival; a Set, because a client may leave from its middle. */
  readonly #waiting = new Set<H2Stream>();
  #closed = false;
  openCount = 0;

  constructor(settings: ConnectionSettings) {
    this.#settings = settings;
  }

  /** A connection that has just broken has no free stream, so `fresh` needs no other way. */
  start(request: UpstreamRequest, sink: ResponseSink, _options: { fresh: boolean }): Exchange {
    const session = this.#waiting.size === 0 ? this.#sessions.find((each) => each.hasFree) : undefined;
    const options = { reused: session !== undefined, settings: this.#settings, host: this };
    const stream = new H2Stream(request, sink, options);
    if (session !== undefined) stream.open(session);
    else if (this.#waiting.size >= WAITING_MAX)
      process.nextTick(() => stream.fail(busy('too many requests wait')));
    else this.#enqueue(stream);
    return stream.exchange;
  }

  #enqueue(stream: H2Stream): void {
    this.#waiting.add(stream);
    stream.wait();
    this.#grow();
  }

  /** Opens a connection for those that wait, unless one is on its way. */
  #grow(): void {
    const sessions = this.#sessions;
    if (this.#waiting.size === 0 || sessions.length >= SESSIONS_MAX) return;
    if (sessions.some((each) => each.isConnecting || each.hasFree || each.isStopped)) return;
    this.openCount++;
    sessions.push(new H2Session(this.#settings, this));
  }

  close(): void {
    this.#closed = true;
    // A connection that is awaited by requests drains once they have begun.
    for (const session of [...this.#sessions])
      if (!session.isConnecting || this.#waiting.size === 0) session.drain();
  }

  // What sessions say.

  onFree(session: H2Session): void {
    for (const stream of this.#waiting) {
      if (!session.hasFree) break;
      this.#waiting.delete(stream);
      stream.open(session);
    }
    if (this.#closed) session.drain();
    this.#grow();
  }

  onDraining(session: H2Session): void {
    if (!this.#remove(session)) return;
    if (session.hasServed) this.#grow();
    // The next one would end as this one did, and so on without a pause.
    else this.#failWaiting(session.lostBy ?? new Error('closed before a request'));
  }

  onClosed(session: H2Session): void {
    this.openCount--;
    this.onDraining(session);
  }

  onConnectFailed(session: H2Session, cause: Error): void {
    this.openCount--;
    this.#remove(session);
    this.#failWaiting(cause);
  }

  /** @returns whether it was in the list */
  #remove(session: H2Session): boolean {
    const index = this.#sessions.indexOf(session);
    if (index >= 0) this.#sessions.splice(index, 1);
    return index >= 0;
  }

  /** No other connection is tried at once: the next request that waits opens one. */
  #failWaiting(cause: Error): void {
    // Those that wait for a stream of an open connection go on waiting.
    if (this.#sessions.length > 0) return;
    const code = isOwnShortage(cause) ? 'overload' : 'connect_failed';
    const failed = [...this.#waiting];
    this.#waiting.clear();
    for (const stream of failed)
      stream.fail(new LbError(code, `connect failed: ${cause.message}`, { cause, retryable: true }));
  }

  // What streams say.

  requeue(stream: H2Stream): void {
    this.#enqueue(stream);
    const session = this.#sessions.find((each) => each.hasFree);
    if (session !== undefined) this.onFree(session);
  }

  forget(stream: H2Stream): void {
    this.#waiting.delete(stream);
  }

  whyWaiting(): LbError {
    const { connectMs } = this.#settings;
    if (this.#sessions.some((each) => !each.isConnecting))
      return busy(`no free stream within ${connectMs} ms`);
    return new LbError('connect_failed', `not connected within ${connectMs} ms`);
  }
}

function busy(message: string): LbError {
  return new LbError('backend_busy', message);
}
