/**
 * The attempts of one request: which backend gets it, and whether another one follows a failure (B8, B9, B10). A retry goes from `retry`,
 * or `answered`, through AttemptWait.forTurn to `tryAgain`, which finds a backend by `tryNext`.
 */
import { type Backend, hasFull } from '../balance/backend.ts';
import type { LbError } from '../contract/errors.ts';
import { OUTCOMES, type Outcome, type Reason } from '../contract/outcomes.ts';
import { noHead } from '../upstream/failures.ts';
import type { ResponseHead, ResponseSink, UpstreamRequest } from '../upstream/upstream-request.ts';
import type { Admission } from './admission.ts';
import { Attempt } from './attempt.ts';
import { AttemptWait } from './attempt-wait.ts';
import type { PlannedPool } from './plan-pool.ts';
import type { RequestBody } from './request-body.ts';
import type { QueuedRequest } from './request-queue.ts';
import type { RequestSpan } from './request-span.ts';
import * as Policy from './retry-policy.ts';

const NONE: Backend[] = [];

/** AttemptsOwner is the transaction: the sink of the answer. */
export interface AttemptsOwner extends ResponseSink {
  readonly body: RequestBody | null;
  /** null: the request is not sampled. */
  readonly span: RequestSpan | null;
  /** Ends the request: no attempt follows. */
  giveUp(outcome: Outcome): void;
  /** Ends it after an error of our own program. */
  crash(thrown: unknown): void;
}

/** Attempts is made by a transaction that has passed every check. */
export class Attempts implements QueuedRequest {
  /** The last one; null before the first. */
  current: Attempt | null = null;
  count = 0;

  readonly #admission: Admission;
  readonly #pool: PlannedPool;
  readonly #request: UpstreamRequest;
  readonly #owner: AttemptsOwner;
  /** null until something waits or has failed. */
  #wait: AttemptWait | null = null;
  /** Of requests that have failed before; else NONE, which no request changes. */
  #tried: Backend[] = NONE;
  #firstMs = 0;
  #connectFailures = 0;
  /** A dead connection of this request was already replaced by a fresh one (B10). */
  #hasReplaced = false;
  #retries = 0;
  /** Back-offs so far. */
  #backOffCount = 0;
  /** Why the next attempt, or the one under way, follows another one. */
  #reason: Policy.RetryReason = 'connect';
  /** How the request ends if that attempt does not come about. */
  #failure: Outcome = OUTCOMES.internal_error;
  /** The answer that a retry is to replace, while it may still be relayed. */
  #answer: { head: ResponseHead; body: string } | null = null;

  constructor(admission: Admission, pool: PlannedPool, request: UpstreamRequest, owner: AttemptsOwner) {
    this.#admission = admission;
    this.#pool = pool;
    this.#request = request;
    this.#owner = owner;
    pool.budget.active += 1;
  }

  /** Waited for a backend with room; null: no backend was looked for, or there was none. */
  get queueMs(): number | null {
    return this.#wait?.queueMs ?? (this.count > 0 ? 0 : null);
  }

  /** tryNext begins an attempt at a backend that has not been tried, or waits for one that is full. @returns why neither is possible, or null */
  tryNext(): Outcome | null {
    const { algorithm, byBackend } = this.#pool;
    const backend = algorithm.pick(this.#tried);
    if (backend !== null) this.#tryAt(backend);
    else if (!hasFull(byBackend.keys(), this.#tried, null)) return OUTCOMES.no_backend;
    else if (!this.#makeWait().forRoom()) return OUTCOMES.queue_full;
    return null;
  }

  get isChoosy(): boolean {
    return this.count > 0 || this.#pool.queue.algorithm !== this.#pool.algorithm;
  }

  /** tryQueued is called by the queue. */
  tryQueued(): boolean {
    try {
      const backend = this.#pool.algorithm.pick(this.#tried);
      if (backend === null) return false;
      this.#wait?.end();
      this.#tryAt(backend);
    } catch (thrown) {
      this.#wait?.end();
      this.#owner.crash(thrown);
    }
    return true;
  }

  /** @param fresh on a connection that has not served before (B10) */
  #tryAt(backend: Backend, fresh = this.#reason === 'reused_socket'): void {
    const target = this.#pool.byBackend.get(backend);
    if (target === undefined) throw new Error('a backend of another pool was picked');
    if (this.count++ > 0) this.#countRetry(backend);
    const request = this.#request;
    // HTTP/1.0 clients may leave Host out; backends get one (RFC 9112 §3.2).
    const lines = this.#admission.host === '' ? `Host: ${target.authority}\r\n${request.headerLines}` : '';
    const named = lines === '' ? request : { ...request, headerLines: lines };
    const span = this.#owner.span === null ? null : this.#owner.span.attempt(target);
    const sent = span === null ? named : span.continuedBy(named);
    this.current = new Attempt(target, sent, this.#owner, { fresh, span });
    if (this.count === 1) this.#firstMs = this.current.startMs;
    // A parked connection is open already.
    this.connected();
    if (this.#owner.body !== null) this.current.watchBody(this.#owner.body, this.#pool.timer);
  }

  #countRetry(backend: Backend): void {
    this.#tried.push(backend);
    this.#answer = null;
    if (this.#reason === 'reused_socket') this.#hasReplaced = true;
    else if (this.#reason !== 'connect') this.#retries += 1;
    this.#pool.countRetry(this.#reason);
  }

  /** connected: the body may flow, if the connection is open. */
  connected(): void {
    if (this.current !== null) this.#owner.body?.flowTo(this.current.exchange);
  }

  /**
   * answered: a head came. It is relayed to the client, or another attempt follows.
   * @param body see ResponseSink.onHead
   * @param mayRetry false: the client has something of this answer
   * @returns whether the head is relayed
   */
  answered(head: ResponseHead, body: string | null, mayRetry: boolean): boolean {
    const attempt = this.current;
    if (attempt === null || this.#answer !== null) return true;
    attempt.answered(head.status, this.#owner.body);
    if (body !== null) attempt.end();
    this.#wait?.settle();
    const { onStatus } = this.#pool;
    if (onStatus === null || !mayRetry || !onStatus.has(head.status)) return true;
    return !this.#retryStatus(attempt, head, body);
  }

  #retryStatus(attempt: Attempt, head: ResponseHead, body: string | null): boolean {
    const afterMs = Policy.retryAfterMs(head.lines);
    if (afterMs > Policy.RETRY_AFTER_MAX_MS || afterMs >= this.#leftMs) return false;
    if (this.#decide('status', false) === null) return false;
    const wait = this.#makeWait();
    // Only an answer that came whole can wait for a permit, and be relayed if there is none.
    if (!wait.askForPermit(body !== null)) return false;
    attempt.cancel({ memoryIsFree: false });
    if (body !== null) this.#answer = { head, body };
    this.#prepare(wait, 'status', OUTCOMES.no_backend);
    wait.forTurn(this.#backOffMs(afterMs));
    return true;
  }

  /** failed: the current attempt ended with an error. @returns false where it was over before */
  failed(error: LbError): boolean {
    if (this.current?.failed(error) !== true) return false;
    // `overload` means that this worker cannot open connections; it may still have a parked one to another backend.
    // Where nothing was sent, the permit is kept for the attempt that takes the place of this one.
    if (Policy.isNothingDone(error.code)) this.#connectFailures += 1;
    else this.#wait?.settle();
    return true;
  }

  /** retry follows failed, while the client has nothing of an answer. @returns false where this failure is the answer, which the caller gives */
  retry(error: LbError): boolean {
    const reason = this.#decide(error.code, error.retryable);
    if (reason === null || this.#leftMs <= 0) {
      this.#wait?.settle();
      return false;
    }
    const wait = this.#makeWait();
    this.#prepare(wait, reason, this.outcomeOf(error));
    const follows = reason === 'connect' ? this.#tryElsewhere(error) : wait.askForPermit(true);
    // The deadline must not outlast the attempts: the client may read the answer slowly.
    if (!follows) wait.settle();
    else if (reason !== 'connect') wait.forTurn(this.#backOffMs(0));
    return follows;
  }

  #decide(code: Policy.FailedAttempt['code'], retryable: boolean): Policy.RetryReason | null {
    const { retry } = this.#pool;
    return Policy.decideRetry(retry, {
      code,
      retryable,
      repeatable: Policy.mayRepeat(this.#request.method, retry),
      switches: this.#request.upgrade !== '',
      bodyRepeatable: this.#owner.body?.isRepeatable ?? true,
      connectFailures: this.#connectFailures,
      replaced: this.#hasReplaced,
      retries: this.#retries,
    });
  }

  #makeWait(): AttemptWait {
    this.#wait ??= new AttemptWait(this.#pool, this, this.#owner);
    return this.#wait;
  }

  #prepare(wait: AttemptWait, reason: Policy.RetryReason, failure: Outcome): void {
    this.#reason = reason;
    this.#failure = failure;
    if (this.#tried === NONE && this.current !== null) this.#tried = [this.current.target.backend];
    this.#owner.body?.suspend();
    // An upload may last for hours (B14); the backend's connection bounds what follows it.
    if (this.#owner.body?.done ?? true) wait.bound(this.#leftMs);
  }

  /** Of timeouts.response, for all attempts together. */
  get #leftMs(): number {
    const { timer, responseMs } = this.#pool;
    return this.#firstMs + responseMs - timer.monotonicMs();
  }

  #backOffMs(retryAfterMs: number): number {
    const isFirst = this.#retries === 0 && this.#tried.length < this.#pool.byBackend.size;
    const isPrompt = this.#reason === 'reused_socket' || isFirst;
    return Math.max(isPrompt ? 0 : Policy.backOffMs(this.#backOffCount++, Math.random()), retryAfterMs);
  }

  /** At once or with the next room, because nothing was done. @returns false where no attempt follows */
  #tryElsewhere(error: LbError): boolean {
    const { current } = this;
    if (current === null) return false;
    if (this.tryNext() === null) return true;
    // Without another backend, the one that refused the request gets it again, once.
    if (error.code !== 'backend_busy' || !current.exchange.connected || this.#hasReplaced) return false;
    this.#hasReplaced = true;
    const { backend } = current.target;
    // Its place may have gone to a request that waited.
    const isFull = backend.fullRank !== 0;
    if (isFull) this.#tried.splice(this.#tried.indexOf(backend), 1);
    else this.#tryAt(backend, true);
    return !isFull || this.#makeWait().forRoom();
  }

  /** tryAgain begins the attempt that was waited for: at a backend that was tried before only where there is no other. */
  tryAgain(): void {
    const tried = this.#tried;
    let refusal = this.tryNext();
    // All were tried: begin again with all but the last one, and with that one only if nothing else is left.
    for (let keptCount = 1; keptCount >= 0 && refusal === OUTCOMES.no_backend; keptCount--) {
      tried.splice(0, tried.length - keptCount);
      refusal = this.tryNext();
    }
    if (refusal !== null) this.giveUp();
  }

  giveUp(outcome = this.#failure): void {
    this.#wait?.settle();
    if (this.#answer !== null) this.#owner.onHead(this.#answer.head, this.#answer.body);
    else this.#owner.giveUp(outcome);
  }

  onDue(): void {
    const { current } = this;
    if (current?.failed(noHead(this.#pool.responseMs))) current.exchange.destroy({ memoryIsFree: false });
    this.giveUp(OUTCOMES.upstream_timeout);
  }

  /** cancel ends the attempt, and the wait for another one. @param options see Exchange.destroy */
  cancel(options: { memoryIsFree: boolean }): void {
    this.current?.abandoned(this.#owner.body);
    this.current?.cancel(options);
    this.#wait?.settle();
  }

  /** close is called once, at the end of the request. */
  close(): void {
    this.#wait?.settle();
    this.#pool.budget.active -= 1;
  }

  /** outcomeOf is how the request ends if nothing follows this error. Where no backend is up, a failed connection is `no_backend`: the whole pool is the cause. */
  outcomeOf({ code }: LbError): Outcome {
    const backends = this.#pool.byBackend.keys();
    if (code === 'connect_failed' && [...backends].every(({ standing }) => standing !== 'up'))
      return OUTCOMES.no_backend;
    return OUTCOMES[code as Reason] ?? OUTCOMES.internal_error;
  }
}
