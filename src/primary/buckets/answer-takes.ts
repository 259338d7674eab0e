/** Answers the takes that workers send over IPC where there is no Redis. One process decides, so the bound of a bucket is exact. */
import type { TakeReply } from '../../contract/buckets.ts';
import { toError } from '../../contract/errors.ts';
import type { WorkerMessage } from '../../contract/messages.ts';
import type { Logger } from '../../infra/logging/logger.ts';
import type { MemoryBucketStore } from '../../limit/store/memory-bucket-store.ts';

type Takes = Extract<WorkerMessage, { type: 'bucket-takes' }>['takes'];

/** A worker never sends more. */
const MAX_TAKES_PER_MESSAGE = 4096;

/** answerTakes decides the takes of one message, in order; null for each where the message is faulty. */
export function answerTakes(store: MemoryBucketStore, logger: Logger, takes: Takes): (TakeReply | null)[] {
  try {
    if (takes.length > MAX_TAKES_PER_MESSAGE) throw new RangeError('too many takes in a message');
    return takes.map((take) => store.take(take));
  } catch (thrown) {
    logger.error({ err: toError(thrown) }, 'the takes of a worker could not be answered');
    return takes.map(() => null);
  }
}
