/** A take of one bucket: made from the requests that wait for it, its reply shared among them, in order, first fit. */
import type { TakeReply, TakeRequest } from '../../contract/buckets.ts';
import { allow, type Decision, refuse, type TokenOrigin } from '../decision.ts';
import { MICRO } from '../store/bucket-store.ts';
import type { KnownBucket, Waiter } from './known-bucket.ts';

/** PendingTake is a take on its way to the store. */
export interface PendingTake {
  readonly bucket: KnownBucket;
  /** Empty where nobody waits: a lease asks, or something goes back. */
  readonly waiters: readonly Waiter[];
  readonly request: TakeRequest;
}

/**
 * startTake makes the take of those who wait for a bucket, of its lease, and of what goes back; the bucket is
 * asking from then on. null: there is nothing to ask, and the bucket is idle.
 *
 * @param leases whether tokens may be taken ahead
 */
export function startTake(bucket: KnownBucket, leases: boolean, nowMs: number): PendingTake | null {
  const { waiters, refund, refundEpoch } = bucket.startAsking();
  const lease = bucket.leaseAsk(leases, nowMs, waiters.length > 0);
  if (waiters.length === 0 && lease.ahead === 0 && lease.ret === 0 && refund === 0) {
    bucket.stopAsking();
    return null;
  }
  const { capacity, rateMicro, versionUs } = bucket.force;
  const asking = payable(waiters, capacity);
  const need = asking.reduce((sum, waiter) => sum + waiter.cost, 0);
  // One alone gets all or nothing: a part of its cost would have to go back.
  const partial = asking.length > 1;
  const limits = { key: bucket.key, capacity, rateMicro, versionUs };
  return { bucket, waiters, request: { ...limits, need, partial, ...lease, refund, refundEpoch } };
}

/**
 * A cost above the capacity must not draw tokens that then fit nobody. Where no other request waits it asks
 * all the same, so that a raised limit is noticed.
 */
function payable(waiters: readonly Waiter[], capacity: number): readonly Waiter[] {
  const possible = waiters.filter((waiter) => waiter.cost <= capacity);
  return possible.length > 0 ? possible : waiters.slice(0, 1);
}

/** answer ends the wait of a request and counts the decision. */
export function answer(waiter: Waiter, decision: Decision): void {
  waiter.settled = true;
  waiter.resolve(waiter.bucket.policy.count(decision));
}

/** shareGrant hands the granted tokens to those who waited for the reply, and refuses the others. */
export function shareGrant({ bucket, waiters }: PendingTake, reply: TakeReply, nowMs: number): void {
  let left = reply.granted;
  const heldTokens = bucket.lease?.held ?? 0;
  const fullMicro = bucket.force.capacity * MICRO;
  for (const waiter of waiters) {
    if (waiter.settled) continue;
    const served = waiter.cost <= left;
    if (served) left -= waiter.cost;
    // At most full: leased tokens may have expired, and the bucket may have filled up since.
    const micro = Math.min(fullMicro, reply.levelMicro + (left + heldTokens) * MICRO);
    const level = { micro, rules: bucket.force };
    const decision = served
      ? allow(bucket, 'store', level, reply)
      : refuse(bucket, 'store', level, waiter.cost);
    answer(waiter, decision);
  }
  // Tokens of requests that gave up waiting, and those that are less than anybody's cost.
  bucket.giveBack(grantToQueue(bucket, left, reply, nowMs), reply.epoch);
}

/** grantToQueue gives granted tokens to those who wait for the next take, and returns how many are left. */
export function grantToQueue(
  bucket: KnownBucket,
  tokens: number,
  origin: TokenOrigin,
  nowMs: number,
): number {
  let left = tokens;
  for (const waiter of bucket.queue) {
    if (left === 0) break;
    if (waiter.settled || waiter.cost > left) continue;
    left -= waiter.cost;
    answer(waiter, allow(bucket, 'store', bucket.levelAt(nowMs), origin));
  }
  return left;
}

/** grantFromLease serves those who came while leased tokens were on their way. */
export function grantFromLease(bucket: KnownBucket, nowMs: number): void {
  const { lease, queue } = bucket;
  if (lease === null) return;
  for (const waiter of queue) {
    const lot = waiter.settled ? null : lease.spend(waiter.cost, nowMs);
    if (lot !== null) answer(waiter, allow(bucket, 'lease', bucket.levelAt(nowMs), lot));
  }
}

/** denyQueued refuses those in the queue for whom there can be no token yet, and keeps the others. */
export function denyQueued(bucket: KnownBucket, nowMs: number): void {
  bucket.keepWaiting((waiter) => {
    if (waiter.settled) return false;
    const refusal = bucket.refusal(waiter.cost, nowMs);
    if (refusal !== null) answer(waiter, refusal);
    return refusal === null;
  });
}
