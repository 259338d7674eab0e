/** The question that an open breaker asks: a real take, so that everything that takes need must work. */
import type { TakeRequest } from '../../contract/buckets.ts';
import { bucketKey, hashBucketName } from '../bucket/bucket-key.ts';
import { MICRO, PLAIN_TAKE } from './bucket-store.ts';

const PROBE_CAPACITY = 1_000;
const PROBE_KEY = bucketKey(hashBucketName('probe', 'breaker'), 'probe');

/** makeProbe takes one token from a bucket that belongs to nobody; whether it gets one does not matter. */
export function makeProbe(): TakeRequest {
  return {
    key: PROBE_KEY,
    capacity: PROBE_CAPACITY,
    rateMicro: PROBE_CAPACITY * MICRO,
    versionUs: 1,
    need: 1,
    partial: false,
    ...PLAIN_TAKE,
  };
}
