/** The limits of a bucket: the client's own for the policy, else the policy's, and their version. The newest version wins. */
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

/** EffectiveLimits also have the rate as configured, for the RateLimit fields. */
export interface EffectiveLimits extends BucketRules {
  readonly refillPerSecond: number;
}

/**
 * effectiveLimits gives the limits a version that grows with every change of their source. A client's own limits have the time
 * of its row. A policy's have the load time of the file or, if that is later, the time of the client's row or tombstone: the
 * limits of a removed entry or a deleted client must lose.
 *
 * @param policyVersionUs the load time of the policies, on the database's clock
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

/** rateMicroOf rounds down to whole micro-tokens per second, so that a bucket never refills faster than configured. */
export function rateMicroOf(refillPerSecond: number): number {
  // The factor corrects products like 0.000007 * 1e6 = 6.999999999999999.
  return Math.max(1, Math.floor(refillPerSecond * MICRO * (1 + 4 * Number.EPSILON)));
}

export function sameRules(a: BucketRules, b: BucketRules): boolean {
  return a.versionUs === b.versionUs && a.capacity === b.capacity && a.rateMicro === b.rateMicro;
}
