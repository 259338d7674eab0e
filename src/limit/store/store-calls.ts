/**
 * The calls of a store at the other end of a wire that wait for a reply: each is answered once, by a reply, an error or the
 * deadline. There are no more of them than requests that wait (the limiter bounds those) and buckets that lease.
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

  constructor(options: StoreCallsOptions) {
    const { timeoutMs, clock, timers, defer } = options;
    this.#deadlines = new DeadlineQueue({
      patienceMs: timeoutMs,
      clock,
      timers,
      defer,
      onDue: (call) =>
        this.fail(call, new LbError('store_timeout', `no reply of the store within ${timeoutMs} ms`)),
    });
  }

  /** open starts the deadline of a batch; the promise resolves by settle, fail or the deadline, whichever is first. */
  open(takes: readonly TakeRequest[]): { call: StoreCall; results: Promise<(TakeReply | Error)[]> } {
    const { promise, resolve } = Promise.withResolvers<(TakeReply | Error)[]>();
    const call: StoreCall = { takes, resolve, settled: false };
    this.#deadlines.add(call);
    return { call, results: promise };
  }

  /** settle gives a batch its results; those of one that was given up are dropped. */
  settle(call: StoreCall, results: (TakeReply | Error)[]): void {
    if (call.settled) return;
    call.settled = true;
    call.resolve(results);
  }

  fail(call: StoreCall, error: Error): void {
    this.settle(
      call,
      call.takes.map(() => error),
    );
  }

  close(): void {
    this.#deadlines.close();
  }
}

/** failedBatch is the answer to a batch that cannot even be sent. */
export function failedBatch(takes: readonly TakeRequest[], message: string): Error[] {
  const error = new LbError('store_unavailable', message);
  return takes.map(() => error);
}
