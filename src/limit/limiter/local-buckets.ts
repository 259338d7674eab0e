/**
 * The local share: what a worker grants on its own while the store is away. Each of the n workers on all machines grants
 * capacity/n and refill/n, so the fleet stays near the limit without communication.
 *
 * A share starts from the last known level of the bucket. It is kept between outages, so that a store that comes and goes
 * gives no token away twice.
 */
import type { TakeReply, TakeRequest } from '../../contract/buckets.ts';
import { type BucketState, fullBucket, takeFrom } from '../bucket/bucket-state.ts';
import { BucketTable } from '../bucket/bucket-table.ts';
import type { BucketRules } from '../bucket/effective-limits.ts';
import { MICRO, PLAIN_TAKE } from '../store/bucket-store.ts';

/** What the store last reported about a bucket. */
export interface HeardLevel {
  /** Its level now, including the refill since, as a part of its capacity: 0…1. */
  ratio: number;
  /** When the store reported it; monotonic µs. */
  atUs: number;
}

export class LocalBuckets {
  /** Workers on all machines, ≥ 1. */
  shares = 1;
  readonly #table: BucketTable;

  constructor(maxBuckets: number) {
    this.#table = new BucketTable(maxBuckets);
  }

  get size(): number {
    return this.#table.size;
  }

  /** shareOf is this worker's part of a limit: at least one token. */
  shareOf(rules: BucketRules): BucketRules {
    return {
      capacity: Math.max(1, Math.floor(rules.capacity / this.shares)),
      rateMicro: Math.max(1, Math.floor(rules.rateMicro / this.shares)),
      versionUs: rules.versionUs,
    };
  }

  /**
   * take grants all of `cost` tokens or none. The reply has the limits of the share.
   *
   * @param rules the limits of the whole bucket
   * @param heard null: the store never reported the bucket, so its share starts full
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

  /** giveBack puts tokens back into their share. A share that is no longer kept is full already. */
  giveBack(key: string, tokens: number, nowUs: number): void {
    const kept = this.#table.get(key, nowUs);
    if (kept === null) return;
    const levelMicro = Math.min(kept.capacity * MICRO, kept.levelMicro + tokens * MICRO);
    this.#table.set(key, { ...kept, levelMicro }, nowUs);
  }

  /** forget makes the share of a bucket full. */
  forget(key: string): void {
    this.#table.delete(key);
  }
}

/** A share after its limits changed, or after the store reported a level, which counts if it is the lower one. */
function reshaped(
  kept: BucketState | null,
  share: BucketRules,
  heard: HeardLevel | null,
  nowUs: number,
): BucketState {
  const full = fullBucket(share, nowUs);
  const accrued = takeFrom(kept ?? full, requestFor('', kept ?? full, 0), nowUs).reply.levelMicro;
  return { ...full, levelMicro: Math.min(accrued, Math.floor((heard?.ratio ?? 1) * full.levelMicro)) };
}

function requestFor(key: string, rules: BucketRules, need: number): TakeRequest {
  const { capacity, rateMicro, versionUs } = rules;
  return { key, capacity, rateMicro, versionUs, need, partial: false, ...PLAIN_TAKE };
}
