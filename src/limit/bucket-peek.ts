/** Looking at buckets without taking from them, for the admin port's `GET …/bucket`. */
import type { TakeReply, TakeRequest } from '../contract/buckets.ts';
import type { ClientMatch } from '../contract/clients.ts';
import type { PolicySettings } from '../contract/settings.ts';
import { bucketKey, hashBucketName } from './bucket-key.ts';
import { type BucketStore, MICRO, PLAIN_TAKE } from './bucket-store.ts';
import { msUntil } from './decision.ts';
import { effectiveLimits } from './effective-limits.ts';

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
  const hash = hashBucketName('client', clientId);
  return policies.map(({ name }) => bucketKey(hash, name));
}

/**
 * peekBuckets returns the bucket of a client for each policy, in the order given. A bucket that nobody has used is full.
 * Rejects with the store's LbError where it is away.
 *
 * @param policyVersionUs as for Limiter.configure: a look may bring limits to a bucket like any take
 */
export async function peekBuckets(
  store: BucketStore,
  match: ClientMatch,
  policies: readonly PolicySettings[],
  policyVersionUs: number,
): Promise<BucketView[]> {
  const hash = hashBucketName('client', match.bucketName);
  const limits = policies.map((policy) => effectiveLimits(policy, policyVersionUs, match));
  const looks = limits.map(({ capacity, rateMicro, versionUs }, index): TakeRequest => {
    const key = bucketKey(hash, policies[index]?.name ?? '');
    return { key, capacity, rateMicro, versionUs, need: 0, partial: true, ...PLAIN_TAKE };
  });
  const replies = await store.takeBatch(looks);
  return policies.map(({ name }, index) => {
    const reply = replies[index];
    if (reply instanceof Error) throw reply;
    if (reply === undefined) throw new RangeError('a store answered fewer takes than it was given');
    const asked = limits[index];
    const same = asked !== undefined && asked.rateMicro === reply.rateMicro;
    return viewOf(name, reply, same ? asked.refillPerSecond : reply.rateMicro / MICRO);
  });
}

function viewOf(policy: string, reply: TakeReply, refillPerSecond: number): BucketView {
  const { levelMicro, capacity } = reply;
  const nextTokenMs = Math.ceil(msUntil(1, { micro: levelMicro, rules: reply }));
  return { policy, level: levelMicro / MICRO, capacity, refillPerSecond, nextTokenMs };
}
