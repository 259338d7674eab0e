/** Where the buckets live, as the limiter sees it: Redis, the primary, or this process's memory. */
import type { TakeReply, TakeRequest } from '../../contract/buckets.ts';
import type { ClusterNodes } from '../../infra/redis/cluster-nodes.ts';
import type { Pending } from './deadline-queue.ts';

/**
 * How long leased tokens live, in µs, and the length of an accounting epoch of a bucket. The same for every
 * process that shares a store: change it only together with the format's name in bucket-key.ts.
 */
export const LEASE_US = 50_000;

/** The fields of a take without a lease that gives nothing back. */
export const PLAIN_TAKE = { ahead: 0, ret: 0, spent: 0, retEpoch: 0, refund: 0, refundEpoch: 0 } as const;

/** Micro-tokens in a token, and µs in a second. */
export const MICRO = 1_000_000;

/** The servers of a store that is spread over several by the slots of a Redis Cluster. */
export type StoreCluster = Pick<ClusterNodes, 'serverOf' | 'isReady' | 'servers'>;

export interface BucketStore {
  readonly kind: 'redis' | 'memory' | 'primary';
  /** false: a take would fail at once. */
  readonly available: boolean;
  /** Absent: all buckets are on one server. Else the takes of a batch must have one slot. */
  readonly cluster?: StoreCluster | undefined;
  /**
   * takeBatch takes from each bucket, in order, at most once: a take is never repeated, and a lost reply costs tokens. Each
   * element is a reply or an LbError: `store_unavailable` or, where only this bucket is affected, `bucket_unreadable`.
   * Rejects where the whole batch failed, and may never settle: the deadline is the caller's.
   *
   * @param call settled once the caller has given up; what is not sent by then is not sent any more
   */
  takeBatch(takes: readonly TakeRequest[], call?: Readonly<Pending>): Promise<(TakeReply | Error)[]>;
}

/** RefillableStore is what the primary resets buckets in. */
export interface RefillableStore extends BucketStore {
  /**
   * refill deletes buckets, which makes them full and forgets what is on lease. Rejects with LbError
   * `store_unavailable` or `store_timeout`, after which they may be full all the same.
   *
   * @param keys as in TakeRequest.key, of one caller
   */
  refill(keys: readonly string[]): Promise<void>;
}
