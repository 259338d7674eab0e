/**
 * What an operator sees of buckets and does to them: in Redis over a connection of the primary's own, else in its memory.
 *
 * A reset fills a client's buckets in the store first. Then every worker that shares the store forgets its leases, its deny cache
 * and its local share of them: workers of this machine are told over IPC, other machines by a NOTIFY in Postgres. (Redis would need
 * one more connection per machine and one more right for its user.) A worker that misses the message asks the store again within a
 * second, the age of the oldest deny cache; leases end sooner.
 */
import { isDeepStrictEqual } from 'node:util';
import type { ClientMatch } from '../../contract/clients.ts';
import { LbError, toError } from '../../contract/errors.ts';
import type { PrimaryMessage } from '../../contract/messages.ts';
import type { PolicySettings, RedisSettings } from '../../contract/settings.ts';
import type { Database } from '../../infra/postgres/postgres.ts';
import type { RedisConnection } from '../../infra/redis/redis.ts';
import { withDeadline } from '../../infra/with-deadline.ts';
import { type BucketView, bucketKeysOf, peekBuckets } from '../../limit/bucket/bucket-peek.ts';
import type { RefillableStore } from '../../limit/store/bucket-store.ts';
import type { SettingsChange } from '../settings-change.ts';
import { OpenStore, type OpenStoreOptions, STORE_TIMEOUT_MS } from './open-store.ts';

/** NOTIFY channel; the payload is the name of the buckets' owner. */
const RESETS_CHANNEL = 'sluice_bucket_resets';

interface OperatorBucketsOptions extends OpenStoreOptions {
  redis: RedisSettings | null;
  database: Pick<Database, 'listen' | 'read' | 'singleSession'>;
  /** Those in force, which name the buckets. */
  policies: () => readonly PolicySettings[];
  /** Sends to every worker of this machine. */
  broadcast: (message: PrimaryMessage) => void;
  /** Called with the number of workers that share the store, when it is first known and at each change; null: it is not known. */
  onStoreWorkers: (count: number | null) => void;
}

export class OperatorBuckets {
  readonly #options: OperatorBucketsOptions;
  #open: OpenStore;
  #redis: RedisSettings | null;
  readonly #stopListening: () => void;

  private constructor(options: OperatorBucketsOptions, open: OpenStore) {
    this.#options = options;
    this.#open = open;
    this.#redis = options.redis;
    // The resets of all machines, this one included.
    this.#stopListening = options.database.listen(RESETS_CHANNEL, (bucketName) => {
      if (bucketName !== null && bucketName !== '') this.#tellWorkers(bucketName);
    });
  }

  /** open is called once by PrimaryParts. */
  static async open(options: OperatorBucketsOptions): Promise<OperatorBuckets> {
    const open = await OpenStore.open(options.redis, options, () => buckets.#tellCount());
    const buckets = new OperatorBuckets(options, open);
    return buckets;
  }

  /**
   * prepare opens the store of a coming revision beside the one in force; called by a reload. null: it is the same one. Throws LbError
   * store_unavailable where it does not answer, and has changed nothing then.
   */
  async prepare(redis: RedisSettings | null): Promise<SettingsChange | null> {
    if (isDeepStrictEqual(redis, this.#redis)) return null;
    const next = await OpenStore.open(redis, this.#options, () => this.#tellCount());
    try {
      await next.assertAnswers();
    } catch (thrown) {
      await next.close();
      throw thrown;
    }
    return {
      commit: () => {
        const former = this.#open;
        this.#open = next;
        this.#redis = redis;
        this.#tellCount();
        return () => former.close();
      },
      cancel: () => next.close(),
    };
  }

  get store(): RefillableStore {
    return this.#open.store;
  }

  /** null without Redis. */
  get connection(): RedisConnection | null {
    return this.#open.connection;
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
    await this.#open.close();
  }

  /** Also when a store that is not in force yet, or no more, has another count. */
  #tellCount(): void {
    this.#options.onStoreWorkers(this.#open.workers);
  }

  #tellWorkers(bucketName: string): void {
    this.#options.broadcast({ type: 'bucket-reset', keys: this.#keysOf(bucketName) });
  }

  #keysOf(bucketName: string): string[] {
    return bucketKeysOf(bucketName, this.#options.policies());
  }
}
