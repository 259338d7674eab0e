/**
 * The limit of a route: one policy, or several that are charged together or not at all (such as per second and per day).
 *
 * With several, the deny caches answer first, at no cost. Then all policies are charged at once, in one round trip. If one
 * refuses, the others are refunded. Until then the taken tokens can cause another refusal, never an extra admission.
 */
import type { PolicySettings } from '../contract/settings.ts';
import type { Caller } from './caller/identity.ts';
import type { Decision } from './decision.ts';
import type { Limiter } from './limiter/limiter.ts';

/** What charging needs of a limiter. */
export type TokenTaker = Pick<Limiter, 'take' | 'refusalOf' | 'peek' | 'giveBack'>;

/** RouteLimit is what each request of a route takes; part of a plan. */
export interface RouteLimit {
  /** All different. */
  readonly policies: readonly [PolicySettings, ...PolicySettings[]];
  /** Tokens of each policy, ≥ 1. */
  readonly cost: number;
}

/** charge takes the tokens of one request, at once or by the limiter's deadline; it never throws or rejects. */
export function charge(taker: TokenTaker, caller: Caller, limit: RouteLimit): Decision | Promise<Decision> {
  const { policies, cost } = limit;
  return policies.length === 1 ? taker.take(caller, policies[0], cost) : chargeAll(taker, caller, limit);
}

function chargeAll(taker: TokenTaker, caller: Caller, limit: RouteLimit): Decision | Promise<Decision> {
  const { policies, cost } = limit;
  const known = policies.map((policy) => taker.refusalOf(caller, policy, cost));
  if (known.some((decision) => decision?.allowed === false)) {
    return oneOf(policies.map((policy, i) => known[i] ?? taker.peek(caller, policy)));
  }
  // A refusal by a shadow policy's deny cache is its decision: the request passes.
  const taken = policies.map((policy, i) => known[i] ?? taker.take(caller, policy, cost));
  const decided = taken.filter((decision): decision is Decision => !(decision instanceof Promise));
  if (decided.length === taken.length) return conclude(taker, caller, limit, decided);
  return Promise.all(taken).then((decisions) => conclude(taker, caller, limit, decisions));
}

function conclude(
  taker: TokenTaker,
  caller: Caller,
  { policies, cost }: RouteLimit,
  decisions: Decision[],
): Decision {
  if (decisions.every(({ allowed }) => allowed)) return oneOf(decisions);
  return oneOf(
    decisions.map((decision, i) => {
      const policy = policies[i];
      if (!decision.charged || policy === undefined) return decision;
      taker.giveBack(caller, policy, decision, cost);
      return refunded(decision, cost);
    }),
  );
}

/** The decision after its tokens are refunded. */
function refunded(decision: Decision, cost: number): Decision {
  const { capacity, refillPerSecond } = decision;
  const remaining = Math.min(capacity, decision.remaining + cost);
  const resetMs = ((capacity - remaining) / refillPerSecond) * 1000;
  return { ...decision, charged: false, remaining, resetMs };
}

/**
 * The decision for the request. If it passes: the policy with the fewest tokens left; else the refusal that lasts longest. A
 * spent quota comes before a store that is away, because the client can do something about it.
 */
function oneOf(members: readonly Decision[]): Decision {
  const refusals = members.filter(({ allowed }) => !allowed);
  if (refusals.length === 0) return { ...first(members, (a, b) => a.remaining - b.remaining), members };
  const limited = refusals.filter(({ storeDenied }) => !storeDenied);
  const counting = first(limited.length > 0 ? limited : refusals, (a, b) => waitOf(b) - waitOf(a));
  const longest = first(refusals, (a, b) => waitOf(b) - waitOf(a));
  return { ...counting, retryAfterMs: longest.retryAfterMs, members };
}

/** A retryAfterMs of -1 means never. */
function waitOf({ retryAfterMs }: Decision): number {
  return retryAfterMs < 0 ? Number.POSITIVE_INFINITY : retryAfterMs;
}

/** The first by an order; the list is not empty. */
function first(decisions: readonly Decision[], order: (a: Decision, b: Decision) => number): Decision {
  return decisions.reduce((best, next) => (order(next, best) < 0 ? next : best));
}
