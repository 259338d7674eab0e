/** The limits of a bucket: the client's own for the policy, else the policy's; and their version, of which the newest wins. */
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
 * effectiveLimits gives limits of every source one version that only grows. A client's own have the time of
 * its row. A policy's have the load time of the file, or that of the client's row or tombstone where it is
 * later: limits that are removed, or whose client is deleted, must lose.
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
