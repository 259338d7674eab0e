/** Which limits a bucket has: the client's own for the policy, else the policy's, with the version that decides. */
import type { ClientMatch } from '../../contract/clients.ts';
import type { PolicySettings } from '../../contract/settings.ts';
import { MICRO } from '../store/bucket-store.ts';

export interface BucketRules {
  /** Tokens. */
  readonly capacity: number;
  /** Micro-tokens per second, ≥ 1. */
  readonly rateMicro: number;
  readonly versionUs: number;
}

/** EffectiveLimits are rules with the rate as it was written, for the RateLimit fields. */
export interface EffectiveLimits extends BucketRules {
  readonly refillPerSecond: number;
}

/**
 * effectiveLimits merges every source of a bucket's limits into one monotone version. Own limits carry the time of the
 * client's row; a policy's carry the load time of the file, raised by the row's or the tombstone's time, so that taking
 * own limits away, or deleting the client, is newer than what it takes away.
 *
 * @param policyVersionUs load time of the policies on the database's clock
 */
export function effectiveLimits(
  policy: Pick<PolicySettings, 'name' | 'capacity' | 'refillPerSecond'>,
  policyVersionUs: number,
  match: ClientMatch,
): EffectiveLimits {
  const { client, tombstoneUs } = match;
  // hasOwn: a policy may be called `constructor`.
  const own =
    client !== null && Object.hasOwn(client.limits, policy.name) ? client.limits[policy.name] : undefined;
  const versionUs =
    client !== null && own !== undefined
      ? client.versionUs
      : Math.max(policyVersionUs, client?.versionUs ?? tombstoneUs);
  const { capacity, refillPerSecond } = own ?? policy;
  return { capacity, refillPerSecond, rateMicro: rateMicroOf(refillPerSecond), versionUs };
}

/** rateMicroOf rounds down to whole micro-tokens per second, so that a bucket never fills faster than asked for. */
export function rateMicroOf(refillPerSecond: number): number {
  // The factor repairs products like 0.000007 * 1e6 = 6.999999999999999.
  return Math.max(1, Math.floor(refillPerSecond * MICRO * (1 + 4 * Number.EPSILON)));
}

export function sameRules(a: BucketRules, b: BucketRules): boolean {
  return a.versionUs === b.versionUs && a.capacity === b.capacity && a.rateMicro === b.rateMicro;
}
