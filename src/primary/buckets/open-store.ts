/** The bucket store of the settings as the primary has it open: Redis, with the heartbeat over the same connection, or its own memory. */
import type { Cluster, Redis } from 'ioredis';
import { LbError, toError } from '../../contract/errors.ts';
import type { RedisSettings } from '../../contract/settings.ts';
import type { Logger } from '../../infra/logging/logger.ts';
import type { RedisConnection } from '../../infra/redis/redis.ts';
import { withDeadline } from '../../infra/with-deadline.ts';
import { probeKey } from '../../limit/bucket/bucket-key.ts';
import type { RefillableStore } from '../../limit/store/bucket-store.ts';
import type { MemoryBucketStore } from '../../limit/store/memory-bucket-store.ts';
import { bucketScripts, RedisBucketStore } from '../../limit/store/redis-bucket-store.ts';
import { probeTake } from '../../limit/store/store-health.ts';
import { heartbeatScripts, InstanceHeartbeat, type InstanceHeartbeatOptions } from '../instance-heartbeat.ts';

/** An operator may wait longer than a request. */
export const STORE_TIMEOUT_MS = 1_000;

/**
 * Callers can fill the memory of Redis. Then noeviction fails every take, so that workers decide alone, and allkeys-* evicts buckets
 * in use, which are full when they come back. volatile-ttl evicts buckets that are nearly full anyway.
 */
const HARMFUL_POLICY = /^maxmemory_policy:(noeviction|allkeys-\w+)/m;

export interface OpenStoreOptions extends Pick<InstanceHeartbeatOptions, 'workers' | 'assumedWorkers'> {
  /** Where the buckets are without Redis. */
  memory: MemoryBucketStore;
  logger: Logger;
}

export class OpenStore {
  readonly store: RefillableStore;
  /** null without Redis. */
  readonly connection: RedisConnection | null;
  readonly #heartbeat: InstanceHeartbeat | null;
  readonly #announced: Promise<void>;

  private constructor(
    store: RefillableStore,
    connection: RedisConnection | null,
    heartbeat: InstanceHeartbeat | null,
  ) {
    this.store = store;
    this.connection = connection;
    this.#heartbeat = heartbeat;
    this.#announced = Promise.resolve(heartbeat?.start());
  }

  /** Workers of all instances that share it; null: not known, or it is this instance's own. */
  get workers(): number | null {
    return this.#heartbeat?.storeWorkers ?? null;
  }

  /**
   * open connects and begins to beat. The client of Redis, 14 MiB, is loaded only where there is one.
   * @param onWorkers called at each change of the number of workers that share this store
   */
  static async open(
    redis: RedisSettings | null,
    options: OpenStoreOptions,
    onWorkers: (count: number) => void,
  ): Promise<OpenStore> {
    const { memory, logger } = options;
    if (redis === null) return new OpenStore(memory, null, null);
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
    const heartbeat = new InstanceHeartbeat({ ...options, connection, prefix, onChange: onWorkers });
    return new OpenStore(store, connection, heartbeat);
  }

  /** assertAnswers takes from a bucket that no caller owns. Throws LbError store_unavailable. */
  async assertAnswers(): Promise<void> {
    await this.#announced;
    try {
      const asked = this.store.takeBatch([probeTake(probeKey(0))]);
      const [reply] = await withDeadline(asked, STORE_TIMEOUT_MS, 'a take');
      if (reply instanceof Error) throw reply;
    } catch (thrown) {
      const { message, cause } = toError(thrown);
      const reason = cause instanceof Error ? `${message}: ${cause.message}` : message;
      throw new LbError('store_unavailable', `the new bucket store does not answer: ${reason}`, {
        cause: thrown,
      });
    }
  }

  async close(): Promise<void> {
    await this.#heartbeat?.close();
    await this.connection?.close();
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
