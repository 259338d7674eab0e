/** Buckets in this process: the primary's store if no Redis is configured. */
import type { TakeReply, TakeRequest } from '../../contract/buckets.ts';
import type { Clock } from '../../contract/clock.ts';
import { takeFrom } from '../bucket/bucket-state.ts';
import { BucketTable } from '../bucket/bucket-table.ts';
import type { RefillableStore } from './bucket-store.ts';

/** About 100 MB. A further bucket evicts one that is nearly full. */
const DEFAULT_MAX_BUCKETS = 250_000;

export class MemoryBucketStore implements RefillableStore {
  readonly kind = 'memory';
  readonly available = true;
  readonly #clock: Pick<Clock, 'monotonicMs'>;
  readonly #table: BucketTable;

  /** @param clock monotonic, so that steps of the wall clock do not matter */
  constructor(clock: Pick<Clock, 'monotonicMs'>, maxBuckets = DEFAULT_MAX_BUCKETS) {
    this.#clock = clock;
    this.#table = new BucketTable(maxBuckets);
  }

  get size(): number {
    return this.#table.size;
  }

  take(request: TakeRequest): TakeReply {
    const nowUs = Math.floor(this.#clock.monotonicMs() * 1000);
    const { reply, state } = takeFrom(this.#table.get(request.key, nowUs), request, nowUs);
    if (state !== null) this.#table.set(request.key, state, nowUs);
    return reply;
  }

  takeBatch(takes: readonly TakeRequest[]): Promise<TakeReply[]> {
    return Promise.resolve(takes.map((request) => this.take(request)));
  }

  refill(keys: readonly string[]): Promise<void> {
    for (const key of keys) this.#table.delete(key);
    return Promise.resolve();
  }
}
