/**
 * How many requests one backend may have of this worker at once, found from its latency (`adaptive: latency`). A backend that has more
 * than it can do makes all of them wait, and some then do less in total: beyond that point more requests are only a longer queue,
 * which is better kept here, where it is short.
 *
 * measuring  the limit is MEASURE_LIMIT, until MEASURE_SAMPLES requests that began so have been answered, or for MEASURE_MAX_MS and a
 *            tick of the timer: their latency is the base, that of a backend without a queue. Without an answer the former base and
 *            limit hold again (also where every answer takes longer). The first measurement has none, and goes on until an answer
 *            comes: of that backend nothing is known, and requests that wait for a second are no reason to give it more.
 *            Entered with the first answer (the limit is MEASURE_LIMIT before it, too), and with the first one after every PERIOD_MS
 *            in which the limit was reached, because without new measurements the base would follow a queue that lasts. While nobody
 *            waits for the limit, the base does not matter, and
 *            to measure would hold up a calm load. All workers of all machines measure a backend at the same time of the wall clock: it
 *            has no queue only if none of them sends more.
 * following  after each window the limit is multiplied by TOLERANCE × base ÷ latency, at least by GRADIENT_MIN and at most by 1, and grows
 *            by its square root: with a latency as low as the base it grows, and comes to rest where its growth makes as much of a queue as
 *            the latency shows. It grows only while it is used.
 *
 * Only requests that wait for the backend count: without answers that have begun, and without bodies that their clients send slowly.
 * MEASURE_LIMIT of these would fill every place for hours, and then no latency is seen that could raise the limit.
 *
 * Latencies are compared by their geometric means: a slow request among fast ones counts as one, not as the sum of what it took.
 */
import type { Backend } from '../balance/backend.ts';
import type { Clock } from '../contract/clock.ts';
import { Deadline, type DeadlineTimer } from '../infra/deadline-timer.ts';

/** Low enough that a backend has hardly a queue, high enough that most backends are busy. */
const MEASURE_LIMIT = 3;
const MEASURE_MAX_MS = 1_000;
const PERIOD_MS = 30_000;
const WINDOW_MS = 100;
const SAMPLES_MIN = 10;
const MEASURE_SAMPLES = 20;
const TOLERANCE = 1.5;
/** One window takes no more than half of the limit away. */
const GRADIENT_MIN = 0.5;
/** The limit counts as used where this part of it was taken. */
const USED_SHARE = 0.8;

/** AdaptiveLimit is made once per backend and worker, and passed on by plans. */
export class AdaptiveLimit {
  readonly #backend: Backend;
  readonly #clock: Clock;
  readonly #timer: DeadlineTimer;
  /** Armed while measuring: slow requests bring no sample that could end it. */
  readonly #measureDeadline = new Deadline(() => this.#endMeasuring(this.#clock.monotonicMs()));
  /** So that not all backends are measured at once. */
  readonly #phaseMs: number;
  #maxLimit = Number.POSITIVE_INFINITY;
  #limit = MEASURE_LIMIT;
  /** Logarithm of the base; null: never measured. */
  #base: number | null = null;
  #period = Number.NaN;
  #measuring = false;
  /** In this period. The first one begins with a measurement. */
  #wasReached = true;
  /** Requests that began earlier are no samples. */
  #sinceMs = 0;
  /** Monotonic; of the window or the measurement. */
  #endMs = 0;
  #count = 0;
  #logSum = 0;
  #mostBusy = 0;
  #isStopped = false;

  constructor(backend: Backend, { clock, timer }: { clock: Clock; timer: DeadlineTimer }) {
    this.#backend = backend;
    this.#clock = clock;
    this.#timer = timer;
    let hash = 0;
    for (let i = 0; i < backend.id.length; i++) hash = (Math.imul(hash, 31) + backend.id.charCodeAt(i)) >>> 0;
    this.#phaseMs = hash % PERIOD_MS;
  }

  /** configure is called with each plan. @param maxLimit this worker's share of maxConcurrentPerBackend */
  configure(maxLimit: number): void {
    this.#maxLimit = maxLimit;
    this.#apply();
  }

  /** stop is called by a plan that has no such limit any more: attempts of older plans may still bring samples. */
  stop(): void {
    this.#isStopped = true;
    this.#timer.remove(this.#measureDeadline);
    this.#backend.awaitedLimit = Number.POSITIVE_INFINITY;
  }

  /** The limit in force, whole and at least 1. */
  get limit(): number {
    return Math.max(1, Math.min(Math.floor(this.#measuring ? MEASURE_LIMIT : this.#limit), this.#maxLimit));
  }

  /** sample is called when an answer has begun, or has not come in time. */
  sample(latencyMs: number): void {
    if (this.#isStopped) return;
    const nowMs = this.#clock.monotonicMs();
    const period = Math.floor((this.#clock.wallMs() + this.#phaseMs) / PERIOD_MS);
    // Also after a step of the clock.
    if (period !== this.#period) this.#beginPeriod(period, nowMs);
    this.#mostBusy = Math.max(this.#mostBusy, this.#backend.awaited);
    if (nowMs - latencyMs >= this.#sinceMs) {
      this.#count += 1;
      this.#logSum += Math.log(Math.max(latencyMs, 0.1));
    }
    const isOver = nowMs >= this.#endMs;
    if (this.#measuring && (isOver || this.#count >= MEASURE_SAMPLES)) this.#endMeasuring(nowMs);
    else if (!this.#measuring && isOver && this.#count >= SAMPLES_MIN) this.#follow(nowMs);
  }

  /** abandoned is called when nobody waits for an answer any more: its latency would have been this long at least. */
  abandoned(waitedMs: number): void {
    if (this.#base !== null && Math.log(waitedMs / TOLERANCE) > this.#base) this.sample(waitedMs);
  }

  #beginPeriod(period: number, nowMs: number): void {
    this.#period = period;
    const wasReached = this.#wasReached;
    this.#wasReached = false;
    if (!wasReached) return;
    this.#measuring = true;
    this.#begin(nowMs, MEASURE_MAX_MS);
    this.#timer.arm(this.#measureDeadline, MEASURE_MAX_MS);
    this.#apply();
  }

  #endMeasuring(nowMs: number): void {
    if (this.#count > 0) this.#base = this.#logSum / this.#count;
    if (this.#base === null) return;
    this.#measuring = false;
    this.#timer.remove(this.#measureDeadline);
    this.#begin(nowMs, WINDOW_MS);
    this.#apply();
  }

  #begin(nowMs: number, forMs: number): void {
    this.#sinceMs = nowMs;
    this.#endMs = nowMs + forMs;
    this.#count = this.#logSum = this.#mostBusy = 0;
  }

  #follow(nowMs: number): void {
    const latency = this.#logSum / this.#count;
    const ratio = TOLERANCE * Math.exp((this.#base ?? latency) - latency);
    const next = this.#limit * Math.max(GRADIENT_MIN, Math.min(1, ratio)) + Math.sqrt(this.#limit);
    const isUsed = this.#mostBusy >= USED_SHARE * this.#limit;
    if (this.#mostBusy >= this.limit) this.#wasReached = true;
    if (next < this.#limit || isUsed) this.#limit = Math.min(next, this.#maxLimit);
    this.#begin(nowMs, WINDOW_MS);
    // Requests that began before the window are samples of it, too.
    this.#sinceMs = Number.NEGATIVE_INFINITY;
    this.#apply();
  }

  #apply(): void {
    this.#backend.awaitedLimit = this.limit;
  }
}
