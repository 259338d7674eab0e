/**
 * One take from one token bucket, as the script, the in-memory store and the IPC between worker and primary know it.
 * All numbers are integers below 2^53. Amounts are tokens, or micro-tokens where the name ends in Micro.
 */
import type { Fitting } from './shape.ts';

export type TakeRequest = Fitting<typeof TAKE_REQUEST>;
export type TakeReply = Fitting<typeof TAKE_REPLY>;

export const TAKE_REQUEST = {
  fields: {
    /** The bucket's name without the store's prefix: `{<hash>}:<policy>`, made by limit/bucket/bucket-key.ts only. */
    key: 'string',
    /** 1…1e9. */
    capacity: 'number',
    /** Per second, ≥ 1. */
    rateMicro: 'number',
    /** Version of these limits in µs since the epoch; the newest that a bucket has seen wins. */
    versionUs: 'number',
    /** Tokens wanted, ≥ 0. */
    need: 'number',
    /** true: grant what is there, up to need; false: all or nothing. */
    partial: 'boolean',
    /** Tokens wanted beyond need for a lease; 0 without leases. */
    ahead: 'number',
    /** Lease tokens given back unspent, those spent, and the epoch of the reply that lent both. */
    ret: 'number',
    spent: 'number',
    retEpoch: 'number',
    /** Granted tokens of requests that were not served after all, and the epoch of the reply that granted them. */
    refund: 'number',
    refundEpoch: 'number',
  },
} as const;

export const TAKE_REPLY = {
  fields: {
    granted: 'number',
    ahead: 'number',
    /** Level after the take. */
    levelMicro: 'number',
    epoch: 'number',
    /** The limits in force in the bucket, which may be newer than the request's. */
    versionUs: 'number',
    capacity: 'number',
    rateMicro: 'number',
  },
} as const;
