/** A take of one bucket: it is made from the waiting requests, and its reply is shared among them, in order, first fit. */
import type { TakeReply, TakeRequest } from '../../contract/buckets.ts';
import { allow, type Decision, refuse, type TokenOrigin } from '../decision.ts';
import { MICRO } from '../store/bucket-store.ts';
import type { KnownBucket, Waiter } from './known-bucket.ts';

export interface PendingTake {
  readonly bucket: KnownBucket;
  /** Empty where only the lease asks, or tokens go back. */
  readonly waiters: readonly Waiter[];
  readonly request: TakeRequest;
}

/**
 * startTake makes a take for the waiting requests, the lease and returned tokens of a bucket, which is `asking` from then on.
 * null: there is nothing to ask, and the bucket is idle.
 *
 * @param leases whether the take may ask for lease tokens
 */
export function startTake(bucket: KnownBucket, leases: boolean, nowMs: number): PendingTake | null {
  const { waiters, refund, refundEpoch } = bucket.startAsking();
  const lease = bucket.leaseAsk(leases, nowMs, waiters.length > 0);
  if (waiters.length === 0 && lease.ahead === 0 && lease.ret === 0 && refund === 0) {
    bucket.stopAsking();
    return null;
  }
  const { capacity, rateMicro, versionUs } = bucket.limits;
  const asking = payable(waiters, capacity);
  const need = asking.reduce((sum, waiter) => sum + waiter.cost, 0);
  // A single request gets all or nothing: a part of its cost would have to go back.
  const partial = asking.length > 1;
  const limits = { key: bucket.key, capacity, rateMicro, versionUs };
  return { bucket, waiters, request: { ...limits, need, partial, ...lease, refund, refundEpoch } };
}

/**
 * A cost above the capacity must not draw tokens that fit no request. If only such requests wait, the first one asks, to
 * notice a raised limit.
 */
function payable(waiters: readonly Waiter[], capacity: number): readonly Waiter[] {
  const possible = waiters.filter((waiter) => waiter.cost <= capacity);
  return possible.length > 0 ? possible : waiters.slice(0, 1);
}

/** answer resolves a waiting request and counts the decision. */
export function answer(waiter: Waiter, decision: Decision): void {
  waiter.settled = true;
  waiter.resolve(waiter.bucket.policy.count(decision));
}

/** shareGrant gives the granted tokens to the requests of the take, in order, and refuses the rest. */
export function shareGrant({ bucket, waiters }: PendingTake, reply: TakeReply, nowMs: number): void {
  let left = reply.granted;
  const heldTokens = bucket.lease?.held ?? 0;
  const fullMicro = bucket.limits.capacity * MICRO;
  for (const waiter of waiters) {
    if (waiter.settled) continue;
    const served = waiter.cost <= left;
    if (served) left -= waiter.cost;
    // Not above full: lease tokens may have expired, and the bucket may have refilled since.
    const micro = Math.min(fullMicro, reply.levelMicro + (left + heldTokens) * MICRO);
    const level = { micro, rules: bucket.limits };
    const decision = served
      ? allow(bucket, 'store', level, reply)
      : refuse(bucket, 'store', level, waiter.cost);
    answer(waiter, decision);
  }
  // What is left belongs to requests that gave up, or is less than any cost.
  bucket.giveBack(grantToQueue(bucket, left, reply, nowMs), reply.epoch);
}

/** grantToQueue gives granted tokens to requests that wait for the next take, and returns how many are left. */
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

/** grantFromLease serves requests that arrived while lease tokens were on their way. */
export function grantFromLease(bucket: KnownBucket, nowMs: number): void {
  const { lease, queue } = bucket;
  if (lease === null) return;
  for (const waiter of queue) {
    const lot = waiter.settled ? null : lease.spend(waiter.cost, nowMs);
    if (lot !== null) answer(waiter, allow(bucket, 'lease', bucket.levelAt(nowMs), lot));
  }
}

/** denyQueued refuses the queued requests for which there can be no token yet. */
export function denyQueued(bucket: KnownBucket, nowMs: number): void {
  bucket.keepWaiting((waiter) => {
    if (waiter.settled) return false;
    const refusal = bucket.refusal(waiter.cost, nowMs);
    if (refusal !== null) answer(waiter, refusal);
    return refusal === null;
  });
}
