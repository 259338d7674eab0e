/** A take on its way to the store, with those who wait for it. */
import type { TakeRequest } from '../../contract/buckets.ts';
import type { KnownBucket, Refund, Waiter } from './known-bucket.ts';
import type { LeaseAsk } from './lease.ts';

export interface PendingTake {
  readonly bucket: KnownBucket;
  /** Empty where nobody waits: a lease asks, or something goes back. */
  readonly waiters: readonly Waiter[];
  readonly need: number;
  readonly partial: boolean;
  readonly ask: LeaseAsk;
  readonly refund: Refund;
}

/**
 * startTake makes the take of those who wait for a bucket, of its lease, and of what goes back; the bucket is asking from
 * then on. null: there is nothing to ask, and it is idle.
 *
 * @param leases whether tokens may be taken ahead
 */
export function startTake(
  bucket: KnownBucket,
  options: { leases: boolean; nowMs: number },
): PendingTake | null {
  const { waiters, refund } = bucket.startAsking();
  const ask = bucket.leaseAsk(options, waiters.length > 0);
  if (waiters.length === 0 && ask.ahead === 0 && ask.ret === 0 && refund.refund === 0) {
    bucket.stopAsking();
    return null;
  }
  const asking = askingOf(bucket, waiters);
  const need = asking.reduce((sum, waiter) => sum + waiter.cost, 0);
  // One alone gets all or nothing: what does not fit anybody would have to go back.
  return { bucket, waiters, need, partial: asking.length > 1, ask, refund };
}

/**
 * A cost that can never be met must not draw tokens that then fit nobody. Where there is no other request it asks all the
 * same, so that a raised limit is noticed.
 */
function askingOf({ force }: KnownBucket, waiters: readonly Waiter[]): readonly Waiter[] {
  if (waiters.every((waiter) => waiter.cost <= force.capacity)) return waiters;
  const possible = waiters.filter((waiter) => waiter.cost <= force.capacity);
  return possible.length > 0 ? possible : waiters.slice(0, 1);
}

export function requestOf({ bucket, need, partial, ask, refund }: PendingTake): TakeRequest {
  const { capacity, rateMicro, versionUs } = bucket.force;
  return { key: bucket.key, capacity, rateMicro, versionUs, need, partial, ...ask, ...refund };
}
