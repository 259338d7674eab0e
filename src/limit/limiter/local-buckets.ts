/**
 * The local share: what a worker grants by itself while the store is away. With n workers on all machines together each
 * grants capacity/n and refill/n, so that the fleet stays near the limit without talking.
 *
 * A share starts from what was last heard of the bucket, and lives on between outages: a store that comes and goes hands out
 * nothing twice.
 */
import type { TakeReply, TakeRequest } from '../../contract/buckets.ts';
import { type BucketState, takeFrom } from '../bucket/bucket-state.ts';
import { BucketTable } from '../bucket/bucket-table.ts';
import type { BucketRules } from '../bucket/effective-limits.ts';
import { MICRO, PLAIN_TAKE } from '../store/bucket-store.ts';

interface LocalBucketsOptions {
  /** Workers of all machines, ≥ 1. */
  shares: number;
  maxBuckets: number;
}

/** What the store last told of a bucket. */
export interface HeardLevel {
  /** Its level by now, with what has flowed in since, as a part of its capacity: 0…1. */
  ratio: number;
  /** When the store said so; monotonic µs. */
  atUs: number;
}

export class LocalBuckets {
  #shares: number;
  readonly #table: BucketTable;

  constructor(options: LocalBucketsOptions) {
    this.#shares = Math.max(1, options.shares);
    this.#table = new BucketTable(options.maxBuckets);
  }

  get size(): number {
    return this.#table.size;
  }

  /** setShares sets the number of workers of all machines. */
  setShares(shares: number): void {
    this.#shares = Math.max(1, shares);
  }

  /** shareOf is this worker's part of a limit: at least one token. */
  shareOf(rules: BucketRules): BucketRules {
    return {
      capacity: Math.max(1, Math.floor(rules.capacity / this.#shares)),
      rateMicro: Math.max(1, Math.floor(rules.rateMicro / this.#shares)),
      versionUs: rules.versionUs,
    };
  }

  /**
   * take decides about `cost` tokens, all or none; the reply's limits are the share's.
   *
   * @param rules the limits in force of the whole bucket
   * @param heard null: nothing was ever heard of this bucket, its share starts full
   * @param nowUs monotonic
   */
  take(key: string, rules: BucketRules, cost: number, heard: HeardLevel | null, nowUs: number): TakeReply {
    const share = this.shareOf(rules);
    const kept = this.#table.get(key, nowUs);
    const newer = heard !== null && (kept === null || kept.atUs < heard.atUs) ? heard : null;
    const resized = kept !== null && (kept.capacity !== share.capacity || kept.rateMicro !== share.rateMicro);
    const from = newer === null && !resized ? kept : reshaped(kept, share, newer, nowUs);
    const { reply, state } = takeFrom(from, requestFor(key, share, cost), nowUs);
    const keep = state ?? from;
    if (keep !== null && keep !== kept) this.#table.set(key, keep, nowUs);
    return reply;
  }

  /** giveBack puts tokens of a take back into the share they came from; a share that is gone has been full since. */
  giveBack(key: string, tokens: number, nowUs: number): void {
    const kept = this.#table.get(key, nowUs);
    if (kept === null) return;
    const levelMicro = Math.min(kept.capacity * MICRO, kept.levelMicro + tokens * MICRO);
    this.#table.set(key, { ...kept, levelMicro }, nowUs);
  }

  /** forget makes the share of a bucket a full one. */
  forget(key: string): void {
    this.#table.delete(key);
  }
}

/** A share after the limits changed, or after the store was heard; the store counts where it has fewer tokens. */
function reshaped(
  kept: BucketState | null,
  share: BucketRules,
  heard: HeardLevel | null,
  nowUs: number,
): BucketState {
  const accrued = kept === null ? share.capacity * MICRO : levelOf(kept, nowUs);
  const ceilingMicro = Math.floor((heard?.ratio ?? 1) * share.capacity * MICRO);
  const levelMicro = Math.min(accrued, ceilingMicro);
  return { levelMicro, atUs: nowUs, ...share, epoch: 0, leased: 0, leasedBefore: 0 };
}

function levelOf(kept: BucketState, nowUs: number): number {
  return takeFrom(kept, requestFor('', kept, 0), nowUs).reply.levelMicro;
}

function requestFor(key: string, rules: BucketRules, need: number): TakeRequest {
  const { capacity, rateMicro, versionUs } = rules;
  return { key, capacity, rateMicro, versionUs, need, partial: false, ...PLAIN_TAKE };
}
