/**
 * A bounded map of buckets. A bucket that must be full by now equals a missing one, so it is dropped: each insertion checks
 * the next two entries, round the table. A full table evicts the entry of a sample that is nearest to full, which gives least away.
 */
import { type BucketState, ttlMsOf } from './bucket-state.ts';

interface Entry {
  state: BucketState;
  fullAtUs: number;
}

/** More than one, so that the sweep is faster than the growth. */
const SWEEP_PER_INSERT = 2;
/** Entries that are compared to evict one. */
const EVICTION_SAMPLE = 16;

export class BucketTable {
  readonly #entries = new Map<string, Entry>();
  readonly #max: number;
  #hand: MapIterator<[string, Entry]>;

  constructor(maxBuckets: number) {
    this.#max = maxBuckets;
    this.#hand = this.#entries.entries();
  }

  get size(): number {
    return this.#entries.size;
  }

  /** get returns the kept state; null: there is none, or the bucket must be full by now. */
  get(key: string, nowUs: number): BucketState | null {
    const entry = this.#entries.get(key);
    if (entry === undefined) return null;
    if (entry.fullAtUs > nowUs) return entry.state;
    this.#entries.delete(key);
    return null;
  }

  set(key: string, state: BucketState, nowUs: number): void {
    // From now, not from atUs: the clock may have been set back a little.
    const fullAtUs = nowUs + ttlMsOf(state) * 1000;
    const known = this.#entries.get(key);
    if (known !== undefined) {
      known.state = state;
      known.fullAtUs = fullAtUs;
      return;
    }
    this.#sweep(nowUs);
    if (this.#entries.size >= this.#max) this.#evict();
    this.#entries.set(key, { state, fullAtUs });
  }

  delete(key: string): void {
    this.#entries.delete(key);
  }

  #sweep(nowUs: number): void {
    for (let i = 0; i < SWEEP_PER_INSERT; i++) {
      const found = this.#step();
      if (found !== null && found[1].fullAtUs <= nowUs) this.#entries.delete(found[0]);
    }
  }

  #evict(): void {
    let victim: [string, Entry] | null = null;
    for (let i = 0; i < EVICTION_SAMPLE; i++) {
      const found = this.#step();
      if (found !== null && (victim === null || found[1].fullAtUs < victim[1].fullAtUs)) victim = found;
    }
    if (victim !== null) this.#entries.delete(victim[0]);
  }

  #step(): [string, Entry] | null {
    let next = this.#hand.next();
    if (next.done === true) {
      this.#hand = this.#entries.entries();
      next = this.#hand.next();
    }
    return next.done === true ? null : next.value;
  }
}
