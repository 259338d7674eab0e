/** Buckets in Redis: one explicit pipeline per batch, one script call per take, deadlines of our own. */
import type { Result } from 'ioredis';
import type { TakeReply, TakeRequest } from '../contract/buckets.ts';
import type { Clock } from '../contract/clock.ts';
import { LbError, toError } from '../contract/errors.ts';
import { type LuaScript, loadLuaScript } from '../infra/lua-scripts.ts';
import type { RedisConnection } from '../infra/redis.ts';
import { storeKeyPrefix } from './bucket-key.ts';
import { type BucketStore, LEASE_US } from './bucket-store.ts';
import { failedBatch, StoreCalls } from './store-calls.ts';

declare module 'ioredis' {
  interface RedisCommander<Context> {
    takeTokens(key: string, ...values: number[]): Result<number[], Context>;
  }
}

/** bucketScripts are the commands that a RedisConnection needs for this store. */
export function bucketScripts(): Record<'takeTokens', LuaScript> {
  return { takeTokens: loadLuaScript('take-tokens-1.lua') };
}

interface RedisBucketStoreOptions {
  /** Made with bucketScripts(); stays its maker's to close. */
  connection: RedisConnection;
  /** The setting `redis.prefix`. */
  prefix: string;
  timeoutMs: number;
  clock: Pick<Clock, 'monotonicMs'>;
}

export class RedisBucketStore implements BucketStore {
  readonly kind = 'redis';
  readonly #connection: RedisConnection;
  readonly #keyPrefix: string;
  readonly #calls: StoreCalls;
  #closed = false;

  constructor(options: RedisBucketStoreOptions) {
    this.#connection = options.connection;
    this.#keyPrefix = storeKeyPrefix(options.prefix);
    this.#calls = new StoreCalls(options);
  }

  get available(): boolean {
    return !this.#closed && this.#connection.ready;
  }

  takeBatch(takes: readonly TakeRequest[]): Promise<(TakeReply | Error)[]> {
    if (!this.available) return Promise.resolve(failedBatch(takes, 'no connection to Redis'));
    if (this.#calls.full) return Promise.resolve(failedBatch(takes, 'too many calls to Redis in flight'));
    const { call, results } = this.#calls.open(takes);
    this.#send(takes).then(
      (replies) => this.#calls.settle(call, replies),
      (thrown: unknown) => {
        this.#calls.fail(call, new LbError('store_unavailable', 'Redis failed', { cause: toError(thrown) }));
      },
    );
    return results;
  }

  close(): Promise<void> {
    this.#closed = true;
    this.#calls.close();
    return Promise.resolve();
  }

  async #send(takes: readonly TakeRequest[]): Promise<(TakeReply | Error)[]> {
    const pipeline = this.#connection.client.pipeline();
    for (const take of takes) {
      pipeline.takeTokens(
        this.#keyPrefix + take.key,
        take.capacity,
        take.rateMicro,
        take.versionUs,
        take.need,
        take.partial ? 1 : 0,
        take.ahead,
        LEASE_US,
        take.ret,
        take.retEpoch,
      );
    }
    const replies = await pipeline.exec();
    return takes.map((_, index) => parseReply(replies?.[index] ?? null));
  }
}

/** One element of a pipeline's result: error or value. */
function parseReply(result: [error: Error | null, value: unknown] | null): TakeReply | Error {
  const failure = result?.[0] ?? null;
  if (failure !== null) return new LbError('store_unavailable', 'Redis refused a take', { cause: failure });
  const value = result?.[1];
  if (!Array.isArray(value) || value.length !== 8 || !value.every(Number.isSafeInteger)) {
    return new LbError('store_unavailable', 'Redis gave a reply that the script never gives');
  }
  const [granted, ahead, levelMicro, retryUs, epoch, versionUs, capacity, rateMicro]: number[] = value;
  return {
    granted: granted ?? 0,
    ahead: ahead ?? 0,
    levelMicro: levelMicro ?? 0,
    retryUs: retryUs ?? 0,
    epoch: epoch ?? 0,
    versionUs: versionUs ?? 0,
    capacity: capacity ?? 0,
    rateMicro: rateMicro ?? 0,
  };
}
