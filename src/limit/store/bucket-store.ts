/** Where the buckets are: Redis, the primary, or the memory of this process. */
import type { TakeReply, TakeRequest } from '../../contract/buckets.ts';
import type { ClusterNodes } from '../../infra/redis/cluster-nodes.ts';
import type { Pending } from './deadline-queue.ts';

/**
 * The lifetime of lease tokens and the length of a bucket's accounting epoch, in µs. It must be the same for every process that
 * shares a store: change it only together with STATE_FORMAT in bucket-key.ts.
 */
export const LEASE_US = 50_000;

/** The fields of a take that has no lease and returns nothing. */
export const PLAIN_TAKE = { ahead: 0, ret: 0, spent: 0, retEpoch: 0, refund: 0, refundEpoch: 0 } as const;

/** Micro-tokens in a token, and µs in a second. */
export const MICRO = 1_000_000;

/** The servers of a store that is spread over a Redis Cluster. */
export type StoreCluster = Pick<ClusterNodes, 'serverOf' | 'isReady' | 'servers'>;

export interface BucketStore {
  readonly kind: 'redis' | 'memory' | 'primary';
  /** false: a take would fail at once. */
  readonly available: boolean;
  /** Absent: one server has all buckets. Else all takes of a batch must have one slot. */
  readonly cluster?: StoreCluster | undefined;
  /**
   * takeBatch takes from each bucket, in order, at most once: a take is never repeated, and a lost reply costs tokens. Each
   * result is a reply or an LbError: `store_unavailable`, or `bucket_unreadable` if only this bucket is affected. Rejects if
   * the whole batch failed. It may never settle: the caller has the deadline.
   *
   * @param call becomes settled when the caller gives up; then the store sends nothing more for it
   */
  takeBatch(takes: readonly TakeRequest[], call?: Readonly<Pending>): Promise<(TakeReply | Error)[]>;
}

/** RefillableStore is a store whose buckets the primary can reset. */
export interface RefillableStore extends BucketStore {
  /**
   * refill deletes buckets, which makes them full and forgets their lease tokens. Rejects with LbError
   * `store_unavailable` or `store_timeout`; even then they may have been deleted.
   *
   * @param keys as in TakeRequest.key
   */
  refill(keys: readonly string[]): Promise<void>;
}
