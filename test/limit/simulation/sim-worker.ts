/** A worker process of the simulation: the product's limiter with a simulated clock and event loop. */
import type { PolicySettings } from '../../../src/contract/settings.ts';
import { WorkerMetrics } from '../../../src/infra/worker-metrics.ts';
import type { Caller } from '../../../src/limit/caller/identity.ts';
import { charge, type RouteLimit } from '../../../src/limit/charge.ts';
import type { Decision } from '../../../src/limit/decision.ts';
import { Limiter } from '../../../src/limit/limiter/limiter.ts';
import type { Random } from '../../fuzz/random.ts';
import { AuditedTaker } from './audited-taker.ts';
import type { Auditor } from './auditor.ts';
import { Link, type LinkEvents, type Weather } from './link.ts';
import type { SimStore } from './sim-store.ts';
import type { VirtualTime } from './virtual-time.ts';

export interface WorkerOptions {
  name: string;
  time: VirtualTime;
  store: SimStore;
  random: Random;
  weather: () => Weather;
  events: LinkEvents;
  timeoutMs: number;
  workers: number;
  instances: number;
  leases: boolean;
  /** The machine's monotonic clock: its start, and its speed (1: that of the store). */
  clockOffsetMs: number;
  clockSpeed: number;
  onError: (message: string) => void;
}

/** Longest turn of the event loop. */
const MAX_TURN_MS = 0.3;
/** Longest lateness of timers. */
const TIMER_STEP_MS = 1;

/** The takes of a request: all of them or none. */
export interface Asked {
  caller: Caller;
  policies: readonly PolicySettings[];
  cost: number;
}

export interface Answer {
  decision: Decision;
  /** Since the request was read, without the stalls of this worker. */
  waitedMs: number;
}

export class SimWorker {
  readonly name: string;
  readonly link: Link;
  readonly #options: WorkerOptions;
  readonly #limiter: Limiter;
  #alive = true;
  #draining = false;
  #stalledUntilMs = 0;
  #stalledMs = 0;
  #parts: number;
  /** Number of takes that wait for an answer. */
  waiting = 0;

  constructor(options: WorkerOptions) {
    this.#options = options;
    this.#parts = options.workers * options.instances;
    this.name = options.name;
    const { time, store, random, weather, events, timeoutMs } = options;
    const clock = { monotonicMs: () => this.monotonicMs, wallMs: () => time.nowMs };
    const timers = {
      after: (delayMs: number, fn: () => void) =>
        this.#later(delayMs / options.clockSpeed + random.below(1_000) * (TIMER_STEP_MS / 1_000), fn),
    };
    const defer = (fn: () => void) => {
      this.#later(random.below(1_000) * (MAX_TURN_MS / 1_000), fn);
    };
    const loop = (fn: () => void) => this.#loop(fn);
    this.link = new Link({ time, store, random, weather, events, loop });
    this.#limiter = new Limiter({
      store: this.link,
      timeoutMs,
      clock,
      timers,
      defer,
      metrics: new WorkerMetrics(),
      logger: {
        info: () => undefined,
        warn: () => undefined,
        error: (_: unknown, message?: string) => options.onError(message ?? 'an error without a word'),
      },
      random: () => random.next() / 2 ** 32,
    });
    this.#limiter.shareAmong(this.#parts);
  }

  /** On the machine's own clock. */
  get monotonicMs(): number {
    return this.monotonicMsAt(this.#options.time.nowMs);
  }

  get clockSpeed(): number {
    return this.#options.clockSpeed;
  }

  monotonicMsAt(atMs: number): number {
    return this.#options.clockOffsetMs + atMs * this.#options.clockSpeed;
  }

  /** timeOf is the simulated time at which its clock shows this value. */
  timeOf(monotonicMs: number): number {
    return (monotonicMs - this.#options.clockOffsetMs) / this.#options.clockSpeed;
  }

  /** Number of workers of all machines that it knows of: the n of its local shares. */
  get parts(): number {
    return this.#parts;
  }

  /** Whether it gets new requests. */
  get accepting(): boolean {
    return this.#alive && !this.#draining;
  }

  get alive(): boolean {
    return this.#alive;
  }

  get breakerOpen(): boolean {
    return this.#limiter.breakerOpen;
  }

  configure(policies: readonly PolicySettings[], versionUs: number): void {
    this.#loop(() => this.#limiter.configure({ policies, leases: this.#options.leases }, versionUs));
  }

  shareAmong(parts: number): void {
    this.#loop(() => {
      this.#parts = parts;
      this.#limiter.shareAmong(parts);
    });
  }

  /** request asks the limiter when the event loop reads it. onAnswer is not called if the worker dies before. */
  request(asked: Asked, auditor: Auditor, onAnswer: (answer: Answer) => void): void {
    this.#loop(() => {
      const [startMs, stalledMs] = [this.#options.time.nowMs, this.#stalledMs];
      const taker = new AuditedTaker(this.#limiter, this, auditor);
      const answered = (decision: Decision) => {
        if (!this.#alive) return;
        if (decision.allowed) for (const charge of taker.charges) auditor.admitted(charge);
        const waitedMs = this.#options.time.nowMs - startMs - (this.#stalledMs - stalledMs);
        onAnswer({ decision, waitedMs });
      };
      const answer = charge(taker, asked.caller, routeLimitOf(asked));
      if (!(answer instanceof Promise)) {
        answered(answer);
        return;
      }
      this.waiting++;
      void answer.then((decision) => {
        this.waiting--;
        answered(decision);
      });
    });
  }

  resetBucket(key: string, onReset: () => void): void {
    this.#loop(() => {
      this.#limiter.resetBucket(key);
      onReset();
    });
  }

  /** stall blocks the event loop. */
  stall(forMs: number): void {
    const { nowMs } = this.#options.time;
    const fromMs = Math.max(nowMs, this.#stalledUntilMs);
    this.#stalledUntilMs = Math.max(fromMs, nowMs + forMs);
    this.#stalledMs += this.#stalledUntilMs - fromMs;
  }

  /** crash ends the process and loses all its tokens. */
  crash(): void {
    this.#alive = false;
    this.link.cut(Number.POSITIVE_INFINITY);
  }

  /** drain ends it gracefully: waiting takes are decided, and its tokens may be returned. */
  drain(): void {
    this.#draining = true;
    this.#loop(() => {
      void this.#limiter.close();
    });
  }

  #later(delayMs: number, fn: () => void): () => void {
    let cancelled = false;
    // A stall delays it further, and until then it can be cancelled.
    this.#options.time.after(delayMs, () => {
      this.#loop(() => {
        if (!cancelled) fn();
      });
    });
    return () => {
      cancelled = true;
    };
  }

  /** Runs fn now, or after the stall, or never in a dead process. */
  #loop(fn: () => void): void {
    if (!this.#alive) return;
    const { time } = this.#options;
    if (this.#stalledUntilMs > time.nowMs) time.at(this.#stalledUntilMs, () => this.#loop(fn));
    else fn();
  }
}

function routeLimitOf({ policies, cost }: Asked): RouteLimit {
  const [first, ...rest] = policies;
  if (first === undefined) throw new Error('a request without a policy');
  return { policies: [first, ...rest], cost };
}
