/**
 * What an operator sees of buckets and does to them: in Redis over a connection of the primary's own, else in its memory.
 *
 * A reset fills a client's buckets in the store first. Then every worker that shares the store forgets its leases, its deny cache
 * and its local share of them: workers of this machine are told over IPC, other machines by a NOTIFY in Postgres. (Redis would need
 * one more connection per machine and one more right for its user.) A worker that misses the message asks the store again within a
 * second, the age of the oldest deny cache; leases end sooner.
 */
import type { Cluster, Redis } from 'ioredis';
import type { ClientMatch } from '../../contract/clients.ts';
import { LbError, toError } from '../../contract/errors.ts';
import type { PrimaryMessage } from '../../contract/messages.ts';
import type { PolicySettings, RedisSettings } from '../../contract/settings.ts';
import type { Logger } from '../../infra/logging/logger.ts';
import type { Database } from '../../infra/postgres/postgres.ts';
import type { RedisConnection } from '../../infra/redis/redis.ts';
import { withDeadline } from '../../infra/with-deadline.ts';
import { type BucketView, bucketKeysOf, peekBuckets } from '../../limit/bucket/bucket-peek.ts';
import type { RefillableStore } from '../../limit/store/bucket-store.ts';
import type { MemoryBucketStore } from '../../limit/store/memory-bucket-store.ts';
import { bucketScripts, RedisBucketStore } from '../../limit/store/redis-bucket-store.ts';
import { heartbeatScripts } from '../instance-heartbeat.ts';

/** An operator may wait longer than a request. */
const STORE_TIMEOUT_MS = 1_000;
/** NOTIFY channel; the payload is the name of the buckets' owner. */
const RESETS_CHANNEL = 'sluice_bucket_resets';

/**
 * Callers can fill the memory of Redis. Then noeviction fails every take, so that workers decide alone, and allkeys-* evicts buckets
 * in use, which are full when they come back. volatile-ttl evicts buckets that are nearly full anyway.
 */
const HARMFUL_POLICY = /^maxmemory_policy:(noeviction|allkeys-\w+)/m;

interface OperatorBucketsOptions {
  redis: RedisSettings | null;
  /** Where the buckets are without Redis. */
  memory: MemoryBucketStore;
  database: Pick<Database, 'listen' | 'read' | 'singleSession'>;
  /** Those in force, which name the buckets. */
  policies: () => readonly PolicySettings[];
  /** Sends to every worker of this machine. */
  broadcast: (message: PrimaryMessage) => void;
  logger: Logger;
}

export class OperatorBuckets {
  readonly store: RefillableStore;
  /** Also for the heartbeat; null without Redis. */
  readonly connection: RedisConnection | null;
  readonly #options: OperatorBucketsOptions;
  readonly #stopListening: () => void;

  private constructor(
    options: OperatorBucketsOptions,
    connection: RedisConnection | null,
    store: RefillableStore,
  ) {
    this.#options = options;
    this.connection = connection;
    this.store = store;
    // The resets of all machines, this one included.
    this.#stopListening = options.database.listen(RESETS_CHANNEL, (bucketName) => {
      if (bucketName !== null && bucketName !== '') this.#tellWorkers(bucketName);
    });
  }

  /** open is called once by the primary's main. The client of Redis, 14 MiB, is loaded only where there is one. */
  static async open(options: OperatorBucketsOptions): Promise<OperatorBuckets> {
    const { redis, memory, logger } = options;
    if (redis === null) return new OperatorBuckets(options, null, memory);
    const { RedisConnection } = await import('../../infra/redis/redis.ts');
    const { servers, prefix } = redis;
    const connection = new RedisConnection({
      servers,
      connectionName: 'sluice-primary',
      scripts: { ...bucketScripts(), ...heartbeatScripts() },
      logger,
    });
    void connection.firstReady.then(() => warnOfMemoryPolicy(connection.client, logger));
    const store = new RedisBucketStore({ connection, prefix, timeoutMs: STORE_TIMEOUT_MS });
    return new OperatorBuckets(options, connection, store);
  }

  /** of shows the buckets of one owner, see peekBuckets; it rejects with `store_timeout` after a second. */
  of(owner: ClientMatch, policyVersionUs: number): Promise<BucketView[]> {
    const views = peekBuckets(this.store, owner, this.#options.policies(), policyVersionUs);
    const late = () => new LbError('store_timeout', 'the bucket store did not answer in time');
    return withDeadline(views, STORE_TIMEOUT_MS, late);
  }

  /**
   * reset fills all buckets of one owner. Rejects as RefillableStore.refill does.
   *
   * @param bucketName see ClientMatch
   */
  async reset(bucketName: string): Promise<void> {
    const { database, logger } = this.#options;
    await this.store.refill(this.#keysOf(bucketName));
    this.#tellWorkers(bucketName);
    if (database.singleSession) return;
    try {
      await database.read('select pg_notify($1, $2)', [RESETS_CHANNEL, bucketName]);
    } catch (thrown) {
      const err = toError(thrown);
      logger.warn({ err }, 'other machines were not told of a bucket reset; they notice within a second');
    }
  }

  async close(): Promise<void> {
    this.#stopListening();
    await this.connection?.close();
  }

  #tellWorkers(bucketName: string): void {
    this.#options.broadcast({ type: 'bucket-reset', keys: this.#keysOf(bucketName) });
  }

  #keysOf(bucketName: string): string[] {
    return bucketKeysOf(bucketName, this.#options.policies());
  }
}

/** warnOfMemoryPolicy warns of a Redis that loses buckets, or refuses takes, when its memory is full. Never rejects. */
export async function warnOfMemoryPolicy(
  client: Redis | Cluster,
  logger: Pick<Logger, 'info' | 'warn'>,
): Promise<void> {
  const servers = 'nodes' in client ? client.nodes('master') : [client];
  try {
    const infos = await Promise.all(servers.map((server) => server.info('memory')));
    const policies = new Set(infos.flatMap((info) => HARMFUL_POLICY.exec(info)?.[1] ?? []));
    for (const policy of policies) {
      logger.warn(
        { policy },
        'set maxmemory-policy of Redis to volatile-ttl: with this one limits fail when memory is full',
      );
    }
  } catch (thrown) {
    logger.info({ err: toError(thrown) }, 'the memory policy of Redis is not known');
  }
}
