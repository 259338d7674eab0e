import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LocalBuckets } from '../../../src/limit/limiter/local-buckets.ts';

const SEC_US = 1_000_000;
const rules = { capacity: 100, rateMicro: 80_000_000, versionUs: 1 };

function makeLocal(shares = 8, maxBuckets = 100) {
  const local = new LocalBuckets(maxBuckets);
  local.shares = shares;
  return local;
}

/** How many of `tries` single takes pass. */
function drain(local: LocalBuckets, atUs: number, known: { ratio: number; atUs: number } | null, tries = 50) {
  let granted = 0;
  for (let i = 0; i < tries; i++) granted += local.take('bucket', rules, 1, known, atUs).granted;
  return granted;
}

test('local shares divide capacity and refill by the number of workers', () => {
  const local = makeLocal();
  assert.deepEqual(local.shareOf(rules), { capacity: 12, rateMicro: 10_000_000, versionUs: 1 });
  assert.equal(drain(local, 0, null), 12);
  assert.equal(drain(local, SEC_US / 2, null), 5);
});

test('a local share that grows because there are fewer workers gains no tokens', () => {
  const local = makeLocal(8);
  assert.equal(drain(local, 0, null), 12);
  local.shares = 4;
  assert.equal(drain(local, 0, null), 0);
  assert.equal(drain(local, SEC_US / 2, null), 10, 'a quarter of 80 per second');
  assert.equal(drain(local, 10 * SEC_US, null), 25);
});

test('local shares have at least one token, and always refill', () => {
  assert.deepEqual(makeLocal(64).shareOf({ capacity: 5, rateMicro: 3, versionUs: 1 }), {
    capacity: 1,
    rateMicro: 1,
    versionUs: 1,
  });
});

test('local shares start from the last known level of the bucket', () => {
  assert.equal(drain(makeLocal(), SEC_US, { ratio: 0.5, atUs: 0 }), 6);
  assert.equal(drain(makeLocal(), SEC_US, { ratio: 0, atUs: 0 }), 0);
});

test('local shares create no tokens when the store comes and goes', () => {
  const local = makeLocal();
  assert.equal(drain(local, 0, null), 12);
  // A report of a full bucket in between: the share keeps its level, plus the refill.
  assert.equal(drain(local, SEC_US / 10, { ratio: 1, atUs: 1 }), 1);
  // A report of an empty bucket: the share is empty too.
  assert.equal(drain(local, SEC_US, { ratio: 0, atUs: SEC_US - 1 }), 0);
});

test('local shares follow changed limits and a changed number of machines without extra tokens', () => {
  const local = makeLocal();
  assert.equal(drain(local, 0, null), 12);
  local.shares = 1;
  assert.equal(drain(local, 0, null), 0);
  assert.equal(local.take('bucket', { ...rules, rateMicro: 8_000 }, 1, null, 0).granted, 0);
});

test('the number of local shares is bounded', () => {
  const local = makeLocal(8, 10);
  for (let i = 0; i < 100; i++) local.take(`key-${i}`, rules, 1, null, i);
  assert.equal(local.size, 10);
});
