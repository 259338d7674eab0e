import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LbError } from '../../../src/contract/errors.ts';
import { bucketKeysOf, peekBuckets } from '../../../src/limit/bucket/bucket-peek.ts';
import { PLAIN_TAKE } from '../../../src/limit/store/bucket-store.ts';
import { MemoryBucketStore } from '../../../src/limit/store/memory-bucket-store.ts';
import { callerOf, makeLimiter, policyOf, ScriptedStore, takeMany } from '../limiter/limiter-lab.ts';

const policies = [
  policyOf({ capacity: 3 }),
  policyOf({ name: 'search', capacity: 10, refillPerSecond: 100 / 60 }),
];

test('peekBuckets shows the live level of each policy’s bucket and takes nothing', async () => {
  const clock = { nowMs: 0, monotonicMs: () => clock.nowMs };
  const store = new MemoryBucketStore(clock);
  const { limiter } = makeLimiter({ store, policies, policyVersionUs: 1_000 });
  const caller = callerOf('203.0.113.7');
  await takeMany(limiter, 3, { caller });
  for (let i = 0; i < 3; i++) {
    assert.deepEqual(await peekBuckets(store, caller.match, policies, 1_000), [
      { policy: 'default', level: 0, capacity: 3, refillPerSecond: 0.001, nextTokenMs: 1_000_000 },
      { policy: 'search', level: 10, capacity: 10, refillPerSecond: 100 / 60, nextTokenMs: 0 },
    ]);
  }
  clock.nowMs = 500_000;
  const [later] = await peekBuckets(store, caller.match, policies, 1_000);
  assert.deepEqual([later?.level, later?.nextTokenMs], [0.5, 500_000]);
});

test('peekBuckets shows a bucket under new limits as the next take would find it, and does not apply them', async () => {
  const clock = { nowMs: 0, monotonicMs: () => clock.nowMs };
  const store = new MemoryBucketStore(clock);
  const { limiter } = makeLimiter({
    store,
    policies: [policyOf({ capacity: 30 })],
    policyVersionUs: 1_000,
  });
  const caller = callerOf('203.0.113.7');
  await takeMany(limiter, 10, { caller });
  const [key = ''] = bucketKeysOf('203.0.113.7', policies);
  const limits = { capacity: 30, rateMicro: 1_000, versionUs: 1_000 };
  const request = { key, ...limits, need: 0, partial: true, ...PLAIN_TAKE };
  const before = store.take(request);
  for (const [versionUs, capacity, level] of [
    [2_000, 40, 20],
    [2_000, 5, 5],
    [1_000, 5, 5],
    [999, 5, 20],
    [1_000, 40, 20],
  ] as const) {
    const [view] = await peekBuckets(
      store,
      caller.match,
      [policyOf({ capacity, refillPerSecond: 2 })],
      versionUs,
    );
    assert.deepEqual(
      [view?.level, view?.capacity, view?.refillPerSecond],
      level === 20 && versionUs < 2_000 ? [20, 30, 0.001] : [level, capacity, 2],
    );
    assert.deepEqual(store.take(request), before, `after a look with version ${versionUs}`);
  }
});

test('peekBuckets shows a client’s own limits', async () => {
  const store = new ScriptedStore(null);
  const memory = new MemoryBucketStore({ monotonicMs: () => 0 });
  store.answer = (takes) => memory.takeBatch(takes);
  const client = callerOf('acme', {
    limits: { search: { capacity: 7, refillPerSecond: 2 } },
    versionUs: 9,
  });
  const [, search] = await peekBuckets(store, client.match, policies, 1_000);
  assert.deepEqual([search?.capacity, search?.refillPerSecond, search?.level], [7, 2, 7]);
});

test('peekBuckets fails when the store fails', async () => {
  const error = new LbError('store_unavailable', 'away');
  const store = new ScriptedStore((takes) => Promise.resolve(takes.map(() => error)));
  await assert.rejects(peekBuckets(store, callerOf('acme').match, policies, 1), error);
});
