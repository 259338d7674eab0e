/**
 * The bucket store of the settings as the primary has it open: Redis, with the heartbeat over the same connection, or its own memory.
 * A reload opens another one beside it.
 */
import { isDeepStrictEqual } from 'node:util';
import type { Cluster, Redis } from 'ioredis';
import { LbError, toError } from '../../contract/errors.ts';
import { shortText } from '../../contract/json-text.ts';
import type { RedisSettings } from '../../contract/settings.ts';
import type { Logger } from '../../infra/logging/logger.ts';
import type { RedisConnection } from '../../infra/redis/redis.ts';
import { withDeadline } from '../../infra/with-deadline.ts';
import { probeKey } from '../../limit/bucket/bucket-key.ts';
import type { RefillableStore } from '../../limit/store/bucket-store.ts';
import type { MemoryBucketStore } from '../../limit/store/memory-bucket-store.ts';
import { bucketScripts, RedisBucketStore } from '../../limit/store/redis-bucket-store.ts';
import { probeTake } from '../../limit/store/store-health.ts';
import type { EventLog } from '../events/event-log.ts';
import { heartbeatScripts, InstanceHeartbeat, type InstanceHeartbeatOptions } from '../instance-heartbeat.ts';
import type { SettingsChange } from '../settings-change.ts';
import { inWords } from '../status/problems.ts';

/** An operator may wait longer than a request. */
export const STORE_TIMEOUT_MS = 1_000;

/**
 * Callers can fill the memory of Redis. Then noeviction fails every take, so that workers decide alone, and allkeys-* evicts buckets
 * in use, which are full when they come back. volatile-ttl evicts buckets that are nearly full anyway.
 */
const HARMFUL_POLICY = /^maxmemory_policy:(noeviction|allkeys-\w+)/m;

interface PrimaryStoreOptions extends Pick<InstanceHeartbeatOptions, 'workers' | 'assumedWorkers'> {
  redis: RedisSettings | null;
  /** Where the buckets are without Redis. */
  memory: MemoryBucketStore;
  /** Called with the number of workers that share the store, when it is first known and at each change; null: it is not known. */
  onStoreWorkers: (count: number | null) => void;
  events: Pick<EventLog, 'record'>;
  logger: Logger;
}

interface OpenedStore {
  buckets: RefillableStore;
  /** null without Redis, as the others. */
  connection: RedisConnection | null;
  heartbeat: InstanceHeartbeat | null;
  /** Resolves after the first beat. */
  announced: Promise<void> | null;
  /** Of #close. */
  closed?: Promise<void>;
}

/**
 * PrimaryStore is made once by PrimaryParts. What a store says of its connection and its workers counts only while it is in force:
 * another one may be open, which a reload prepares or has just replaced.
 */
export class PrimaryStore {
  readonly #options: PrimaryStoreOptions;
  #redis: RedisSettings | null;
  #current: OpenedStore;
  readonly #opened = new Set<OpenedStore>();
  #toldCount: number | null = null;

  private constructor(options: PrimaryStoreOptions) {
    this.#options = options;
    this.#redis = options.redis;
    this.#current = inMemory(options);
  }

  /** open begins to connect, and to tell how many workers share the store. */
  static async open(options: PrimaryStoreOptions): Promise<PrimaryStore> {
    const store = new PrimaryStore(options);
    store.#current = await store.#open(options.redis);
    return store;
  }

  /**
   * prepare opens the store of a coming revision beside the one in force; called by a reload. null: it is the same one. Throws LbError
   * store_unavailable where it does not answer, and has changed nothing then.
   */
  async prepare(redis: RedisSettings | null): Promise<SettingsChange | null> {
    if (isDeepStrictEqual(redis, this.#redis)) return null;
    const next = await this.#open(redis);
    try {
      await assertAnswers(next);
    } catch (thrown) {
      await this.#close(next);
      throw thrown;
    }
    return {
      commit: () => {
        const former = this.#current;
        this.#current = next;
        this.#redis = redis;
        if (next.connection !== null) recordState(this.#options.events, next.connection.ready, null);
        this.#tellCount();
        return () => this.#close(former);
      },
      cancel: () => this.#close(next),
    };
  }

  /** Those of the settings in force. */
  get buckets(): RefillableStore {
    return this.#current.buckets;
  }

  /** null without Redis. */
  get connection(): RedisConnection | null {
    return this.#current.connection;
  }

  /** close also signs off from a store that a reload still prepares or leaves. Never rejects. */
  async close(): Promise<void> {
    await Promise.all([...this.#opened].map((each) => this.#close(each)));
  }

  async #open(redis: RedisSettings | null): Promise<OpenedStore> {
    if (redis === null) return inMemory(this.#options);
    const { events, logger } = this.#options;
    // The client of Redis takes 14 MiB.
    const { RedisConnection } = await import('../../infra/redis/redis.ts');
    const { servers, prefix } = redis;
    const isInForce = () => this.#current === opened;
    const connection = new RedisConnection({
      servers,
      connectionName: 'sluice-primary',
      scripts: { ...bucketScripts(), ...heartbeatScripts() },
      logger,
      onState: (isUp, reason) => {
        if (isInForce()) recordState(events, isUp, reason);
      },
    });
    void connection.firstReady.then(() => warnOfMemoryPolicy(connection.client, logger));
    const buckets = new RedisBucketStore({ connection, prefix, timeoutMs: STORE_TIMEOUT_MS });
    const onChange = () => {
      if (isInForce()) this.#tellCount();
    };
    const heartbeat = new InstanceHeartbeat({ ...this.#options, connection, prefix, onChange });
    const opened = { buckets, connection, heartbeat, announced: heartbeat.start() };
    this.#opened.add(opened);
    return opened;
  }

  #close(opened: OpenedStore): Promise<void> {
    opened.closed ??= signOff(opened).then(() => void this.#opened.delete(opened));
    return opened.closed;
  }

  #tellCount(): void {
    const { onStoreWorkers, logger } = this.#options;
    const count = this.#current.heartbeat?.storeWorkers ?? null;
    if (count !== null && count !== this.#toldCount)
      logger.info({ workers: count }, 'the number of workers that share the store has changed');
    this.#toldCount = count;
    onStoreWorkers(count);
  }
}

async function signOff({ heartbeat, connection }: OpenedStore): Promise<void> {
  await heartbeat?.close();
  await connection?.close();
}

function inMemory({ memory }: PrimaryStoreOptions): OpenedStore {
  return { buckets: memory, connection: null, heartbeat: null, announced: null };
}

/** The connection has written the line. */
function recordState(events: Pick<EventLog, 'record'>, isUp: boolean, reason: string | null): void {
  const why = reason === null ? '' : `: ${inWords(reason)}`;
  const text = isUp ? 'connected to Redis' : `no connection to Redis${why}`;
  const data = reason === null ? {} : { reason };
  events.record({ kind: 'store', severity: isUp ? 'info' : 'error', text, data }, { line: null });
}

/** Takes from a bucket that no caller owns. Throws LbError store_unavailable. */
async function assertAnswers({ buckets, announced, connection }: OpenedStore): Promise<void> {
  await announced;
  try {
    const asked = buckets.takeBatch([probeTake(probeKey(0))]);
    const [reply] = await withDeadline(asked, STORE_TIMEOUT_MS, 'a take');
    if (reply instanceof Error) throw reply;
  } catch (thrown) {
    const { message, cause } = toError(thrown);
    const reason = cause instanceof Error ? `${message}: ${cause.message}` : message;
    const why = inWords(connection?.failure ?? shortText(reason));
    throw new LbError('store_unavailable', `the new bucket store does not answer: ${why}`, {
      cause: thrown,
    });
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
