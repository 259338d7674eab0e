/**
 * What an operator sees of buckets and does to them: in Redis over a connection of the primary's own, else in its memory.
 *
 * A reset fills a client's buckets in the store first. Then every worker that shares the store forgets its leases, its deny cache
 * and its local share of them: workers of this machine are told over IPC, other machines by a NOTIFY in Postgres. (Redis would need
 * one more connection per machine and one more right for its user.) A worker that misses the message asks the store again within a
 * second, the age of the oldest deny cache; leases end sooner.
 */
import type { ClientMatch } from '../../contract/clients.ts';
import { LbError, toError } from '../../contract/errors.ts';
import type { PrimaryMessage } from '../../contract/messages.ts';
import type { PolicySettings } from '../../contract/settings.ts';
import type { Logger } from '../../infra/logging/logger.ts';
import type { Database } from '../../infra/postgres/postgres.ts';
import { withDeadline } from '../../infra/with-deadline.ts';
import { type BucketView, bucketKeysOf, peekBuckets } from '../../limit/bucket/bucket-peek.ts';
import { type PrimaryStore, STORE_TIMEOUT_MS } from './primary-store.ts';

/** NOTIFY channel; the payload is the name of the buckets' owner. */
const RESETS_CHANNEL = 'sluice_bucket_resets';

interface OperatorBucketsOptions {
  store: Pick<PrimaryStore, 'buckets'>;
  database: Pick<Database, 'listen' | 'read' | 'singleSession'>;
  /** Those in force, which name the buckets. */
  policies: () => readonly PolicySettings[];
  /** Sends to every worker of this machine. */
  broadcast: (message: PrimaryMessage) => void;
  logger: Logger;
}

/** OperatorBuckets is made once by PrimaryParts. */
export class OperatorBuckets {
  readonly #options: OperatorBucketsOptions;
  /** close ends the watch for resets of other machines. */
  readonly close: () => void;

  constructor(options: OperatorBucketsOptions) {
    this.#options = options;
    // The resets of all machines, this one included.
    this.close = options.database.listen(RESETS_CHANNEL, (bucketName) => {
      if (bucketName !== null && bucketName !== '') this.#tellWorkers(bucketName);
    });
  }

  /** of shows the buckets of one owner, see peekBuckets; it rejects with `store_timeout` after a second. */
  of(owner: ClientMatch, policyVersionUs: number): Promise<BucketView[]> {
    const views = peekBuckets(this.#options.store.buckets, owner, this.#options.policies(), policyVersionUs);
    const late = () => new LbError('store_timeout', 'the bucket store did not answer in time');
    return withDeadline(views, STORE_TIMEOUT_MS, late);
  }

  /**
   * reset fills all buckets of one owner. Rejects as RefillableStore.refill does.
   *
   * @param bucketName see ClientMatch
   */
  async reset(bucketName: string): Promise<void> {
    const { store, database, logger } = this.#options;
    await store.buckets.refill(this.#keysOf(bucketName));
    this.#tellWorkers(bucketName);
    if (database.singleSession) return;
    try {
      await database.read('select pg_notify($1, $2)', [RESETS_CHANNEL, bucketName]);
    } catch (thrown) {
      const err = toError(thrown);
      logger.warn({ err }, 'other machines were not told of a bucket reset; they notice within a second');
    }
  }

  #tellWorkers(bucketName: string): void {
    this.#options.broadcast({ type: 'bucket-reset', keys: this.#keysOf(bucketName) });
  }

  #keysOf(bucketName: string): string[] {
    return bucketKeysOf(bucketName, this.#options.policies());
  }
}
