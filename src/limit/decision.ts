/** What the limiter answers, and how the level of a bucket becomes the numbers in it. */
import type { BucketRules, EffectiveLimits } from './bucket/effective-limits.ts';
import { MICRO } from './store/bucket-store.ts';

export type DecisionSource = 'lease' | 'store' | 'deny_cache' | 'local';

/** Decision says whether a request passes, and what the RateLimit fields tell its client. */
export interface Decision {
  /** A shadow policy only counts: true, whatever the bucket says. */
  readonly allowed: boolean;
  /** The policy is a shadow and would have refused. */
  readonly shadowed: boolean;
  /** Refused because the store is away and the policy says `deny`: a 503, which says nothing of the client's quota. */
  readonly storeDenied: boolean;
  /** Tokens were taken from the bucket or the local share. Only these can be given back. */
  readonly charged: boolean;
  readonly source: DecisionSource;
  readonly policyName: string;
  /** Tokens of the whole bucket, also where a local share decided. */
  readonly capacity: number;
  readonly refillPerSecond: number;
  /** Whole tokens left after this decision. */
  readonly remaining: number;
  /** 0: allowed. -1: the cost is above the capacity and can never be met. */
  readonly retryAfterMs: number;
  /** Time until the request could pass, if it was refused; else until there is a token, if none remains; else until full. */
  readonly resetMs: number;
  /** The decisions of all policies of the route, in their order, of which this is the one that counts; null for one policy. */
  readonly members: readonly Decision[] | null;
  /** Where charged tokens came from; null for the local share. Only Limiter.giveBack reads it. */
  readonly origin?: TokenOrigin | null | undefined;
}

/** TokenOrigin is a lot of leased tokens, or a reply of the store. */
export interface TokenOrigin {
  /** The store's epoch in which it granted them. */
  readonly epoch: number;
}

/** violatedPolicies names the policies whose quota is spent, of a decision that refuses. */
export function violatedPolicies(decision: Decision): string[] {
  const members = decision.members ?? [decision];
  return members
    .filter(({ allowed, storeDenied }) => !allowed && !storeDenied)
    .map(({ policyName }) => policyName);
}

/** Level is what a bucket holds after a take, and the limits that fill it: its own, or those of the local share. */
export interface Level {
  micro: number;
  rules: BucketRules;
}

/** msUntil is the time until a level has reached so many tokens; 0: it has. */
export function msUntil(tokens: number, level: Level): number {
  return Math.max(0, ((tokens * MICRO - level.micro) / level.rules.rateMicro) * 1000);
}

/** Verdict is what all decisions about one bucket have in common. */
export interface Verdict {
  policyName: string;
  shadow: boolean;
  /** Of the whole bucket. */
  rules: EffectiveLimits;
  source: DecisionSource;
}

/** allow admits a request whose tokens were taken. */
export function allow(verdict: Verdict, level: Level, origin: TokenOrigin | null = null): Decision {
  return decide(verdict, level, 0, false, origin);
}

/** allowUncharged admits a request without a token. */
export function allowUncharged(verdict: Verdict, level: Level): Decision {
  return decide(verdict, level, 0, false);
}

/**
 * refuse refuses `cost` tokens.
 *
 * @param earliestMs the shortest wait to tell the client
 */
export function refuse(verdict: Verdict, level: Level, cost: number, earliestMs = 0): Decision {
  // A local share may be smaller than a cost that the whole bucket can meet. Then the client has to wait for the store.
  const waitMs = cost > level.rules.capacity ? STORE_BACK_MS : msUntil(cost, level);
  return decide(verdict, level, cost > verdict.rules.capacity ? -1 : Math.max(1, waitMs, earliestMs), false);
}

/** refuseUnchecked refuses because the store is away and the policy says `deny`. */
export function refuseUnchecked(verdict: Verdict, level: Level): Decision {
  return decide(verdict, level, STORE_BACK_MS, true);
}

/** A guess: four times a second a probe asks whether the store is back. */
const STORE_BACK_MS = 1000;

/**
 * @param retryAfterMs 0: not refused
 * @param origin undefined: nothing was charged
 */
function decide(
  { policyName, shadow, rules, source }: Verdict,
  level: Level,
  retryAfterMs: number,
  storeDenied: boolean,
  origin?: TokenOrigin | null,
): Decision {
  const refused = retryAfterMs !== 0 && !shadow;
  const remaining = Math.max(0, Math.floor(level.micro / MICRO));
  return {
    allowed: !refused,
    shadowed: shadow && retryAfterMs !== 0,
    storeDenied: refused && storeDenied,
    charged: origin !== undefined,
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
