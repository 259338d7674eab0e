/** What the limiter answers, and how levels become the numbers in it. */
import { MICRO } from './bucket-store.ts';
import type { BucketRules, EffectiveLimits } from './effective-limits.ts';

export type DecisionSource = 'lease' | 'store' | 'deny_cache' | 'local';

/** Decision is what the handler acts on and the RateLimit fields are written from. */
export interface Decision {
  /** Already true where the policy only counts (shadow). */
  readonly allowed: boolean;
  /** It would have been refused, had the policy not been a shadow. */
  readonly shadowed: boolean;
  readonly source: DecisionSource;
  readonly policyName: string;
  /** Tokens: of the whole bucket, also while only a share of it decides. */
  readonly capacity: number;
  readonly refillPerSecond: number;
  /** Whole tokens left after this one. */
  readonly remaining: number;
  /** 0 when allowed, -1 when the cost is above the capacity and can never be met. */
  readonly retryAfterMs: number;
  /** Until a token when remaining is 0, else until full. */
  readonly resetMs: number;
}

/** A level as the decision sees it: after the take, at the moment of the answer. */
export interface Level {
  micro: number;
  /** What fills it: the bucket's own limits, or those of the local share. */
  rules: BucketRules;
}

/** msUntil is the time until a level holds so many tokens, 0 if it does. */
export function msUntil(tokens: number, level: Level): number {
  return Math.max(0, ((tokens * MICRO - level.micro) / level.rules.rateMicro) * 1000);
}

interface Verdict {
  policyName: string;
  shadow: boolean;
  /** The limits of the whole bucket, for the fields. */
  rules: EffectiveLimits;
  source: DecisionSource;
}

export function allow(verdict: Verdict, level: Level): Decision {
  return decide(verdict, level, { refused: false, retryAfterMs: 0 });
}

/**
 * refuse says no to `cost` tokens.
 *
 * @param earliestMs a refusal that holds for so long in any case (pacing)
 */
export function refuse(verdict: Verdict, level: Level, cost: number, earliestMs = 0): Decision {
  if (cost > verdict.rules.capacity) return decide(verdict, level, { refused: true, retryAfterMs: -1 });
  // A local share may be too small for a cost that the whole bucket can meet: then the store must come back first.
  const waitMs = cost > level.rules.capacity ? SHARE_TOO_SMALL_MS : msUntil(cost, level);
  return decide(verdict, level, { refused: true, retryAfterMs: Math.max(1, waitMs, earliestMs) });
}

const SHARE_TOO_SMALL_MS = 1000;

function decide(
  verdict: Verdict,
  level: Level,
  answer: { refused: boolean; retryAfterMs: number },
): Decision {
  const { policyName, shadow, rules, source } = verdict;
  const remaining = Math.max(0, Math.floor(level.micro / MICRO));
  const shadowed = answer.refused && shadow;
  return {
    allowed: !answer.refused || shadow,
    shadowed,
    source,
    policyName,
    capacity: rules.capacity,
    refillPerSecond: rules.refillPerSecond,
    remaining,
    retryAfterMs: shadowed ? 0 : answer.retryAfterMs,
    resetMs: msUntil(remaining === 0 ? 1 : level.rules.capacity, level),
  };
}
