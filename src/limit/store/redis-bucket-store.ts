/**
 * Buckets in Redis: one script call per batch. In a batch of 100 a take costs this process 1.2 µs and Redis 3.8 µs; with one call
 * per take, in a pipeline, it costs 10 and 10.
 */
import type { Result } from 'ioredis';
import type { TakeReply, TakeRequest } from '../../contract/buckets.ts';
import { LbError, toError } from '../../contract/errors.ts';
import { isTryAgain, slotOfTag } from '../../infra/redis/cluster-slot.ts';
import { type LuaScript, loadLuaScript } from '../../infra/redis/lua-scripts.ts';
import type { RedisConnection } from '../../infra/redis/redis.ts';
import { withDeadline } from '../../infra/with-deadline.ts';
import { hashOf, storeKeyPrefix } from '../bucket/bucket-key.ts';
import { LEASE_US, type RefillableStore, type StoreCluster } from './bucket-store.ts';
import type { Pending } from './deadline-queue.ts';
import { packTakes, unpackReply } from './take-codec.ts';

declare module 'ioredis' {
  interface RedisCommander<Context> {
    takeTokensBuffer(keyCount: number, ...values: (string | number | Buffer)[]): Result<Buffer[], Context>;
  }
}

/** bucketScripts are the scripts that a RedisConnection needs for this store. */
export function bucketScripts(): Record<'takeTokens', LuaScript> {
  return { takeTokens: loadLuaScript('take-tokens-n.lua') };
}

interface RedisBucketStoreOptions {
  /** Made with bucketScripts(); the creator closes it. */
  connection: RedisConnection;
  /** The setting `redis.prefix`. */
  prefix: string;
  /** The deadline of a refill. */
  timeoutMs: number;
}

export class RedisBucketStore implements RefillableStore {
  readonly kind = 'redis';
  readonly cluster: StoreCluster | undefined;
  readonly #options: RedisBucketStoreOptions;
  readonly #keyPrefix: string;

  constructor(options: RedisBucketStoreOptions) {
    this.#options = options;
    this.cluster = options.connection.nodes ?? undefined;
    this.#keyPrefix = storeKeyPrefix(options.prefix);
  }

  get available(): boolean {
    return this.#options.connection.ready;
  }

  async takeBatch(takes: readonly TakeRequest[], call?: Readonly<Pending>): Promise<(TakeReply | Error)[]> {
    if (!this.available) throw new LbError('store_unavailable', 'no connection to Redis');
    try {
      return await this.#ask(takes);
    } catch (thrown) {
      // A call refused with TRYAGAIN took nothing. Its takes are sent one by one, unless the caller has given up.
      if (!isTryAgain(thrown) || call?.settled === true) throw unavailable(thrown);
    }
    const alone = takes.map((take) => this.#ask([take]).catch((thrown: unknown) => [unavailable(thrown)]));
    return (await Promise.all(alone)).flat();
  }

  async refill(keys: readonly string[]): Promise<void> {
    if (!this.available) throw new LbError('store_unavailable', 'no connection to Redis');
    const { connection, timeoutMs } = this.#options;
    // One by one: a call for several is refused while their slot migrates.
    const deleted = keys.map((key) =>
      connection.client.del(this.#keyPrefix + key).catch((thrown: unknown) => {
        throw unavailable(thrown);
      }),
    );
    const late = () => new LbError('store_timeout', 'Redis did not answer in time');
    await withDeadline(Promise.all(deleted), timeoutMs, late);
  }

  async #ask(takes: readonly TakeRequest[]): Promise<(TakeReply | Error)[]> {
    const keys = takes.map((take) => this.#keyPrefix + take.key);
    const { connection } = this.#options;
    const { client, nodes } = connection;
    const slot = nodes === null ? 0 : slotOfTag(hashOf(takes[0]?.key ?? ''));
    nodes?.joinWrites(nodes.serverOf(slot));
    const reply = client.takeTokensBuffer(keys.length, ...keys, LEASE_US, packTakes(takes));
    const replies = await connection.watchReply(reply, slot);
    return takes.map((_, index) => unpackReply(replies[index]));
  }
}

function unavailable(thrown: unknown): LbError {
  return new LbError('store_unavailable', 'the call to Redis failed', { cause: toError(thrown) });
}
