/**
 * One take from one token bucket, as the script, the in-memory store and the IPC between worker and primary know it.
 * All numbers are integers below 2^53; tokens in, micro-tokens where the name says so.
 */
export interface TakeRequest {
  /** Bucket name without the store's prefix: `{<hash>}:<policy>`, made by limit/bucket-key.ts only. */
  key: string;
  /** Tokens, 1…1e9. */
  capacity: number;
  /** Micro-tokens per second, ≥ 1. */
  rateMicro: number;
  /** Version of these limits in µs since the epoch; the newest that a bucket has seen wins. */
  versionUs: number;
  /** Tokens wanted, ≥ 0. */
  need: number;
  /** true: grant what is there, up to need; false: all or nothing. */
  partial: boolean;
  /** Tokens wanted beyond need for a lease; 0 without leases. */
  ahead: number;
  /** Lease tokens that are settled, with the epoch of the reply that lent them: those given back unspent, and those spent. */
  ret: number;
  spent: number;
  retEpoch: number;
  /** Granted tokens given back, of requests that were not served after all, with the epoch of the reply that granted them. */
  refund: number;
  refundEpoch: number;
}

export interface TakeReply {
  granted: number;
  ahead: number;
  /** Level after the take, in micro-tokens. */
  levelMicro: number;
  /** µs until the missing tokens can exist; 0 when all was granted, -1 when they never can (need > capacity). */
  retryUs: number;
  epoch: number;
  /** The limits in force in the bucket, which may be newer than the request's. */
  versionUs: number;
  capacity: number;
  rateMicro: number;
}
