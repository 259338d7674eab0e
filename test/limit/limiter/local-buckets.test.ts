import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LocalBuckets } from '../../../src/limit/limiter/local-buckets.ts';

const SEC_US = 1_000_000;
const rules = { capacity: 100, rateMicro: 80_000_000, versionUs: 1 };

function makeLocal(shares = 8, maxBuckets = 100) {
  return new LocalBuckets(shares, maxBuckets);
}

/** How many of `tries` single takes pass. */
function drain(local: LocalBuckets, atUs: number, known: { ratio: number; atUs: number } | null, tries = 50) {
  let granted = 0;
  for (let i = 0; i < tries; i++) granted += local.take('bucket', rules, 1, known, atUs).granted;
  return granted;
}

test('local shares give each worker a whole part of the capacity and of the refill', () => {
  const local = makeLocal();
  assert.deepEqual(local.shareOf(rules), { capacity: 12, rateMicro: 10_000_000, versionUs: 1 });
  assert.equal(drain(local, 0, null), 12);
  assert.equal(drain(local, SEC_US / 2, null), 5);
});

test('local shares give at least one token, and refill in any case', () => {
  assert.deepEqual(makeLocal(64).shareOf({ capacity: 5, rateMicro: 3, versionUs: 1 }), {
    capacity: 1,
    rateMicro: 1,
    versionUs: 1,
  });
});

test('local shares start from the level that was known of the bucket', () => {
  assert.equal(drain(makeLocal(), SEC_US, { ratio: 0.5, atUs: 0 }), 6);
  assert.equal(drain(makeLocal(), SEC_US, { ratio: 0, atUs: 0 }), 0);
});

test('local shares mint nothing when the store comes and goes', () => {
  const local = makeLocal();
  assert.equal(drain(local, 0, null), 12);
  // Heard of a full bucket in between: the share is still what it was, plus what flowed in.
  assert.equal(drain(local, SEC_US / 10, { ratio: 1, atUs: 1 }), 1);
  // Heard of an empty one: that counts.
  assert.equal(drain(local, SEC_US, { ratio: 0, atUs: SEC_US - 1 }), 0);
});

test('local shares follow changed limits and a changed number of machines without a gift', () => {
  const local = makeLocal();
  assert.equal(drain(local, 0, null), 12);
  local.shares = 1;
  assert.equal(drain(local, 0, null), 0);
  assert.equal(local.take('bucket', { ...rules, rateMicro: 8_000 }, 1, null, 0).granted, 0);
});

test('local shares are bounded', () => {
  const local = makeLocal(8, 10);
  for (let i = 0; i < 100; i++) local.take(`key-${i}`, rules, 1, null, i);
  assert.equal(local.size, 10);
});
