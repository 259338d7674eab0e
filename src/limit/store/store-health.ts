/** The limiter's way to the bucket store: calls with a deadline, a breaker per server, probes, and counters. */
import type { TakeReply, TakeRequest } from '../../contract/buckets.ts';
import { LbError, toError } from '../../contract/errors.ts';
import type { Logger } from '../../infra/logging/logger.ts';
import { slotOfTag } from '../../infra/redis/cluster-slot.ts';
import type { WorkerMetrics } from '../../infra/worker-metrics.ts';
import { probeKey } from '../bucket/bucket-key.ts';
import { Breaker } from './breaker.ts';
import { type BucketStore, MICRO, PLAIN_TAKE } from './bucket-store.ts';
import { type DeadlineOptions, DeadlineQueue, type Pending } from './deadline-queue.ts';

/** How often it looks for a server that has been silent too long, which gets a probe: an unused connection can break unnoticed. */
const WATCH_EVERY_MS = 1_000;
/** Between two looks, so that it is each second one that probes an idle server, whether the looks are late or the answers are. */
const SILENT_MS = 1.5 * WATCH_EVERY_MS;
const PROBE_CAPACITY = 1_000;
/** Names that are tried to find a bucket on a given server. A server with 1 % of the slots has one among the first 500. */
const MAX_PROBE_NAMES = 4_096;

export interface StoreHealthOptions extends DeadlineOptions {
  store: BucketStore;
  metrics: WorkerMetrics;
  logger: Pick<Logger, 'info' | 'warn' | 'error'>;
  random: () => number;
}

/** A batch of takes on its way. */
interface Call extends Pending {
  fail(error: Error): void;
}

export class StoreHealth {
  readonly #options: StoreHealthOptions;
  readonly #store: BucketStore;
  /** A reply after its call's deadline is ignored, and its tokens are lost. */
  readonly #deadlines: DeadlineQueue<Call>;
  /** By the server's name. */
  readonly #breakers = new Map<string, Breaker>();
  /** The breaker of the only server; null for a Cluster. */
  readonly #only: Breaker | null;
  readonly #series: Record<'ok' | 'timeout' | 'error' | 'skipped' | 'seconds', number>;
  #closed = false;
  #stopWatch: () => void = () => undefined;

  constructor(options: StoreHealthOptions) {
    this.#options = options;
    const { metrics, store, timeoutMs } = options;
    this.#store = store;
    const message = `the bucket store did not reply within ${timeoutMs} ms`;
    this.#deadlines = new DeadlineQueue(options, (call) => call.fail(new LbError('store_timeout', message)));
    const calls = (result: string) => metrics.series('sluice_ratelimit_store_calls_total', result);
    this.#series = {
      ok: calls('ok'),
      timeout: calls('timeout'),
      error: calls('error'),
      skipped: calls('skipped'),
      seconds: metrics.series('sluice_ratelimit_store_seconds'),
    };
    this.#only = store.cluster === undefined ? this.#breakerOf('') : null;
    if (store.kind === 'redis') this.#watch();
  }

  /** Whether some requests are decided without the store now. */
  get away(): boolean {
    return !this.#store.available || [...this.#breakers.values()].some((breaker) => this.isAway(breaker));
  }

  /** slotOf is the slot of an owner's buckets in a Cluster, else 0. Only takes with the same slot can share a call. */
  slotOf(ownerHash: string): number {
    return this.#only === null ? slotOfTag(ownerHash) : 0;
  }

  /** breakerOf is the breaker of the server that has the slot now. */
  breakerOf(slot: number): Breaker {
    return this.#only ?? this.#breakerOf(this.#store.cluster?.serverOf(slot) ?? '');
  }

  /** hasHeard says whether the server of an owner's buckets has ever answered this process. */
  hasHeard(ownerHash: string): boolean {
    return this.breakerOf(this.slotOf(ownerHash)).lastHeardMs !== Number.NEGATIVE_INFINITY;
  }

  isAway(breaker: Breaker): boolean {
    return breaker.open || !this.#isConnected(breaker);
  }

  /** isReachable says whether a take may be sent. It opens the breaker if there is no connection. */
  isReachable(breaker: Breaker): boolean {
    if (this.#closed) return false;
    if (!breaker.open && !this.#isConnected(breaker)) breaker.away();
    return !breaker.open;
  }

  /** skipped counts a request that was decided without the store because it is away. */
  skipped(): void {
    this.#options.metrics.add(this.#series.skipped, 1);
  }

  /** ask sends a call. It resolves by the deadline and never rejects: else requests could wait for ever. */
  ask(takes: readonly TakeRequest[]): Promise<(TakeReply | Error)[]> {
    const { promise, resolve } = Promise.withResolvers<(TakeReply | Error)[]>();
    const settle = (results: (TakeReply | Error)[]): void => {
      call.settled = true;
      resolve(results);
    };
    const fail = (thrown: unknown) => settle(new Array<Error>(takes.length).fill(toError(thrown)));
    const call = { settled: false, fail };
    this.#deadlines.add(call);
    this.#store.takeBatch(takes, call).then(settle, fail);
    return promise;
  }

  /**
   * judge reports the outcome of a call to the breaker and the counters. One answered take proves that the server is there.
   *
   * @param waitedMs how long the first of its requests has waited
   */
  judge(breaker: Breaker, results: readonly (TakeReply | Error)[], sentAtMs: number, waitedMs: number): void {
    const { metrics, clock } = this.#options;
    const error = results.every(isFailure) ? results[0] : undefined;
    if (error === undefined) {
      breaker.lastHeardMs = clock.monotonicMs();
      metrics.add(this.#series.ok, 1);
      metrics.observe(this.#series.seconds, waitedMs / 1000);
      breaker.succeed();
      return;
    }
    breaker.lastError = error;
    const timedOut = error instanceof LbError && error.code === 'store_timeout';
    metrics.add(timedOut ? this.#series.timeout : this.#series.error, 1);
    if (this.#closed) return;
    if (timedOut && breaker.lastHeardMs < sentAtMs) breaker.silence();
    else breaker.fail();
  }

  close(): void {
    this.#closed = true;
    this.#stopWatch();
    for (const breaker of this.#breakers.values()) breaker.close();
  }

  #isConnected({ server }: Breaker): boolean {
    return this.#store.available && this.#store.cluster?.isReady(server) !== false;
  }

  #breakerOf(server: string): Breaker {
    const known = this.#breakers.get(server);
    if (known !== undefined) return known;
    const { random, timers } = this.#options;
    const breaker = new Breaker(server, {
      probe: () => this.#probe(breaker, 'breaker'),
      onChange: (open, reason) => this.#breakerChanged(breaker, open, reason),
      random,
      timers,
    });
    this.#breakers.set(server, breaker);
    return breaker;
  }

  /** Notices without traffic that Redis is away, so that /readyz can say so. */
  #watch(): void {
    const { clock, timers } = this.#options;
    this.#stopWatch = timers.after(WATCH_EVERY_MS, () => {
      this.#watch();
      for (const server of this.#store.cluster?.servers() ?? []) this.#breakerOf(server);
      for (const breaker of this.#breakers.values()) {
        const silentMs = clock.monotonicMs() - breaker.lastHeardMs;
        if (this.isReachable(breaker) && silentMs >= SILENT_MS) this.#probe(breaker, 'watch');
      }
    });
  }

  /** Sends a real take, which needs the same rights as others. Silence after a watch counts as one failure: no request waits. */
  #probe(breaker: Breaker, cause: 'breaker' | 'watch'): void {
    if (this.#closed || !this.#store.available) return;
    const key = this.#probeKeyOf(breaker);
    if (key === null) {
      this.#forget(breaker);
      return;
    }
    if (!this.#isConnected(breaker)) return;
    const startMs = this.#options.clock.monotonicMs();
    const sentAtMs = cause === 'watch' ? Number.NEGATIVE_INFINITY : startMs;
    this.ask([probeTake(key)])
      .then((results) => this.judge(breaker, results, sentAtMs, this.#options.clock.monotonicMs() - startMs))
      .catch((thrown: unknown) =>
        this.#options.logger.error({ err: toError(thrown) }, 'a store probe failed unexpectedly'),
      );
  }

  /** The key of a bucket on that server that no caller owns; null: the server has no slots, or hardly any. */
  #probeKeyOf(breaker: Breaker): string | null {
    for (let tried = 0; tried < MAX_PROBE_NAMES; tried++) {
      const name = (breaker.probeName + tried) % MAX_PROBE_NAMES;
      if (this.breakerOf(this.slotOf(String(name))) !== breaker) continue;
      breaker.probeName = name;
      return probeKey(name);
    }
    return null;
  }

  /** The server has left the Cluster. */
  #forget(breaker: Breaker): void {
    // The server may be back already, with a breaker of its own.
    if (this.#breakers.get(breaker.server) === breaker) this.#breakers.delete(breaker.server);
    breaker.close();
    if (breaker.open) this.#breakerChanged(breaker, false, 'it has no buckets any more');
  }

  #breakerChanged({ server, lastError }: Breaker, open: boolean, reason: string): void {
    const { logger } = this.#options;
    const fields = { store: this.#store.kind, ...(server === '' ? {} : { server }), reason };
    if (open) logger.warn({ ...fields, err: lastError }, 'the bucket store is away, limits are kept locally');
    else logger.info(fields, 'the bucket store is back');
  }
}

/** An error about one bucket is an answer of the server. */
function isFailure(result: TakeReply | Error): result is Error {
  return result instanceof Error && !(result instanceof LbError && result.code === 'bucket_unreadable');
}

/** probeTake is a take from a bucket that no caller owns; see probeKey. */
export function probeTake(key: string): TakeRequest {
  const limits = { capacity: PROBE_CAPACITY, rateMicro: PROBE_CAPACITY * MICRO, versionUs: 1 };
  return { key, ...limits, need: 1, partial: false, ...PLAIN_TAKE };
}
