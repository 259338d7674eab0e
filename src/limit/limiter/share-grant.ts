/** Distributes granted tokens among the requests that wait for a bucket: in order, first fit. */
import type { TakeReply } from '../../contract/buckets.ts';
import { allow, type Decision, refuse, type TokenOrigin } from '../decision.ts';
import { MICRO } from '../store/bucket-store.ts';
import type { KnownBucket, Waiter } from './known-bucket.ts';
import type { PendingTake } from './pending-take.ts';

/** answer answers one who waits, and counts the decision. */
export function answer(waiter: Waiter, decision: Decision): void {
  waiter.settled = true;
  waiter.resolve(waiter.bucket.policy.count(decision));
}

/** shareGrant hands the granted tokens of a reply to those who waited for it, and refuses the rest. */
export function shareGrant({ bucket, waiters }: PendingTake, reply: TakeReply, nowMs: number): void {
  let left = reply.granted;
  const heldTokens = bucket.lease?.held ?? 0;
  // What is held may have expired, and the bucket may have filled up again since.
  const fullMicro = bucket.force.capacity * MICRO;
  const levelMicro = () => Math.min(fullMicro, reply.levelMicro + (left + heldTokens) * MICRO);
  for (const waiter of waiters) {
    if (waiter.settled) continue;
    const verdict = bucket.policy.verdictOn(bucket, 'store');
    const served = waiter.cost <= left;
    if (served) left -= waiter.cost;
    const level = { micro: levelMicro(), rules: bucket.force };
    answer(waiter, served ? allow(verdict, level, reply) : refuse(verdict, level, waiter.cost));
  }
  // Tokens of those who gave up waiting, and what is less than anybody's cost.
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
    answer(waiter, allow(bucket.policy.verdictOn(bucket, 'store'), bucket.levelAt(nowMs), origin));
  }
  return left;
}

/** grantFromLease serves those who came while leased tokens were on their way. */
export function grantFromLease(bucket: KnownBucket, nowMs: number): void {
  const { lease, queue } = bucket;
  if (lease === null) return;
  for (const waiter of queue) {
    const lot = waiter.settled ? null : lease.spend(waiter.cost, nowMs);
    if (lot === null) continue;
    answer(waiter, allow(bucket.policy.verdictOn(bucket, 'lease'), bucket.levelAt(nowMs), lot));
  }
}

/** denyQueued refuses those in the queue for whom there is nothing, by what is known now, and keeps the others. */
export function denyQueued(bucket: KnownBucket, nowMs: number): void {
  bucket.keepWaiting((waiter) => {
    if (waiter.settled) return false;
    const refusal = bucket.policy.refusalOf(bucket, waiter.cost, nowMs);
    if (refusal !== null) answer(waiter, refusal);
    return refusal === null;
  });
}
