/** Where the buckets live, as the limiter sees it: Redis, the primary, or this process's memory. */
import type { TakeReply, TakeRequest } from '../../contract/buckets.ts';

/**
 * How long lease tokens live, in µs; also the length of an accounting epoch in the state of a bucket. The same for every
 * process that shares a store: change it only together with the format's name in bucket-key.ts.
 */
export const LEASE_US = 50_000;

/** What a take carries that has nothing to do with leases and gives nothing back. */
export const PLAIN_TAKE = { ahead: 0, ret: 0, spent: 0, retEpoch: 0, refund: 0, refundEpoch: 0 } as const;

/** Micro-tokens in a token, and µs in a second. */
export const MICRO = 1_000_000;

export interface BucketStore {
  readonly kind: 'redis' | 'memory' | 'primary';
  /** false: a take would fail at once, do not try. */
  readonly available: boolean;
  /** true: buckets of different callers may live on different servers; a batch holds one caller's, and fails alone. */
  readonly sharded?: boolean;
  /**
   * takeBatch takes from each bucket, in order, at most once: whatever happens a take is never repeated, and a lost reply
   * costs tokens instead of adding any. Never rejects and never stays open for longer than the store's deadline: each
   * element is a reply or the LbError `store_unavailable` or `store_timeout`.
   */
  takeBatch(takes: readonly TakeRequest[]): Promise<(TakeReply | Error)[]>;
  close(): Promise<void>;
}

/** RefillableStore is what the primary resets buckets in. */
export interface RefillableStore extends BucketStore {
  /**
   * refill forgets buckets of one caller, which fills them; what was leased of them is forgotten too. Rejects with LbError
   * `store_unavailable` or `store_timeout`, after which they may have been filled all the same.
   *
   * @param keys as in TakeRequest.key; all with the same hash
   */
  refill(keys: readonly string[]): Promise<void>;
}
