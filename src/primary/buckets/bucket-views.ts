/** Shows and refills buckets for the admin port: in Redis over a connection of its own, else in the primary's memory. */
import type { ClientMatch } from '../../contract/clients.ts';
import { LbError } from '../../contract/errors.ts';
import type { RedisSettings } from '../../contract/settings.ts';
import { withDeadline } from '../../infra/lifecycle.ts';
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
  logger: Logger;
}

export class BucketViews {
  /** A refill waits for a second at most. */
  readonly store: RefillableStore;
  /** The primary's own, also for the heartbeat; null without Redis. */
  readonly connection: RedisConnection | null;

  private constructor(store: RefillableStore, connection: RedisConnection | null) {
    this.store = store;
    this.connection = connection;
  }

  /** open is called once by the primary's main. The client of Redis, 14 MiB, is loaded only where there is one. */
  static async open({ redis, memory, logger }: BucketViewsOptions): Promise<BucketViews> {
    if (redis === null) return new BucketViews(memory, null);
    const { RedisConnection } = await import('../../infra/redis/redis.ts');
    const { servers, prefix } = redis;
    const connection = new RedisConnection({
      servers,
      connectionName: 'sluice-primary',
      scripts: { ...bucketScripts(), ...heartbeatScripts() },
      logger,
    });
    void connection
      .waitForFirstAttempt(LOOK_TIMEOUT_MS)
      .then(() => (connection.ready ? warnOfMemoryPolicy(connection.client, logger) : undefined));
    const store = new RedisBucketStore({ connection, prefix, timeoutMs: LOOK_TIMEOUT_MS });
    return new BucketViews(store, connection);
  }

  /** of shows the buckets of one owner, see peekBuckets; it rejects with `store_timeout` after a second. */
  of(owner: ClientMatch, { settings, policyVersionUs }: Revision): Promise<BucketView[]> {
    const views = peekBuckets(this.store, owner, settings.rateLimit.policies, policyVersionUs);
    const late = () => new LbError('store_timeout', 'the bucket store did not answer in time');
    return withDeadline(views, LOOK_TIMEOUT_MS, late);
  }

  async close(): Promise<void> {
    await this.connection?.close();
  }
}
