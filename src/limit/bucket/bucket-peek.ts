/** Looks at buckets without changing them, for the admin port's `GET …/bucket`. */
import type { TakeReply, TakeRequest } from '../../contract/buckets.ts';
import type { ClientMatch } from '../../contract/clients.ts';
import type { PolicySettings } from '../../contract/settings.ts';
import { msUntil } from '../decision.ts';
import { type BucketStore, MICRO, PLAIN_TAKE } from '../store/bucket-store.ts';
import { bucketKey, hashBucketName } from './bucket-key.ts';
import { prevails } from './bucket-state.ts';
import { type EffectiveLimits, effectiveLimits } from './effective-limits.ts';

/** Older than any limits, so that the bucket keeps its own. */
const BEFORE_ALL_US = 0;

/** BucketView is one bucket as an operator sees it. */
export interface BucketView {
  policy: string;
  /** Tokens now, with fractions. */
  level: number;
  capacity: number;
  refillPerSecond: number;
  /** Milliseconds until there is a whole token; 0: there is one. */
  nextTokenMs: number;
}

/** bucketKeysOf names the buckets of a client, one per policy; for their reset. */
export function bucketKeysOf(clientId: string, policies: readonly Pick<PolicySettings, 'name'>[]): string[] {
  const hash = hashBucketName(clientId);
  return policies.map(({ name }) => bucketKey(hash, name));
}

/** limitTakes are takes of no token from the buckets of a client, one per policy, with the limits that a worker would send. */
export function limitTakes(
  match: ClientMatch,
  policies: readonly PolicySettings[],
  policyVersionUs: number,
): TakeRequest[] {
  const hash = hashBucketName(match.bucketName);
  return policies.map((policy): TakeRequest => {
    const { capacity, rateMicro, versionUs } = effectiveLimits(policy, policyVersionUs, match);
    const key = bucketKey(hash, policy.name);
    return { key, capacity, rateMicro, versionUs, need: 0, partial: true, ...PLAIN_TAKE };
  });
}

/**
 * peekBuckets shows the bucket of a client for each policy, in their order, and changes none. A bucket that
 * nobody has used is full. One that has not taken on newer limits yet is shown under them, at its old level
 * or their capacity. Rejects with the store's LbError where it is away.
 *
 * @param policyVersionUs as for Limiter.configure
 */
export async function peekBuckets(
  store: BucketStore,
  match: ClientMatch,
  policies: readonly PolicySettings[],
  policyVersionUs: number,
): Promise<BucketView[]> {
  const known = limitTakes(match, policies, policyVersionUs);
  const replies = await store.takeBatch(known.map((take) => ({ ...take, versionUs: BEFORE_ALL_US })));
  return policies.map((policy, index) => {
    const [asked, reply] = [known[index], replies[index]];
    if (reply instanceof Error) throw reply;
    if (asked === undefined || reply === undefined) throw new RangeError('the store left out an answer');
    const { refillPerSecond } = effectiveLimits(policy, policyVersionUs, match);
    return viewOf(policy.name, reply, { ...asked, refillPerSecond });
  });
}

/** @param asked the limits that a worker's take would carry */
function viewOf(policy: string, reply: TakeReply, asked: EffectiveLimits): BucketView {
  const rules = prevails(asked, reply) ? asked : reply;
  const { capacity, rateMicro } = rules;
  const refillPerSecond = rateMicro === asked.rateMicro ? asked.refillPerSecond : rateMicro / MICRO;
  const micro = Math.min(reply.levelMicro, capacity * MICRO);
  const nextTokenMs = Math.ceil(msUntil(1, { micro, rules }));
  return { policy, level: micro / MICRO, capacity, refillPerSecond, nextTokenMs };
}
