/** Shows and refills buckets for the admin port: in Redis over a connection of its own, else in the primary's memory. */
import type { ClientMatch } from '../../contract/clients.ts';
import type { Clock } from '../../contract/clock.ts';
import type { RedisSettings } from '../../contract/settings.ts';
import type { Logger } from '../../infra/logging/logger.ts';
import type { RedisConnection } from '../../infra/redis/redis.ts';
import { type BucketView, peekBuckets } from '../../limit/bucket/bucket-peek.ts';
import type { RefillableStore } from '../../limit/store/bucket-store.ts';
import type { MemoryBucketStore } from '../../limit/store/memory-bucket-store.ts';
import { bucketScripts, RedisBucketStore } from '../../limit/store/redis-bucket-store.ts';
import { heartbeatScripts } from '../instance-heartbeat.ts';
import type { Revision } from '../reloader.ts';
import { warnOfMemoryPolicy } from './memory-policy.ts';

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
  /** Its calls wait for a second at most. */
  readonly store: RefillableStore;
  /** The primary's own, also for the heartbeat; null without Redis. */
  readonly connection: RedisConnection | null;

  private constructor(store: RefillableStore, connection: RedisConnection | null) {
    this.store = store;
    this.connection = connection;
  }

  /** open is called once by the primary's main. The client of Redis, 14 MiB, is loaded only where there is one. */
  static async open({ redis, memory, clock, logger }: BucketViewsOptions): Promise<BucketViews> {
    if (redis === null) return new BucketViews(memory, null);
    const { RedisConnection } = await import('../../infra/redis/redis.ts');
    const { servers, prefix } = redis;
    const connection = new RedisConnection({
      servers,
      connectionName: 'sluice-primary',
      scripts: { ...bucketScripts(), ...heartbeatScripts() },
      logger,
      random: Math.random,
    });
    void connection
      .waitForFirstAttempt(LOOK_TIMEOUT_MS)
      .then(() => (connection.ready ? warnOfMemoryPolicy(connection.client, logger) : undefined));
    const store = new RedisBucketStore({ connection, prefix, timeoutMs: LOOK_TIMEOUT_MS, clock });
    return new BucketViews(store, connection);
  }

  /** of shows the buckets of one owner, see peekBuckets. */
  of(owner: ClientMatch, { settings, policyVersionUs }: Revision): Promise<BucketView[]> {
    return peekBuckets(this.store, owner, settings.rateLimit.policies, policyVersionUs);
  }

  async close(): Promise<void> {
    await this.connection?.close();
  }
}
