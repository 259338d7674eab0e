/** Who of those that wait for a bucket gets what of the tokens that came: in order, first fit. */
import type { TakeReply } from '../../contract/buckets.ts';
import { allow, type Decision, refuse, type TokenOrigin } from '../decision.ts';
import { MICRO } from '../store/bucket-store.ts';
import type { KeyState, Waiter } from './known-bucket.ts';
import type { Flight } from './pending-take.ts';

/** settle answers one who waits, and counts the answer. */
export function settle(waiter: Waiter, decision: Decision): void {
  waiter.settled = true;
  waiter.resolve(waiter.state.policy.count(decision));
}

/** serveFlight hands the granted tokens of a reply to those who waited for it, and refuses the rest. */
export function serveFlight({ state, waiters }: Flight, reply: TakeReply, nowMs: number): void {
  let left = reply.granted;
  const heldTokens = state.lease?.held ?? 0;
  // What is held may have expired, and the bucket have filled up again since.
  const fullMicro = state.force.capacity * MICRO;
  const levelMicro = () => Math.min(fullMicro, reply.levelMicro + (left + heldTokens) * MICRO);
  for (const waiter of waiters) {
    if (waiter.settled) continue;
    const verdict = state.policy.verdictOn(state, 'store');
    const served = waiter.cost <= left;
    if (served) left -= waiter.cost;
    const level = { micro: levelMicro(), rules: state.force };
    settle(waiter, served ? allow(verdict, level, reply) : refuse(verdict, level, waiter.cost));
  }
  // Tokens of those who gave up waiting, and what is less than anybody's cost.
  state.giveBack(serveQueue(state, left, reply, nowMs), reply.epoch);
}

/** serveQueue gives granted tokens to those who wait for the next take, and returns how many are left. */
export function serveQueue(state: KeyState, tokens: number, origin: TokenOrigin, nowMs: number): number {
  let left = tokens;
  for (const waiter of state.queue) {
    if (left === 0) break;
    if (waiter.settled || waiter.cost > left) continue;
    left -= waiter.cost;
    settle(waiter, allow(state.policy.verdictOn(state, 'store'), state.levelAt(nowMs), origin));
  }
  return left;
}

/** serveFromLease serves those who came while a lot was on its way. */
export function serveFromLease(state: KeyState, nowMs: number): void {
  const { lease, queue } = state;
  if (lease === null) return;
  for (const waiter of queue) {
    const lot = waiter.settled ? null : lease.spend(waiter.cost, nowMs);
    if (lot === null) continue;
    settle(waiter, allow(state.policy.verdictOn(state, 'lease'), state.levelAt(nowMs), lot));
  }
}

/** denyQueued refuses those in the queue for whom there is nothing, by what is known now, and keeps the others. */
export function denyQueued(state: KeyState, nowMs: number): void {
  state.keepWaiting((waiter) => {
    if (waiter.settled) return false;
    const refusal = state.policy.refusalOf(state, waiter.cost, nowMs);
    if (refusal !== null) settle(waiter, refusal);
    return refusal === null;
  });
}
