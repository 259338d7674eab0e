/**
 * Whether the bucket store can be asked: breaker, probes and the counters of calls. The limiter reports how each batch
 * went and asks before it sends one.
 */
import type { TakeReply, TakeRequest } from '../../contract/buckets.ts';
import type { Clock } from '../../contract/clock.ts';
import { LbError, toError } from '../../contract/errors.ts';
import type { Logger } from '../../infra/logging/logger.ts';
import type { WorkerMetrics } from '../../infra/metrics.ts';
import { Breaker, type BreakerTimers } from './breaker.ts';
import type { BucketStore } from './bucket-store.ts';
import { StoreMeter } from './store-meter.ts';
import { makeProbe } from './store-probe.ts';

/** A connection that nobody uses can break unseen: a store not heard for so long is asked. */
const WATCH_EVERY_MS = 1_000;

interface StoreHealthOptions {
  store: BucketStore;
  clock: Pick<Clock, 'monotonicMs'>;
  metrics: WorkerMetrics;
  logger: Pick<Logger, 'info' | 'warn' | 'error'>;
  random: () => number;
  timers: BreakerTimers;
}

export class StoreHealth {
  readonly #store: BucketStore;
  readonly #clock: Pick<Clock, 'monotonicMs'>;
  readonly #logger: StoreHealthOptions['logger'];
  readonly #breaker: Breaker;
  readonly #meter: StoreMeter;
  #lastHeardMs = Number.NEGATIVE_INFINITY;
  /** For the log line of an opening breaker. */
  #lastError: Error | null = null;
  #closed = false;
  #stopWatch: () => void = () => undefined;

  constructor(options: StoreHealthOptions) {
    const { store, clock, metrics, logger, random, timers } = options;
    this.#store = store;
    this.#clock = clock;
    this.#logger = logger;
    this.#meter = new StoreMeter(metrics);
    this.#breaker = new Breaker({
      probe: () => this.#probe('breaker'),
      onChange: (open, reason) => this.#breakerChanged(open, reason),
      random,
      timers,
    });
    if (store.kind === 'redis') this.#watch(timers);
  }

  /** Whether requests go without the store now. */
  get away(): boolean {
    return this.#breaker.open || !this.#store.available;
  }

  /** reachable says whether a take may be sent, and opens the breaker where the store itself says no. */
  reachable(): boolean {
    if (this.#closed) return false;
    if (!this.#breaker.open && !this.#store.available) this.#breaker.away();
    return !this.#breaker.open;
  }

  /** skipped counts a request that did not ask. */
  skipped(): void {
    this.#meter.skipped();
  }

  /** ask never rejects: a store never does, and where one does all the same, nobody may wait for ever. */
  async ask(takes: TakeRequest[]): Promise<(TakeReply | Error)[]> {
    try {
      return await this.#store.takeBatch(takes);
    } catch (thrown) {
      const error = toError(thrown);
      return takes.map(() => error);
    }
  }

  /**
   * judge tells the breaker and the counters how a batch went; one answered take shows that the store is there.
   *
   * @param waitedMs from the first request's joining a queue to now
   */
  judge(results: (TakeReply | Error)[], sentAtMs: number, waitedMs: number): void {
    const errors = results.filter((result) => result instanceof Error);
    if (errors.length < results.length) {
      this.#lastHeardMs = this.#clock.monotonicMs();
      this.#meter.answered(waitedMs / 1000);
      this.#breaker.succeed();
      return;
    }
    const error = errors[0];
    this.#lastError = error ?? null;
    const timedOut = error instanceof LbError && error.code === 'store_timeout';
    if (timedOut) this.#meter.timedOut();
    else this.#meter.failed();
    if (this.#closed) return;
    if (timedOut && this.#lastHeardMs < sentAtMs) this.#breaker.silence();
    else this.#breaker.fail();
  }

  close(): void {
    this.#closed = true;
    this.#stopWatch();
    this.#breaker.close();
  }

  /** Without traffic nobody would notice that Redis is away, and readiness could not say so. */
  #watch(timers: BreakerTimers): void {
    this.#stopWatch = timers.after(WATCH_EVERY_MS, () => {
      this.#watch(timers);
      const silentMs = this.#clock.monotonicMs() - this.#lastHeardMs;
      if (this.reachable() && silentMs >= WATCH_EVERY_MS) this.#probe('watch');
    });
  }

  /** A watch that gets no answer holds nobody: it counts as one failure, where a request's silence would open the breaker. */
  #probe(cause: 'breaker' | 'watch'): void {
    if (this.#closed || !this.#store.available) return;
    const startMs = this.#clock.monotonicMs();
    const sentAtMs = cause === 'watch' ? Number.NEGATIVE_INFINITY : startMs;
    this.ask([makeProbe()])
      .then((results) => this.judge(results, sentAtMs, this.#clock.monotonicMs() - startMs))
      .catch((thrown: unknown) => this.#logger.error({ err: toError(thrown) }, 'the limiter lost a probe'));
  }

  #breakerChanged(open: boolean, reason: string): void {
    this.#meter.breaker(open);
    const fields = { store: this.#store.kind, reason };
    if (open)
      this.#logger.warn(
        { ...fields, err: this.#lastError },
        'the bucket store is away, limits are kept locally',
      );
    else this.#logger.info(fields, 'the bucket store is back');
  }
}
