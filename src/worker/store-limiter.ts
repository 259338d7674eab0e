/** A worker's limiter on one bucket store: Redis, over a connection of its own, or the primary. */
import { isDeepStrictEqual } from 'node:util';
import { systemClock } from '../contract/clock.ts';
import { toError } from '../contract/errors.ts';
import type { WorkerPlace } from '../contract/messages.ts';
import type { WorkerSettings } from '../contract/settings.ts';
import type { Logger } from '../infra/logging/logger.ts';
import type { RedisConnection } from '../infra/redis/redis.ts';
import type { WorkerMetrics } from '../infra/worker-metrics.ts';
import { Limiter } from '../limit/limiter/limiter.ts';
import type { PrimaryBucketStore } from '../limit/store/primary-bucket-store.ts';
import { bucketScripts, RedisBucketStore } from '../limit/store/redis-bucket-store.ts';

/**
 * Deadline of takes over IPC. Silence means that this machine is overloaded, not that the store is lost: the death of the primary
 * is seen at once. With the 20 ms of Redis, bursts over 8 workers on 2 busy cores fell back to local shares.
 */
const PRIMARY_STORE_TIMEOUT_MS = 250;

/** Whoever begins to use Redis waits this long for it: the longest that an attempt to connect takes. */
const FIRST_CONNECTION_MS = 1_000;

interface StoreLimiterOptions extends Pick<WorkerPlace, 'workerIndex' | 'replacement'> {
  /** The store without Redis. */
  primaryStore: PrimaryBucketStore;
  metrics: WorkerMetrics;
  logger: Logger;
}

/** StoreLimiter is made by the worker's data plane. */
export class StoreLimiter {
  readonly limiter: Limiter;
  readonly #redis: WorkerSettings['redis'];
  readonly #connection: RedisConnection | null;
  readonly #logger: Logger;

  private constructor(
    redis: WorkerSettings['redis'],
    connection: RedisConnection | null,
    before: StoreLimiter | null,
    options: StoreLimiterOptions,
  ) {
    this.#redis = redis;
    this.#connection = connection;
    this.#logger = options.logger;
    const timeoutMs = redis?.timeoutMs ?? PRIMARY_STORE_TIMEOUT_MS;
    const store =
      redis === null || connection === null
        ? options.primaryStore
        : new RedisBucketStore({ connection, prefix: redis.prefix, timeoutMs });
    this.limiter = new Limiter({ ...options, store, timeoutMs, clock: systemClock, before: before?.limiter });
  }

  /**
   * open begins to connect; ioredis takes 14 MiB, so it is loaded only where Redis is configured.
   * @param before the one that this one takes the place of; null: this is the first
   */
  static async open(
    redis: WorkerSettings['redis'],
    before: StoreLimiter | null,
    options: StoreLimiterOptions,
  ): Promise<StoreLimiter> {
    if (redis === null) return new StoreLimiter(null, null, before, options);
    const { RedisConnection } = await import('../infra/redis/redis.ts');
    const { workerIndex, logger } = options;
    const connectionName = `sluice-w${workerIndex}`;
    const scripts = bucketScripts();
    const connection = new RedisConnection({ servers: redis.servers, connectionName, scripts, logger });
    return new StoreLimiter(redis, connection, before, options);
  }

  /** Whether settings ask for this store. */
  isFor(redis: WorkerSettings['redis']): boolean {
    return isDeepStrictEqual(redis, this.#redis);
  }

  /** connected resolves after the first attempt to connect, or a second. Before, the limiter would grant the local share. */
  async connected(): Promise<void> {
    await this.#connection?.waitForFirstAttempt(FIRST_CONNECTION_MS);
  }

  /** retire lets the requests that wait for this store end there, and closes. Never rejects. */
  async retire(): Promise<void> {
    try {
      await this.limiter.finishWaiting();
      await this.close();
    } catch (thrown) {
      this.#logger.error({ err: toError(thrown) }, 'the former bucket store was not closed cleanly');
    }
  }

  async close(): Promise<void> {
    await this.limiter.close();
    await this.#connection?.close();
  }
}
