/** The limiter's answer, and how its numbers follow from the level of a bucket. */
import type { PolicySettings } from '../contract/settings.ts';
import type { BucketRules, EffectiveLimits } from './bucket/effective-limits.ts';
import { MICRO } from './store/bucket-store.ts';

export type DecisionSource = 'lease' | 'store' | 'deny_cache' | 'local';

/** Decision says whether a request passes, and has the numbers of the RateLimit fields. */
export interface Decision {
  /** Always true for a shadow policy, which only counts. */
  readonly allowed: boolean;
  /** The policy is a shadow and would have refused. */
  readonly shadowed: boolean;
  /** Refused because the store is away and the policy says `deny`: a 503, which says nothing about the client's quota. */
  readonly storeDenied: boolean;
  /** Whether tokens were taken from the bucket or the local share. Only these can be given back. */
  readonly charged: boolean;
  readonly source: DecisionSource;
  readonly policyName: string;
  /** Tokens of the whole bucket, even if a local share decided. */
  readonly capacity: number;
  readonly refillPerSecond: number;
  /** Whole tokens left after this decision. */
  readonly remaining: number;
  /** 0: allowed. -1: the cost is above the capacity and can never be met. */
  readonly retryAfterMs: number;
  /** Time until the request can pass, if it was refused; else until there is a token, if none remains; else until full. */
  readonly resetMs: number;
  /** The decisions of all policies of the route, in their order; this one counts for the request. null: there is one policy. */
  readonly members: readonly Decision[] | null;
  /** Where charged tokens came from; null: the local share. Only Limiter.giveBack reads it. */
  readonly origin?: TokenOrigin | null | undefined;
}

/** TokenOrigin is a lot of leased tokens, or a reply of the store. */
export interface TokenOrigin {
  /** The store's epoch when it granted them. */
  readonly epoch: number;
}

/** violatedPolicies names the policies whose spent quota caused a refusal. */
export function violatedPolicies(decision: Decision): string[] {
  const members = decision.members ?? [decision];
  return members
    .filter(({ allowed, storeDenied }) => !allowed && !storeDenied)
    .map(({ policyName }) => policyName);
}

/** Level is what a bucket or local share has after a take, and its limits. */
export interface Level {
  micro: number;
  rules: BucketRules;
}

/** msUntil is the time until a level reaches this many tokens; 0: it has them. */
export function msUntil(tokens: number, level: Level): number {
  return Math.max(0, ((tokens * MICRO - level.micro) / level.rules.rateMicro) * 1000);
}

/** DecidedBucket is what a decision needs from its bucket; implemented by KnownBucket. */
interface DecidedBucket {
  readonly policy: { readonly settings: Pick<PolicySettings, 'name' | 'shadow'> };
  /** The limits of the whole bucket. */
  readonly limits: EffectiveLimits;
}

/**
 * allow admits a request.
 *
 * @param origin where its tokens came from; null: the local share; undefined: none were taken
 */
export function allow(
  bucket: DecidedBucket,
  source: DecisionSource,
  level: Level,
  origin?: TokenOrigin | null,
): Decision {
  return decide(bucket, source, level, 0, origin);
}

/**
 * refuse refuses `cost` tokens.
 *
 * @param earliestMs the client is told to wait at least this long
 */
export function refuse(
  bucket: DecidedBucket,
  source: DecisionSource,
  level: Level,
  cost: number,
  earliestMs = 0,
): Decision {
  // A local share may be too small for a cost that the whole bucket can meet. Then the client must wait for the store.
  const waitMs = cost > level.rules.capacity ? STORE_BACK_MS : msUntil(cost, level);
  const retryAfterMs = cost > bucket.limits.capacity ? -1 : Math.max(1, waitMs, earliestMs);
  return decide(bucket, source, level, retryAfterMs);
}

/** refuseUnchecked refuses because the store is away and the policy says `deny`. */
export function refuseUnchecked(bucket: DecidedBucket, level: Level): Decision {
  const decision = decide(bucket, 'local', level, STORE_BACK_MS);
  return { ...decision, storeDenied: !decision.allowed };
}

/** A guess: probes ask four times a second whether the store is back. */
const STORE_BACK_MS = 1000;

/**
 * @param retryAfterMs 0: not refused
 * @param origin undefined: nothing was charged
 */
function decide(
  { policy: { settings }, limits }: DecidedBucket,
  source: DecisionSource,
  level: Level,
  retryAfterMs: number,
  origin?: TokenOrigin | null,
): Decision {
  const { name, shadow } = settings;
  const refused = retryAfterMs !== 0 && !shadow;
  const remaining = Math.max(0, Math.floor(level.micro / MICRO));
  return {
    allowed: !refused,
    shadowed: shadow && retryAfterMs !== 0,
    storeDenied: false,
    charged: origin !== undefined,
    source,
    policyName: name,
    capacity: limits.capacity,
    refillPerSecond: limits.refillPerSecond,
    remaining,
    retryAfterMs: refused ? retryAfterMs : 0,
    resetMs:
      refused && retryAfterMs > 0 ? retryAfterMs : msUntil(remaining === 0 ? 1 : level.rules.capacity, level),
    members: null,
    origin,
  };
}
