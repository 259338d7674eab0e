import assert from 'node:assert/strict';
import { test } from 'node:test';
import { allow, refuse, refuseUnchecked } from '../../src/limit/decision.ts';

const RULES = { capacity: 100, rateMicro: 10_000_000, versionUs: 1 };
const LIMITS = { ...RULES, refillPerSecond: 10 };
const bucketOf = (shadow = false) => ({ policy: { settings: { name: 'p', shadow } }, limits: LIMITS });
const levelOf = (tokens: number, rules = RULES) => ({ micro: tokens * 1_000_000, rules });

test('an admitted request is told the time until the bucket is full, or until the next token if none is left', () => {
  const some = allow(bucketOf(), 'store', levelOf(40.5));
  assert.deepEqual([some.allowed, some.remaining, some.resetMs, some.retryAfterMs], [true, 40, 5_950, 0]);
  const none = allow(bucketOf(), 'store', levelOf(0.5));
  assert.deepEqual([none.remaining, none.resetMs], [0, 50]);
});

test('a refused request is told when its tokens can be there, and that a cost above the capacity never passes', () => {
  const missing = refuse(bucketOf(), 'store', levelOf(1), 3);
  assert.deepEqual([missing.allowed, missing.retryAfterMs, missing.resetMs], [false, 200, 200]);
  assert.equal(
    refuse(bucketOf(), 'deny_cache', levelOf(1), 3, 700).retryAfterMs,
    700,
    'the deny cache knows better',
  );
  assert.equal(refuse(bucketOf(), 'store', levelOf(3), 3).retryAfterMs, 1, 'never 0, which means allowed');
  assert.equal(refuse(bucketOf(), 'store', levelOf(1), 101).retryAfterMs, -1);
});

test('a cost above the local share but not above the bucket may be tried again when the store may be back', () => {
  const share = { ...RULES, capacity: 12 };
  assert.equal(refuse(bucketOf(), 'local', levelOf(12, share), 13).retryAfterMs, 1_000);
  const unchecked = refuseUnchecked(bucketOf(), levelOf(12, share));
  assert.deepEqual([unchecked.allowed, unchecked.storeDenied, unchecked.retryAfterMs], [false, true, 1_000]);
});

test('a shadow policy refuses nothing, and says that it would have', () => {
  const refused = refuse(bucketOf(true), 'store', levelOf(1), 3);
  assert.deepEqual(
    [refused.allowed, refused.shadowed, refused.retryAfterMs, refused.charged],
    [true, true, 0, false],
  );
  const unchecked = refuseUnchecked(bucketOf(true), levelOf(1));
  assert.deepEqual([unchecked.allowed, unchecked.storeDenied], [true, false]);
  assert.equal(allow(bucketOf(true), 'store', levelOf(1)).shadowed, false);
});
