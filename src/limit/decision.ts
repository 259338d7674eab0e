/** What the limiter answers, and how bucket levels become the numbers in it. */

import type { BucketRules, EffectiveLimits } from './bucket/effective-limits.ts';
import { MICRO } from './store/bucket-store.ts';

export type DecisionSource = 'lease' | 'store' | 'deny_cache' | 'local';

/** Decision is what the handler acts on and the RateLimit fields are written from. */
export interface Decision {
  /** Already true where the policy only counts (shadow). */
  readonly allowed: boolean;
  /** The policy is a shadow, and would have refused. */
  readonly shadowed: boolean;
  /** Refused because the store is away and the policy says `deny`: a 503, which says nothing of the client's quota. */
  readonly storeDenied: boolean;
  /** Tokens were taken for it, from the bucket or the local share; only these can be given back. */
  readonly charged: boolean;
  readonly source: DecisionSource;
  readonly policyName: string;
  /** Tokens: of the whole bucket, also while only a share of it decides. */
  readonly capacity: number;
  readonly refillPerSecond: number;
  /** Whole tokens left after this one. */
  readonly remaining: number;
  /** 0 when allowed, -1 when the cost is above the capacity and can never be met. */
  readonly retryAfterMs: number;
  /** Until the request could pass where it was refused; else until a token when remaining is 0, else until full. */
  readonly resetMs: number;
  /** For a route with several policies the decisions of all, in their order; this is the one that counts. Else null. */
  readonly members: readonly Decision[] | null;
  /** Where charged tokens came from, for Limiter.giveBack; null: nothing was charged, or by the local share. */
  readonly origin?: TokenOrigin | null;
}

/** TokenOrigin is a lot of leased tokens, or a reply of the store. */
export interface TokenOrigin {
  /** The store's epoch in which they were granted. */
  readonly epoch: number;
}

/** violatedPolicies names the policies whose quota is spent, of a decision that refuses. */
export function violatedPolicies(decision: Decision): string[] {
  const members = decision.members ?? [decision];
  return members
    .filter(({ allowed, storeDenied }) => !allowed && !storeDenied)
    .map(({ policyName }) => policyName);
}

/** A bucket's level after the take, at the moment of the answer. */
export interface Level {
  micro: number;
  /** What fills it: the bucket's own limits, or those of the local share. */
  rules: BucketRules;
}

/** msUntil is the time until a level holds so many tokens, 0 if it does. */
export function msUntil(tokens: number, level: Level): number {
  return Math.max(0, ((tokens * MICRO - level.micro) / level.rules.rateMicro) * 1000);
}

/** Verdict is what all decisions about one bucket have in common. */
export interface Verdict {
  policyName: string;
  shadow: boolean;
  /** The limits of the whole bucket, for the fields. */
  rules: EffectiveLimits;
  source: DecisionSource;
}

/** allow grants what was taken. */
export function allow(verdict: Verdict, level: Level, origin: TokenOrigin | null = null): Decision {
  return decide(verdict, level, { charged: true, retryAfterMs: 0, storeDenied: false }, origin);
}

/** allowUncharged lets a request pass without a token: the store is away and the policy says `allow`. */
export function allowUncharged(verdict: Verdict, level: Level): Decision {
  return decide(verdict, level, { charged: false, retryAfterMs: 0, storeDenied: false });
}

/**
 * refuse refuses `cost` tokens.
 *
 * @param earliestMs the refusal holds for at least so long (pacing)
 */
export function refuse(verdict: Verdict, level: Level, cost: number, earliestMs = 0): Decision {
  const retryAfterMs = cost > verdict.rules.capacity ? -1 : Math.max(1, waitMs(level, cost), earliestMs);
  return decide(verdict, level, { charged: false, retryAfterMs, storeDenied: false });
}

/** refuseUnchecked refuses because the store is away and the policy says `deny`. */
export function refuseUnchecked(verdict: Verdict, level: Level): Decision {
  return decide(verdict, level, { charged: false, retryAfterMs: STORE_BACK_MS, storeDenied: true });
}

/** A guess: the breaker asks four times a second whether the store is back. */
const STORE_BACK_MS = 1000;

function waitMs(level: Level, cost: number): number {
  // A local share may be smaller than a cost that the whole bucket can meet: the client must wait for the store.
  return cost > level.rules.capacity ? STORE_BACK_MS : msUntil(cost, level);
}

interface Answer {
  charged: boolean;
  /** 0: not refused. */
  retryAfterMs: number;
  storeDenied: boolean;
}

function decide(
  { policyName, shadow, rules, source }: Verdict,
  level: Level,
  { charged, retryAfterMs, storeDenied }: Answer,
  origin: TokenOrigin | null = null,
): Decision {
  const refused = retryAfterMs !== 0 && !shadow;
  const remaining = Math.max(0, Math.floor(level.micro / MICRO));
  return {
    allowed: !refused,
    shadowed: shadow && retryAfterMs !== 0,
    storeDenied: refused && storeDenied,
    charged,
    source,
    policyName,
    capacity: rules.capacity,
    refillPerSecond: rules.refillPerSecond,
    remaining,
    retryAfterMs: refused ? retryAfterMs : 0,
    resetMs:
      refused && retryAfterMs > 0 ? retryAfterMs : msUntil(remaining === 0 ? 1 : level.rules.capacity, level),
    members: null,
    origin,
  };
}
