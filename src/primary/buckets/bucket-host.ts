/**
 * The buckets of an installation without Redis: the primary keeps them in memory and answers the takes that
 * workers send over IPC, in order. One process decides, so the bound of a bucket is exact.
 */
import type { TakeReply } from '../../contract/buckets.ts';
import { LbError, toError } from '../../contract/errors.ts';
import type { PrimaryMessage, WorkerMessage } from '../../contract/messages.ts';
import type { Logger } from '../../infra/logging/logger.ts';
import type { BucketStore } from '../../limit/store/bucket-store.ts';

type TakesMessage = Extract<WorkerMessage, { type: 'bucket-takes' }>;

/** Takes in one message; a worker never sends more. */
const MAX_TAKES_PER_MESSAGE = 4096;

export class BucketHost {
  readonly #store: BucketStore;
  readonly #logger: Logger;

  constructor(store: BucketStore, logger: Logger) {
    this.#store = store;
    this.#logger = logger;
  }

  /** answer replies to one message of a worker; `send` is that worker's link. Never rejects. */
  async answer(message: TakesMessage, send: (reply: PrimaryMessage) => void): Promise<void> {
    let replies: (TakeReply | null)[];
    try {
      if (message.takes.length > MAX_TAKES_PER_MESSAGE)
        throw new LbError('internal_error', 'too many takes in a message');
      const results = await this.#store.takeBatch(message.takes);
      replies = results.map((result) => (result instanceof Error ? null : result));
    } catch (thrown) {
      this.#logger.error({ err: toError(thrown) }, 'the bucket host failed to answer');
      replies = message.takes.map(() => null);
    }
    send({ type: 'bucket-replies', id: message.id, replies });
  }
}
