/**
 * The calls of a store at the other end of a wire. Each is answered once: by a reply, an error or its deadline. There are no
 * more of them than requests that wait, which the limiter bounds, and buckets that lease.
 */
import type { TakeReply, TakeRequest } from '../../contract/buckets.ts';
import { LbError } from '../../contract/errors.ts';
import { DeadlineQueue, type DeadlineQueueOptions, type Pending } from './deadline-queue.ts';

/** StoreCall is a batch on its way. */
export interface StoreCall extends Pending {
  readonly takes: readonly TakeRequest[];
  readonly resolve: (results: (TakeReply | Error)[]) => void;
}

interface StoreCallsOptions extends Pick<DeadlineQueueOptions<StoreCall>, 'clock' | 'timers' | 'defer'> {
  timeoutMs: number;
}

export class StoreCalls {
  readonly #deadlines: DeadlineQueue<StoreCall>;

  constructor({ timeoutMs, clock, timers, defer }: StoreCallsOptions) {
    const message = `no reply of the store within ${timeoutMs} ms`;
    const onDue = (call: StoreCall) => this.fail(call, new LbError('store_timeout', message));
    this.#deadlines = new DeadlineQueue({ patienceMs: timeoutMs, clock, timers, defer, onDue });
  }

  /** open starts the deadline of a batch. The first of settle, fail and the deadline resolves the promise. */
  open(takes: readonly TakeRequest[]): { call: StoreCall; results: Promise<(TakeReply | Error)[]> } {
    const { promise, resolve } = Promise.withResolvers<(TakeReply | Error)[]>();
    const call: StoreCall = { takes, resolve, settled: false };
    this.#deadlines.add(call);
    return { call, results: promise };
  }

  settle(call: StoreCall, results: (TakeReply | Error)[]): void {
    if (call.settled) return;
    call.settled = true;
    call.resolve(results);
  }

  /** fail settles a batch with one error for all its takes. */
  fail(call: StoreCall, error: Error): void {
    this.settle(call, new Array<Error>(call.takes.length).fill(error));
  }

  close(): void {
    this.#deadlines.close();
  }
}

/** failedBatch is the answer to a batch that cannot be sent. */
export function failedBatch(takes: readonly TakeRequest[], message: string): Error[] {
  return new Array<Error>(takes.length).fill(new LbError('store_unavailable', message));
}
