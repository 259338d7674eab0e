/**
 * An operator's reset of a client's buckets. They are refilled in the store first; then every worker that
 * shares the store forgets its leases, its deny cache and its local share of them.
 *
 * Workers of this machine are told over IPC, other machines by a NOTIFY in Postgres. (Redis would need one
 * more connection per machine and one more right for its user.) A worker that misses the message asks the
 * store again within a second, the age of the oldest deny cache; leases end sooner.
 */
import { toError } from '../../contract/errors.ts';
import type { PrimaryMessage } from '../../contract/messages.ts';
import type { Logger } from '../../infra/logging/logger.ts';
import type { Database } from '../../infra/postgres/postgres.ts';
import { bucketKeysOf } from '../../limit/bucket/bucket-peek.ts';
import type { Revision } from '../reloader.ts';
import type { BucketViews } from './bucket-views.ts';

/** NOTIFY channel; the payload is the name of the buckets' owner. */
const RESETS_CHANNEL = 'sluice_bucket_resets';

interface BucketResetsOptions {
  views: BucketViews;
  database: Database;
  /** The revision in force: its policies name the buckets. */
  current: () => Revision;
  /** Sends to every worker of this machine. */
  broadcast: (message: PrimaryMessage) => void;
  logger: Logger;
}

export class BucketResets {
  readonly #options: BucketResetsOptions;

  constructor(options: BucketResetsOptions) {
    this.#options = options;
  }

  /** start listens for the resets of all machines, this one included; returns how to stop. */
  start(): () => void {
    return this.#options.database.listen(RESETS_CHANNEL, (clientId) => {
      if (clientId !== null && clientId !== '') this.#tellWorkers(clientId);
    });
  }

  /**
   * reset fills all buckets of one owner. Rejects as RefillableStore.refill does.
   *
   * @param bucketName see ClientMatch
   */
  async reset(bucketName: string): Promise<void> {
    const { views, database, logger } = this.#options;
    await views.store.refill(this.#keysOf(bucketName));
    this.#tellWorkers(bucketName);
    if (database.singleSession) return;
    try {
      await database.read('select pg_notify($1, $2)', [RESETS_CHANNEL, bucketName]);
    } catch (thrown) {
      const err = toError(thrown);
      logger.warn({ err }, 'other machines were not told of a bucket reset; they notice within a second');
    }
  }

  #tellWorkers(clientId: string): void {
    this.#options.broadcast({ type: 'bucket-reset', keys: this.#keysOf(clientId) });
  }

  #keysOf(clientId: string): string[] {
    return bucketKeysOf(clientId, this.#options.current().settings.rateLimit.policies);
  }
}
