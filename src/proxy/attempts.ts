/**
 * The attempts of one request: which backend gets it, and whether another one follows a failure (B8, B9, B10).
 *
 * trying    an attempt is under way: `current`. Before the first and after the last one there is none.
 * waiting   the last attempt has failed, and another one follows: it waits for a permit of the RetryBudget (PERMIT_MS), then out its
 *           back-off, with the permit. A timer of node bounds each wait: the worker's own is too coarse.
 * queued    every backend that could be tried next is full: it waits in the pool's RequestQueue, before the first attempt or a further one.
 *
 * From the first failure on, `#deadline` bounds all attempts together (timeouts.response), until a head comes that is relayed. It is
 * not null from then on, also where it is not armed: so it tells whether this request has failed before.
 */
import { type Backend, hasFull } from '../balance/backend.ts';
import type { LbError } from '../contract/errors.ts';
import { OUTCOMES, type Outcome, type Reason } from '../contract/outcomes.ts';
import { Deadline } from '../infra/deadline-timer.ts';
import { noHead } from '../upstream/failures.ts';
import type { ResponseHead, ResponseSink, UpstreamRequest } from '../upstream/upstream-request.ts';
import type { Admission } from './admission.ts';
import { Attempt } from './attempt.ts';
import type { PlannedBackend, PlannedPool } from './plan-pool.ts';
import type { RequestBody } from './request-body.ts';
import type { QueuedRequest } from './request-queue.ts';
import * as Policy from './retry-policy.ts';

/** A retry waits this long for a permit. Then the failure is the answer. */
const PERMIT_MS = 250;
const NONE: Backend[] = [];

/** AttemptsOwner is the transaction: the sink of the answer. */
export interface AttemptsOwner extends ResponseSink {
  readonly body: RequestBody | null;
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
  /** Waited for a backend with room; null: no backend was looked for, or there was none. */
  queueMs: number | null = null;

  readonly #admission: Admission;
  readonly #pool: PlannedPool;
  readonly #request: UpstreamRequest;
  readonly #owner: AttemptsOwner;
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
  #retryAfterMs = 0;
  #hasPermit = false;
  /** The answer that a retry is to replace, while it may still be relayed. */
  #answer: { head: ResponseHead; body: string } | null = null;
  #waitTimer: NodeJS.Timeout | null = null;
  /** null: it is not in the queue. */
  #queuedMs: number | null = null;
  /** null until an attempt has failed. */
  #deadline: Deadline | null = null;

  constructor(admission: Admission, pool: PlannedPool, request: UpstreamRequest, owner: AttemptsOwner) {
    this.#admission = admission;
    this.#pool = pool;
    this.#request = request;
    this.#owner = owner;
    pool.budget.active += 1;
  }

  /** next begins an attempt at a backend that has not been tried, or waits for one that is full. @returns why neither is possible, or null */
  next(): Outcome | null {
    const { algorithm, byBackend, queue } = this.#pool;
    const backend = algorithm.pick(this.#tried);
    if (backend !== null) {
      this.#startAt(backend);
      return null;
    }
    if (!hasFull(byBackend.keys(), this.#tried, null)) return OUTCOMES.no_backend;
    if (!queue.add(this)) {
      this.queueMs ??= 0;
      return OUTCOMES.queue_full;
    }
    this.#queuedMs = this.#pool.timer.monotonicMs();
    this.#later(queue.timeoutMs, () => this.#giveUp(OUTCOMES.queue_full));
    return null;
  }

  get isChoosy(): boolean {
    return this.count > 0 || this.#pool.queue.algorithm !== this.#pool.algorithm;
  }

  /** startQueued is called by the queue. */
  startQueued(): boolean {
    try {
      const backend = this.#pool.algorithm.pick(this.#tried);
      if (backend === null) return false;
      this.#endWait();
      this.#startAt(backend);
    } catch (thrown) {
      this.#endWait();
      this.#owner.crash(thrown);
    }
    return true;
  }

  #startAt(backend: Backend): void {
    const target = this.#pool.byBackend.get(backend);
    if (target === undefined) throw new Error('a backend of another pool was picked');
    if (this.count > 0) this.#countRetry(backend);
    this.#start(target, { fresh: this.#reason === 'reused_socket' });
  }

  #countRetry(backend: Backend): void {
    this.#tried.push(backend);
    this.#answer = null;
    if (this.#reason === 'reused_socket') this.#hasReplaced = true;
    else if (this.#reason !== 'connect') this.#retries += 1;
    this.#pool.countRetry(this.#reason);
  }

  #start(target: PlannedBackend, options: { fresh: boolean }): void {
    const request = this.#request;
    this.count += 1;
    this.queueMs ??= 0;
    // HTTP/1.0 clients may leave Host out; backends get one (RFC 9112 §3.2).
    const lines = this.#admission.host === '' ? `Host: ${target.authority}\r\n${request.headerLines}` : '';
    const sent = lines === '' ? request : { ...request, headerLines: lines };
    this.current = new Attempt(target, sent, this.#owner, options);
    if (this.count === 1) this.#firstMs = this.current.startMs;
    // A parked connection is open already.
    this.connected();
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
    attempt.answered(head.status, this.#askedMs(attempt));
    if (body !== null) attempt.end();
    if (this.#deadline !== null) this.#settle();
    const { onStatus } = this.#pool;
    if (onStatus === null || !mayRetry || !onStatus.has(head.status)) return true;
    return !this.#retryStatus(attempt, head, body);
  }

  /** When the client had sent all of the request; null: it has not. */
  #askedMs({ startMs }: Attempt): number | null {
    const { body } = this.#owner;
    return body === null ? startMs : body.doneMs;
  }

  #retryStatus(attempt: Attempt, head: ResponseHead, body: string | null): boolean {
    const afterMs = Policy.retryAfterMs(head.lines);
    if (afterMs > Policy.RETRY_AFTER_MAX_MS || !this.#hasTime(afterMs)) return false;
    if (this.#decide('status', false) === null) return false;
    // Only an answer that came whole can wait for a permit, and be relayed if there is none.
    if (!this.#askForPermit(body !== null)) return false;
    attempt.cancel({ memoryIsFree: false });
    if (body !== null) this.#answer = { head, body };
    this.#expect('status', OUTCOMES.no_backend, afterMs);
    this.#awaitPermit();
    return true;
  }

  /** failed: the current attempt ended with an error. @returns false where it was over before */
  failed(error: LbError): boolean {
    if (this.current?.failed(error) !== true) return false;
    // `overload` means that this worker cannot open connections; it may still have a parked one to another backend.
    if (Policy.isNothingDone(error.code)) this.#connectFailures += 1;
    if (this.#deadline !== null) this.#settle();
    return true;
  }

  /** retry follows failed, while the client has nothing of an answer. @returns false where this failure is the answer, which the caller gives */
  retry(error: LbError): boolean {
    const reason = this.#decide(error.code, error.retryable);
    if (reason === null || !this.#hasTime(0)) return false;
    this.#expect(reason, this.outcomeOf(error), 0);
    const follows = reason === 'connect' ? this.#tryElsewhere(error) : this.#askForPermit(true);
    if (follows && reason !== 'connect') this.#awaitPermit();
    // The deadline and the permit must not outlast the attempts: the client may read the answer slowly.
    if (!follows) this.#settle();
    return follows;
  }

  #decide(code: Policy.FailedAttempt['code'], retryable: boolean): Policy.RetryReason | null {
    const { method, upgrade } = this.#request;
    const { retry } = this.#pool;
    return Policy.decideRetry(
      {
        code,
        retryable,
        repeatable: Policy.mayRepeat(method, retry),
        switches: upgrade !== '',
        bodyIntact: this.#owner.body?.isIntact ?? true,
        connectFailures: this.#connectFailures,
        replaced: this.#hasReplaced,
        retries: this.#retries,
      },
      retry,
    );
  }

  /** @returns false where there is no permit now, and this request may not wait for one, or too many wait */
  #askForPermit(mayWait: boolean): boolean {
    const { budget } = this.#pool;
    this.#hasPermit = budget.take();
    return this.#hasPermit || (mayWait && budget.wait(this));
  }

  /** Goes on with the permit, or once it comes. */
  #awaitPermit(): void {
    if (this.#hasPermit) this.#backOff();
    else this.#later(PERMIT_MS, () => this.#giveUp(this.#failure));
  }

  /** At once, because nothing was sent. @returns false where no attempt follows */
  #tryElsewhere(error: LbError): boolean {
    const { current } = this;
    if (current === null) return false;
    if (this.next() === null) return true;
    // Without another backend, the one that refused the request gets it again, once.
    if (error.code !== 'backend_busy' || !current.exchange.connected || this.#hasReplaced) return false;
    this.#countRetry(current.target.backend);
    this.#hasReplaced = true;
    this.#start(current.target, { fresh: true });
    return true;
  }

  #hasTime(waitMs: number): boolean {
    return this.#leftMs > waitMs;
  }

  get #leftMs(): number {
    const { timer, responseMs } = this.#pool;
    return this.#firstMs + responseMs - timer.monotonicMs();
  }

  #expect(reason: Policy.RetryReason, failure: Outcome, retryAfterMs: number): void {
    this.#reason = reason;
    this.#failure = failure;
    this.#retryAfterMs = retryAfterMs;
    if (this.#tried === NONE && this.current !== null) this.#tried = [this.current.target.backend];
    this.#owner.body?.suspend();
    this.#deadline ??= new Deadline(() => this.#onDue());
    // An upload may last for hours (B14); the backend's connection bounds what follows it.
    if (this.#owner.body?.done ?? true) this.#pool.timer.arm(this.#deadline, this.#leftMs);
  }

  /** onPermit is called by the budget. */
  onPermit(): void {
    this.#hasPermit = true;
    this.#endWait();
    this.#later(0, () => this.#backOff());
  }

  #backOff(): void {
    const isFirst = this.#retries === 0 && this.#tried.length < this.#pool.byBackend.size;
    const isPrompt = this.#reason === 'reused_socket' || isFirst;
    const ownMs = isPrompt ? 0 : Policy.backOffMs(this.#backOffCount++, Math.random());
    const waitMs = Math.max(ownMs, this.#retryAfterMs);
    if (waitMs === 0) this.#again();
    else this.#later(waitMs, () => this.#again());
  }

  /** Begins the next attempt: at a backend that was tried before only where there is no other. */
  #again(): void {
    const tried = this.#tried;
    let refusal = this.next();
    // All were tried: begin again with all but the last one, and with that one only if nothing else is left.
    if (refusal === OUTCOMES.no_backend) {
      tried.splice(0, tried.length - 1);
      refusal = this.next();
    }
    if (refusal === OUTCOMES.no_backend) {
      tried.length = 0;
      refusal = this.next();
    }
    if (refusal !== null) this.#giveUp(this.#failure);
  }

  #later(waitMs: number, act: () => void): void {
    this.#waitTimer = setTimeout(() => {
      this.#waitTimer = null;
      try {
        act();
      } catch (thrown) {
        this.#owner.crash(thrown);
      }
    }, waitMs);
  }

  #giveUp(outcome: Outcome): void {
    this.#settle();
    if (this.#answer !== null) this.#owner.onHead(this.#answer.head, this.#answer.body);
    else this.#owner.giveUp(outcome);
  }

  /** The time for all attempts is over. */
  #onDue(): void {
    const { current } = this;
    if (current?.failed(noHead(this.#pool.responseMs))) current.exchange.destroy({ memoryIsFree: false });
    this.#giveUp(OUTCOMES.upstream_timeout);
  }

  /** Ends the waits and the deadline, and gives the permit back. */
  #settle(): void {
    this.#endWait();
    if (this.#deadline !== null) this.#pool.timer.remove(this.#deadline);
    if (!this.#hasPermit) return;
    this.#hasPermit = false;
    this.#pool.budget.give();
  }

  #endWait(): void {
    if (this.#waitTimer !== null) clearTimeout(this.#waitTimer);
    this.#waitTimer = null;
    this.#pool.budget.leave(this);
    if (this.#queuedMs === null) return;
    this.queueMs = (this.queueMs ?? 0) + this.#pool.timer.monotonicMs() - this.#queuedMs;
    this.#queuedMs = null;
    this.#pool.queue.remove(this);
  }

  /** cancel ends the attempt, and the wait for another one. @param options see Exchange.destroy */
  cancel(options: { memoryIsFree: boolean }): void {
    const { current } = this;
    if (current !== null) {
      current.abandoned(this.#askedMs(current));
      current.cancel(options);
    }
    if (this.#hasWaits) this.#settle();
  }

  /** close is called once, at the end of the request. */
  close(): void {
    if (this.#hasWaits) this.#settle();
    this.#pool.budget.active -= 1;
  }

  /** Whether there may be something for #settle: it has failed before, or waits. */
  get #hasWaits(): boolean {
    return this.#deadline !== null || this.#queuedMs !== null;
  }

  /** outcomeOf is how the request ends if nothing follows this error. Where no backend is up, a failed connection is `no_backend`: the whole pool is the cause. */
  outcomeOf({ code }: LbError): Outcome {
    const backends = this.#pool.byBackend.keys();
    if (code === 'connect_failed' && [...backends].every(({ standing }) => standing !== 'up'))
      return OUTCOMES.no_backend;
    return OUTCOMES[code as Reason] ?? OUTCOMES.internal_error;
  }
}
