/** Looks at buckets for the admin port: in Redis over a connection of the primary's own, else in its memory. */
import type { ClientRecord } from '../contract/clients.ts';
import type { Clock } from '../contract/clock.ts';
import type { RedisSettings } from '../contract/settings.ts';
import type { Logger } from '../infra/logger.ts';
import { RedisConnection } from '../infra/redis.ts';
import { type BucketView, peekBuckets } from '../limit/bucket-peek.ts';
import type { BucketStore } from '../limit/bucket-store.ts';
import type { MemoryBucketStore } from '../limit/memory-bucket-store.ts';
import { bucketScripts, RedisBucketStore } from '../limit/redis-bucket-store.ts';
import type { Revision } from './reloader.ts';

/** An operator's look may wait longer than a request. */
const LOOK_TIMEOUT_MS = 1_000;

interface BucketViewsOptions {
  redis: RedisSettings | null;
  /** Where the buckets are without Redis. */
  memory: MemoryBucketStore;
  clock: Clock;
  logger: Logger;
}

export class BucketViews {
  readonly #store: BucketStore;
  readonly #connection: RedisConnection | null = null;

  constructor({ redis, memory, clock, logger }: BucketViewsOptions) {
    if (redis === null) {
      this.#store = memory;
      return;
    }
    const { url, prefix } = redis;
    const scripts = bucketScripts();
    this.#connection = new RedisConnection({
      url,
      connectionName: 'sluice-primary',
      scripts,
      logger,
      random: Math.random,
    });
    this.#store = new RedisBucketStore({
      connection: this.#connection,
      prefix,
      timeoutMs: LOOK_TIMEOUT_MS,
      clock,
    });
  }

  /** of shows a client's buckets, one per policy; rejects with the store's LbError where it is away. */
  of(client: ClientRecord, { settings, policyVersionUs }: Revision): Promise<BucketView[]> {
    const match = { client, bucketName: client.clientId, tombstoneUs: 0 };
    return peekBuckets(this.#store, match, settings.rateLimit.policies, policyVersionUs);
  }

  async close(): Promise<void> {
    await this.#connection?.close();
  }
}
