import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemClock } from '../../../src/contract/clock.ts';
import { bucketKey } from '../../../src/limit/bucket/bucket-key.ts';
import { MemoryBucketStore } from '../../../src/limit/store/memory-bucket-store.ts';
import { waitFor } from '../../support/wait.ts';
import {
  allowed,
  CALLER_NAME,
  callerOf,
  DECISIONS,
  makeLimiter,
  memoryStore,
  policyOf,
  ScriptedStore,
  STORE_CALLS,
  takeMany,
} from './limiter-lab.ts';

const caller = callerOf(CALLER_NAME);

test('the limiter sends one call for all takes of one turn of the event loop', async () => {
  const store = memoryStore();
  const { limiter, metric } = makeLimiter({ store });
  const decisions = await takeMany(limiter, 150);
  assert.equal(allowed(decisions), 100);
  assert.equal(store.batches.length, 1);
  assert.deepEqual([store.batches[0]?.length, store.batches[0]?.[0]?.need], [1, 150]);
  assert.equal(metric(DECISIONS, 'default', 'allowed', 'store'), 100);
  assert.equal(metric(DECISIONS, 'default', 'limited', 'store'), 50);
  assert.equal(metric(STORE_CALLS, 'ok'), 1);
});

test('the limiter reports the remaining tokens to each take as if they had come one by one', async () => {
  const { limiter } = makeLimiter({ store: memoryStore(), policies: [policyOf({ capacity: 3 })] });
  const decisions = await takeMany(limiter, 5);
  assert.deepEqual(
    decisions.map((decision) => [decision.allowed, decision.remaining]),
    [
      [true, 2],
      [true, 1],
      [true, 0],
      [false, 0],
      [false, 0],
    ],
  );
  const [first, , , refused] = decisions;
  assert.deepEqual([first?.capacity, first?.refillPerSecond, first?.policyName], [3, 0.001, 'default']);
  assert.equal(Math.ceil((refused?.retryAfterMs ?? 0) / 1000), 1000);
  assert.equal(refused?.resetMs, refused?.retryAfterMs);
});

test('the limiter has one take per bucket in flight; later ones share the next', async () => {
  const store = memoryStore();
  const answer = store.answer;
  const gate = Promise.withResolvers<void>();
  store.answer = async (takes) => {
    await gate.promise;
    return answer?.(takes) ?? [];
  };
  const { limiter } = makeLimiter({ store, timeoutMs: 2_000 });
  const first = takeMany(limiter, 3);
  await waitFor('the first batch', () => store.batches.length === 1);
  const second = takeMany(limiter, 4);
  const other = takeMany(limiter, 1, { caller: callerOf('198.51.100.1') });
  await waitFor('the other bucket’s batch', () => store.batches.length === 2);
  gate.resolve();
  await Promise.all([first, second, other]);
  assert.deepEqual(
    store.batches.map((batch) => batch.map((take) => take.need)),
    [[3], [1], [4]],
  );
});

test('the limiter splits the takes of one turn into calls of 128 buckets', async () => {
  const store = memoryStore();
  const { limiter } = makeLimiter({ store });
  const decisions = await Promise.all(
    Array.from({ length: 600 }, async (_, i) => limiter.take(callerOf(`caller-${i}`), policyOf(), 1)),
  );
  assert.equal(allowed(decisions), 600);
  assert.deepEqual(
    store.batches.map((batch) => batch.length),
    [128, 128, 128, 128, 88],
  );
});

test('the limiter answers from the deny cache, without a promise, while no token can exist', async () => {
  const store = memoryStore();
  const { limiter, metric } = makeLimiter({
    store,
    policies: [policyOf({ capacity: 1, refillPerSecond: 2 })],
  });
  await takeMany(limiter, 2);
  const callsBefore = store.batches.length;
  const untilMs = performance.now() + 100;
  let asked = 0;
  while (performance.now() < untilMs) {
    const decision = limiter.take(caller, policyOf(), 1);
    assert.ok(!(decision instanceof Promise));
    assert.deepEqual([decision.allowed, decision.source, decision.remaining], [false, 'deny_cache', 0]);
    assert.ok(decision.retryAfterMs > 0 && decision.retryAfterMs <= 500, `${decision.retryAfterMs} ms`);
    asked++;
  }
  assert.equal(store.batches.length, callsBefore);
  assert.equal(metric(DECISIONS, 'default', 'limited', 'deny_cache'), asked);
  await waitFor('the next token', async () => (await limiter.take(caller, policyOf(), 1)).allowed, {
    timeoutMs: 1_000,
    everyMs: 1,
  });
});

test('the limiter asks for an empty bucket again after at most a second, however long the next token takes', async () => {
  const store = memoryStore();
  const { limiter } = makeLimiter({ store, policies: [policyOf({ capacity: 1 })] });
  await takeMany(limiter, 2);
  const startMs = performance.now();
  await waitFor('another question', async () => {
    await limiter.take(caller, policyOf(), 1);
    return store.batches.length > 1;
  });
  const heldMs = performance.now() - startMs;
  assert.ok(heldMs > 900 && heldMs < 1_500, `${heldMs} ms`);
});

test('the limiter limits how often it asks for a bucket that refills quickly', async () => {
  const store = memoryStore();
  const policy = policyOf({ capacity: 20, refillPerSecond: 1_000 });
  const { limiter } = makeLimiter({ store, policies: [policy] });
  await takeMany(limiter, 40);
  const before = store.batches.length;
  const untilMs = performance.now() + 100;
  while (performance.now() < untilMs) await Promise.all([takeMany(limiter, 20), new Promise(setImmediate)]);
  // min(5 ms, C/4R = 5 ms): 20 pauses, some of them ended by a full grant that needs none.
  assert.ok(store.batches.length - before <= 45, `${store.batches.length - before} calls in 100 ms`);
});

test('the limiter admits everything under a shadow policy, and counts what it would have refused', async () => {
  const policy = policyOf({ capacity: 2, shadow: true });
  const { limiter, metric } = makeLimiter({ store: memoryStore(), policies: [policy] });
  const decisions = await takeMany(limiter, 5, { policy });
  assert.equal(allowed(decisions), 5);
  assert.deepEqual(
    decisions.map((decision) => [decision.shadowed, decision.retryAfterMs, decision.remaining]),
    [
      [false, 0, 1],
      [false, 0, 0],
      [true, 0, 0],
      [true, 0, 0],
      [true, 0, 0],
    ],
  );
  await limiter.take(caller, policy, 1);
  assert.equal(metric(DECISIONS, 'default', 'allowed', 'store'), 2);
  assert.equal(metric(DECISIONS, 'default', 'shadow', 'store'), 3);
  assert.equal(metric(DECISIONS, 'default', 'shadow', 'deny_cache'), 1);
});

test('the limiter refuses a cost above the capacity by one question, and then from the deny cache', async () => {
  const store = memoryStore();
  const { limiter } = makeLimiter({ store, policies: [policyOf({ capacity: 3 })] });
  for (const source of ['store', 'deny_cache', 'deny_cache']) {
    const decision = await limiter.take(caller, policyOf(), 4);
    assert.deepEqual([decision.allowed, decision.retryAfterMs, decision.remaining], [false, -1, 3]);
    assert.equal(decision.source, source);
  }
  assert.equal(store.batches.length, 1);
});

test('the limiter takes no tokens for a cost above the capacity', async () => {
  const store = memoryStore();
  const { limiter } = makeLimiter({ store, policies: [policyOf({ capacity: 3 })] });
  const costs = [4, 1, 5, 1];
  const decisions = await Promise.all(costs.map(async (cost) => limiter.take(caller, policyOf(), cost)));
  assert.deepEqual(
    decisions.map((decision) => decision.allowed),
    [false, true, false, true],
  );
  assert.equal(store.batches[0]?.[0]?.need, 2);
  assert.equal((await limiter.take(caller, policyOf(), 1)).allowed, true);
});

test('the limiter serves mixed costs in order, first fit', async () => {
  const { limiter } = makeLimiter({ store: memoryStore(), policies: [policyOf({ capacity: 10 })] });
  const costs = [4, 4, 4, 2, 1];
  const decisions = await Promise.all(costs.map(async (cost) => limiter.take(caller, policyOf(), cost)));
  assert.deepEqual(
    decisions.map((decision) => decision.allowed),
    [true, true, false, true, false],
  );
});

test('the limiter grants a single take all or nothing, so that no token is lost', async () => {
  const { limiter } = makeLimiter({ store: memoryStore(), policies: [policyOf({ capacity: 10 })] });
  await limiter.take(caller, policyOf(), 7);
  assert.equal((await limiter.take(caller, policyOf(), 5)).allowed, false);
  assert.equal((await limiter.take(caller, policyOf(), 3)).allowed, true);
});

test('the limiter uses the limits of a reply if they are newer', async () => {
  const store = memoryStore();
  const newer = makeLimiter({ store, policies: [policyOf({ capacity: 5 })], policyVersionUs: 2_000 });
  const older = makeLimiter({ store, policyVersionUs: 1_000 });
  await newer.limiter.take(caller, policyOf(), 1);
  const decision = await older.limiter.take(caller, policyOf(), 1);
  assert.deepEqual([decision.capacity, decision.remaining], [5, 3]);
});

test('the limiter clears the deny cache when the limits of the caller change', async () => {
  const { limiter } = makeLimiter({ store: memoryStore(), policies: [policyOf({ capacity: 1 })] });
  await takeMany(limiter, 2);
  assert.ok(!(limiter.take(caller, policyOf(), 1) instanceof Promise));
  const limits = { default: { capacity: 50, refillPerSecond: 1_000 } };
  const changed = callerOf('203.0.113.7', { limits, versionUs: 5_000 });
  assert.ok(limiter.take(changed, policyOf(), 1) instanceof Promise);
  await waitFor('a token at the new rate', async () => (await limiter.take(changed, policyOf(), 1)).allowed);
});

test('the limiter uses the limits of the last configure for requests of every plan', async () => {
  const store = memoryStore();
  const { limiter } = makeLimiter({ store });
  const old = policyOf();
  limiter.configure({ policies: [policyOf({ capacity: 7 })], leases: true }, 2_000);
  const decision = await limiter.take(caller, old, 1);
  assert.deepEqual([decision.capacity, store.batches[0]?.[0]?.versionUs], [7, 2_000]);
  // A removed policy still limits, with the oldest version.
  const gone = await limiter.take(caller, policyOf({ name: 'gone', capacity: 3 }), 1);
  assert.deepEqual([gone.capacity, store.batches[1]?.[0]?.versionUs], [3, 1]);
});

test('the limiter passes a returned token to a waiting take, once', async () => {
  const store = memoryStore();
  const answer = store.answer;
  const { limiter } = makeLimiter({ store, policies: [policyOf({ capacity: 3 })], timeoutMs: 2_000 });
  const first = await limiter.take(caller, policyOf(), 1);
  const gate = Promise.withResolvers<void>();
  store.answer = async (takes) => {
    await gate.promise;
    return answer?.(takes) ?? [];
  };
  const waiting = takeMany(limiter, 2);
  await waitFor('the second batch', () => store.batches.length === 2);
  const behind = takeMany(limiter, 2);
  limiter.giveBack(caller, policyOf(), first, 1);
  limiter.giveBack(caller, policyOf(), first, 1);
  gate.resolve();
  assert.equal(allowed(await waiting), 2);
  assert.deepEqual(
    (await behind).map((decision) => decision.allowed),
    [true, false],
  );
});

test('the limiter puts a returned token of the store back into the bucket if no take waits, once', async () => {
  const store = memoryStore();
  const { limiter } = makeLimiter({ store });
  const [first, second] = await takeMany(limiter, 3);
  assert.ok(first && second);
  for (const decision of [first, second, first]) limiter.giveBack(caller, policyOf(), decision, 1);
  await waitFor('the return', () => store.batches.length === 2);
  assert.deepEqual(
    store.batches[1]?.map(({ need, refund }) => [need, refund]),
    [[0, 2]],
  );
  assert.equal((await limiter.take(caller, policyOf(), 1)).remaining, 98);
});

test('the limiter returns tokens of the local share to it, and nothing that was not charged', async () => {
  const store = memoryStore();
  store.available = false;
  const { limiter } = makeLimiter({ store, workers: 50 });
  const [first, second, refused] = await takeMany(limiter, 3);
  assert.ok(first && second && refused);
  assert.deepEqual([second.allowed, refused.allowed], [true, false]);
  for (const decision of [first, first, refused]) limiter.giveBack(caller, policyOf(), decision, 1);
  assert.equal(allowed(await takeMany(limiter, 3)), 1);
  await limiter.close();
});

test('the limiter drops the deny cache and the local share of a refilled bucket', async () => {
  const buckets = [0, 1].map(() => memoryStore());
  const store = new ScriptedStore((takes) => buckets[0]?.answer?.(takes) ?? Promise.resolve([]));
  const { limiter } = makeLimiter({ store, workers: 1 });
  const other = callerOf('198.51.100.1');
  await Promise.all([takeMany(limiter, 101), takeMany(limiter, 101, { caller: other })]);
  const key = store.batches[0]?.[0]?.key ?? '';
  // Deletes the keys behind the worker's back.
  buckets.shift();
  assert.equal((await limiter.take(caller, policyOf(), 1)).source, 'deny_cache');
  limiter.resetBucket(key);
  assert.equal((await limiter.take(caller, policyOf(), 1)).allowed, true);
  assert.equal((await limiter.take(other, policyOf(), 1)).source, 'deny_cache');
  store.available = false;
  assert.equal(allowed(await takeMany(limiter, 100)), 99);
  limiter.resetBucket(key);
  assert.equal(allowed(await takeMany(limiter, 101)), 100, 'a share that nothing is known of');
  await limiter.close();
});

test('the limiter survives a store that throws, and decides all waiting takes when it closes', async () => {
  const store = new ScriptedStore(() => Promise.reject(new Error('a bug')));
  const { limiter } = makeLimiter({ store });
  assert.equal((await limiter.take(caller, policyOf(), 1)).source, 'local');
  store.answer = null;
  const waiting = takeMany(limiter, 3);
  await limiter.close();
  assert.ok((await waiting).every((decision) => decision.source === 'local'));
  const after = limiter.take(caller, policyOf(), 1);
  assert.ok(!(after instanceof Promise) && after.source === 'local');
});

test('the limiter remembers a bounded number of buckets', async () => {
  const store = memoryStore();
  const { limiter } = makeLimiter({ store, maxKeys: 100, policies: [policyOf({ capacity: 1 })] });
  for (let i = 0; i < 300; i++) await limiter.take(callerOf(`caller-${i}`), policyOf(), 1);
  // The limiter forgets the first ones, the store does not.
  const decision = limiter.take(callerOf('caller-0'), policyOf(), 1);
  assert.ok(decision instanceof Promise);
  assert.equal((await decision).allowed, false);
});

test('the limiter recreates an expired bucket with the newest limits that it has learned', async () => {
  const memory = new MemoryBucketStore(systemClock);
  const store = new ScriptedStore((takes) => memory.takeBatch(takes));
  const old = policyOf({ capacity: 1_000 });
  const { limiter } = makeLimiter({ store, policies: [old], policyVersionUs: 1_000 });
  const other = makeLimiter({ store, policies: [policyOf({ capacity: 100 })], policyVersionUs: 2_000 });
  assert.equal(allowed(await takeMany(other.limiter, 10)), 10);
  assert.equal(allowed(await takeMany(limiter, 1_000, { policy: old })), 90);
  // As a key that has expired.
  await memory.refill([bucketKey(caller.bucketHash, 'default')]);
  await waitFor('the deny cache to end', async () => {
    return (await takeMany(limiter, 1, { policy: old })).every(({ source }) => source === 'store');
  });
  assert.equal(allowed(await takeMany(limiter, 1_000, { policy: old })), 99);
  await Promise.all([limiter.close(), other.limiter.close()]);
});

test('the limiter keeps its newer limits when an earlier reply still contains older ones', async () => {
  const gate = Promise.withResolvers<void>();
  const working = memoryStore().answer;
  const store = new ScriptedStore(async (takes) => {
    const replies = (await working?.(takes)) ?? [];
    await gate.promise;
    return replies;
  });
  const { limiter } = makeLimiter({ store, timeoutMs: 2_000 });
  const waiting = takeMany(limiter, 1);
  await waitFor('the take to leave', () => store.batches.length === 1);
  limiter.configure({ policies: [policyOf({ capacity: 10 })], leases: true }, 2_000);
  limiter.peek(caller, policyOf());
  gate.resolve();
  await waiting;
  assert.equal(limiter.peek(caller, policyOf()).capacity, 10);
  await limiter.close();
});
