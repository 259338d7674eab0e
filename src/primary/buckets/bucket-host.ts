/**
 * The buckets of an installation without Redis: the primary keeps them in memory and answers the takes that
 * workers send over IPC, in order. One process decides, so the bound of a bucket is exact.
 */
import type { TakeReply } from '../../contract/buckets.ts';
import { toError } from '../../contract/errors.ts';
import type { PrimaryMessage, WorkerMessage } from '../../contract/messages.ts';
import type { Logger } from '../../infra/logging/logger.ts';
import type { MemoryBucketStore } from '../../limit/store/memory-bucket-store.ts';

type TakesMessage = Extract<WorkerMessage, { type: 'bucket-takes' }>;

/** Takes in one message; a worker never sends more. */
const MAX_TAKES_PER_MESSAGE = 4096;

/** answerTakes replies to one message of a worker; `send` is that worker's link. */
export function answerTakes(
  store: MemoryBucketStore,
  logger: Logger,
  { id, takes }: TakesMessage,
  send: (reply: PrimaryMessage) => void,
): void {
  let replies: (TakeReply | null)[];
  try {
    if (takes.length > MAX_TAKES_PER_MESSAGE) throw new RangeError('too many takes in a message');
    replies = takes.map((take) => store.take(take));
  } catch (thrown) {
    logger.error({ err: toError(thrown) }, 'the takes of a worker could not be answered');
    replies = takes.map(() => null);
  }
  send({ type: 'bucket-replies', id, replies });
}
