/** What the stores at the other end of a wire share: calls that wait for a reply, each settled once, none for ever. */
import type { TakeReply, TakeRequest } from '../../contract/buckets.ts';
import { LbError } from '../../contract/errors.ts';
import { DeadlineQueue, type DeadlineQueueOptions, type Pending } from './deadline-queue.ts';

/** A batch on its way. */
export interface StoreCall extends Pending {
  readonly takes: readonly TakeRequest[];
  readonly resolve: (results: (TakeReply | Error)[]) => void;
}

/** Batches on their way at most; a limiter has one take per bucket in flight, so only a dead store gets there. */
const MAX_CALLS_IN_FLIGHT = 4_096;

interface StoreCallsOptions extends Pick<DeadlineQueueOptions<StoreCall>, 'clock' | 'timers' | 'defer'> {
  timeoutMs: number;
}

export class StoreCalls {
  readonly #deadlines: DeadlineQueue<StoreCall>;
  #inFlight = 0;

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

  get full(): boolean {
    return this.#inFlight >= MAX_CALLS_IN_FLIGHT;
  }

  /** open starts the deadline of a batch; the promise resolves by settle, fail or the deadline, whichever is first. */
  open(takes: readonly TakeRequest[]): { call: StoreCall; results: Promise<(TakeReply | Error)[]> } {
    const { promise, resolve } = Promise.withResolvers<(TakeReply | Error)[]>();
    const call: StoreCall = { takes, resolve, settled: false };
    this.#inFlight++;
    this.#deadlines.add(call);
    return { call, results: promise };
  }

  /** settle gives a batch its results; of one that has been given up they are dropped. */
  settle(call: StoreCall, results: (TakeReply | Error)[]): void {
    if (call.settled) return;
    call.settled = true;
    this.#inFlight--;
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
export function failedBatch(takes: readonly TakeRequest[], message: string, cause?: unknown): Error[] {
  const error = new LbError('store_unavailable', message, { cause });
  return takes.map(() => error);
}
