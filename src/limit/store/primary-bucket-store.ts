/** Buckets in the primary, over IPC: a worker's store if no Redis is configured. */
import type { TakeReply, TakeRequest } from '../../contract/buckets.ts';
import { LbError } from '../../contract/errors.ts';
import type { PrimaryMessage, WorkerMessage } from '../../contract/messages.ts';
import type { BucketStore } from './bucket-store.ts';

export type BucketTakesMessage = Extract<WorkerMessage, { type: 'bucket-takes' }>;
export type BucketRepliesMessage = Extract<PrimaryMessage, { type: 'bucket-replies' }>;

/** The most messages that wait for a reply; beyond that the oldest is forgotten. */
const MAX_OPEN = 4_096;

export class PrimaryBucketStore implements BucketStore {
  readonly kind = 'primary';
  readonly available = true;
  readonly #send: (message: BucketTakesMessage) => boolean;
  readonly #open = new Map<number, (replies: BucketRepliesMessage['replies']) => void>();
  #lastId = 0;

  /** @param send sends to the primary; false where it is gone, or does not read */
  constructor(send: (message: BucketTakesMessage) => boolean) {
    this.#send = send;
  }

  async takeBatch(takes: readonly TakeRequest[]): Promise<(TakeReply | Error)[]> {
    const id = ++this.#lastId;
    const { promise, resolve } = Promise.withResolvers<BucketRepliesMessage['replies']>();
    this.#open.set(id, resolve);
    this.#open.delete(id - MAX_OPEN);
    if (!this.#send({ type: 'bucket-takes', id, takes: [...takes] })) {
      this.#open.delete(id);
      throw new LbError('store_unavailable', 'the primary is gone or does not read');
    }
    const replies = await promise;
    return takes.map(
      (_, index) => replies[index] ?? new LbError('store_unavailable', 'the primary could not answer a take'),
    );
  }

  /** onReplies is called by the worker's data plane. It ignores replies to forgotten messages. */
  onReplies({ id, replies }: BucketRepliesMessage): void {
    this.#open.get(id)?.(replies);
    this.#open.delete(id);
  }
}
