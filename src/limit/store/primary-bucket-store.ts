/** Buckets in the primary, over IPC: the store of a worker where no Redis is configured. */
import type { TakeReply, TakeRequest } from '../../contract/buckets.ts';
import type { Clock } from '../../contract/clock.ts';
import { LbError } from '../../contract/errors.ts';
import type { PrimaryMessage, WorkerMessage } from '../../contract/messages.ts';
import type { BucketStore } from './bucket-store.ts';
import { failedBatch, type StoreCall, StoreCalls } from './store-calls.ts';

export type BucketTakesMessage = Extract<WorkerMessage, { type: 'bucket-takes' }>;
export type BucketRepliesMessage = Extract<PrimaryMessage, { type: 'bucket-replies' }>;

interface PrimaryBucketStoreOptions {
  /** Sends to the primary; may throw where the channel is closed. */
  send: (message: BucketTakesMessage) => void;
  timeoutMs: number;
  clock: Pick<Clock, 'monotonicMs'>;
}

export class PrimaryBucketStore implements BucketStore {
  readonly kind = 'primary';
  readonly #send: (message: BucketTakesMessage) => void;
  readonly #calls: StoreCalls;
  readonly #byId = new Map<number, StoreCall>();
  #lastId = 0;
  #closed = false;

  constructor(options: PrimaryBucketStoreOptions) {
    this.#send = options.send;
    this.#calls = new StoreCalls(options);
  }

  get available(): boolean {
    return !this.#closed;
  }

  takeBatch(takes: readonly TakeRequest[]): Promise<(TakeReply | Error)[]> {
    if (this.#closed) return Promise.resolve(failedBatch(takes, 'the link to the primary is closed'));
    const id = ++this.#lastId;
    const { call, results } = this.#calls.open(takes);
    this.#byId.set(id, call);
    try {
      this.#send({ type: 'bucket-takes', id, takes: [...takes] });
    } catch (thrown) {
      const error = new LbError('store_unavailable', 'the primary cannot be reached', { cause: thrown });
      this.#calls.fail(call, error);
    }
    // After a deadline too: the map holds no more than the calls under way, and a late reply finds nothing.
    return results.finally(() => this.#byId.delete(id));
  }

  /** onReplies is called by the worker's link; it drops replies that are late or unknown. */
  onReplies(message: BucketRepliesMessage): void {
    const call = this.#byId.get(message.id);
    if (call === undefined) return;
    if (message.replies.length !== call.takes.length) {
      this.#calls.fail(call, new LbError('store_unavailable', 'the primary answered another batch'));
      return;
    }
    const failed = new LbError('store_unavailable', 'the primary could not answer a take');
    const results = message.replies.map((reply) => reply ?? failed);
    this.#calls.settle(call, results);
  }

  close(): Promise<void> {
    this.#closed = true;
    this.#calls.close();
    return Promise.resolve();
  }
}
