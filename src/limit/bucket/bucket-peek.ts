/** Reads buckets without a change, for the admin port's `GET …/bucket`. */
import type { TakeReply } from '../../contract/buckets.ts';
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

/** bucketKeysOf returns the keys of a client's buckets, one per policy, for their reset. */
export function bucketKeysOf(clientId: string, policies: readonly Pick<PolicySettings, 'name'>[]): string[] {
  const hash = hashBucketName(clientId);
  return policies.map(({ name }) => bucketKey(hash, name));
}

/**
 * peekBuckets shows a client's bucket for each policy, in their order, and changes none. An unused bucket is full. One that has
 * not received newer limits yet is shown with them, at its old level or their capacity, whichever is lower. Rejects with the
 * store's LbError.
 *
 * @param policyVersionUs as for Limiter.configure
 */
export function peekBuckets(
  store: BucketStore,
  match: ClientMatch,
  policies: readonly PolicySettings[],
  policyVersionUs: number,
): Promise<BucketView[]> {
  const hash = hashBucketName(match.bucketName);
  const views = policies.map(async (policy) => {
    const limits = effectiveLimits(policy, policyVersionUs, match);
    const { capacity, rateMicro } = limits;
    const key = bucketKey(hash, policy.name);
    const asked = { key, capacity, rateMicro, versionUs: BEFORE_ALL_US, need: 0, partial: true };
    const [reply] = await store.takeBatch([{ ...asked, ...PLAIN_TAKE }]);
    if (reply === undefined || reply instanceof Error)
      throw reply ?? new RangeError('the store left out an answer');
    return viewOf(policy.name, reply, limits);
  });
  return Promise.all(views);
}

/** @param limits the limits that a worker's take would carry */
function viewOf(policy: string, reply: TakeReply, limits: EffectiveLimits): BucketView {
  const rules = prevails(limits, reply) ? limits : reply;
  const { capacity, rateMicro } = rules;
  const refillPerSecond = rateMicro === limits.rateMicro ? limits.refillPerSecond : rateMicro / MICRO;
  const micro = Math.min(reply.levelMicro, capacity * MICRO);
  const nextTokenMs = Math.ceil(msUntil(1, { micro, rules }));
  return { policy, level: micro / MICRO, capacity, refillPerSecond, nextTokenMs };
}
