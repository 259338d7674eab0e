import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LbError } from '../../../src/contract/errors.ts';
import { slotOfTag } from '../../../src/infra/redis/cluster-slot.ts';
import { hashOf } from '../../../src/limit/bucket/bucket-key.ts';
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
  TIMEOUT_MS,
  takeMany,
} from './limiter-lab.ts';

const caller = callerOf(CALLER_NAME);

test('when the store fails the limiter decides by the local share and logs one line; a success closes the breaker', async () => {
  const store = memoryStore();
  const working = store.answer;
  store.answer = (takes) => Promise.resolve(takes.map(() => new LbError('store_unavailable', 'broken')));
  const { limiter, log, metric } = makeLimiter({ store, workers: 4, instances: 2 });
  const decisions = [];
  for (let i = 0; i < 20; i++) decisions.push(await limiter.take(caller, policyOf(), 1));
  assert.equal(allowed(decisions), 12, '100 tokens for 8 workers');
  assert.ok(decisions.every((decision) => decision.source === 'local' && decision.capacity === 100));
  assert.equal(limiter.breakerOpen, true);
  assert.equal(store.batches.length, 5);
  assert.ok(!(limiter.take(caller, policyOf(), 1) instanceof Promise), 'nobody waits while it is open');
  assert.equal(metric(STORE_CALLS, 'error'), 5);
  assert.equal(metric(STORE_CALLS, 'skipped'), 16);
  assert.equal(metric(DECISIONS, 'default', 'limited', 'local'), 9);
  store.answer = working;
  await waitFor('the breaker to close', () => !limiter.breakerOpen, { timeoutMs: 2_000 });
  assert.equal((await limiter.take(caller, policyOf(), 1)).source, 'store');
  assert.deepEqual(
    log.map((line) => line.level),
    ['warn', 'info'],
  );
  await limiter.close();
});

test('no take waits past the deadline for a silent store', async () => {
  const store = new ScriptedStore(null);
  const { limiter } = makeLimiter({ store });
  const startMs = performance.now();
  const decisions = await takeMany(limiter, 50);
  const waitedMs = performance.now() - startMs;
  assert.ok(waitedMs >= TIMEOUT_MS && waitedMs < TIMEOUT_MS + 500, `${waitedMs} ms`);
  assert.ok(decisions.every((decision) => decision.source === 'local'));
  await limiter.close();
});

test('the limiter decides locally at once when the store reports that it is away, and before the first connection', () => {
  const store = new ScriptedStore(null);
  store.available = false;
  const { limiter, log } = makeLimiter({ store });
  const decision = limiter.take(caller, policyOf(), 1);
  assert.ok(!(decision instanceof Promise));
  assert.deepEqual([decision.allowed, decision.source], [true, 'local']);
  assert.equal(store.batches.length, 0);
  assert.equal(log.length, 1);
  return limiter.close();
});

test('the limiter starts the local share from the level that it knew', async () => {
  const store = memoryStore();
  const { limiter } = makeLimiter({ store, workers: 10 });
  assert.equal(allowed(await takeMany(limiter, 50)), 50);
  store.available = false;
  assert.equal(allowed(await takeMany(limiter, 50)), 5, 'half of a tenth of 100');
  await limiter.close();
});

test('B30: the limiter admits what the bucket holds, however many takes wait at once', async () => {
  const { limiter } = makeLimiter({ store: memoryStore(), workers: 1 });
  const decisions = await takeMany(limiter, 20_000);
  assert.equal(allowed(decisions), 100);
  assert.ok(decisions.every((decision) => decision.source === 'store'));
  await limiter.close();
});

test('the number of waiting takes is bounded; further ones are decided by the local share', async () => {
  const store = new ScriptedStore(null);
  const { limiter } = makeLimiter({ store, workers: 1, policies: [policyOf({ capacity: 100_000 })] });
  const answers = Array.from({ length: 66_000 }, () => limiter.take(caller, policyOf(), 1));
  assert.equal(answers.filter((answer) => answer instanceof Promise).length, 65_536);
  await limiter.close();
  await Promise.all(answers);
});

test('the limiter probes Redis once a second, so that an outage is noticed without traffic', async () => {
  const store = new ScriptedStore(memoryStore().answer);
  const { limiter } = makeLimiter({ store: Object.assign(store, { kind: 'redis' as const }) });
  await waitFor('a first question', () => store.batches.length === 1);
  assert.equal(limiter.breakerOpen, false);
  store.available = false;
  assert.equal(limiter.breakerOpen, true);
  store.available = true;
  store.answer = () => Promise.reject(new Error('OOM'));
  await waitFor('five failures in a row', () => limiter.breakerOpen);
  store.answer = memoryStore().answer;
  await waitFor('the breaker to close', () => !limiter.breakerOpen, { timeoutMs: 2_000 });
  await limiter.close();
});

test('B32: a replacement worker begins with empty shares while the store is away, and with normal ones after its first reply', async () => {
  const clock = { nowMs: 1_000, monotonicMs: () => clock.nowMs, wallMs: () => clock.nowMs };
  const store = memoryStore();
  store.available = false;
  const policy = policyOf({ refillPerSecond: 8 });
  const { limiter } = makeLimiter({ store, clock, policies: [policy], workers: 4, replacement: true });
  const other = makeLimiter({ store, clock, policies: [policy], workers: 4 });
  assert.equal(
    allowed(await takeMany(other.limiter, 50, { policy })),
    25,
    'a share of a first worker is full',
  );
  assert.equal(allowed(await takeMany(limiter, 50, { policy })), 0);
  clock.nowMs += 1_000;
  assert.equal(allowed(await takeMany(limiter, 50, { policy })), 2, 'a quarter of 8 per second');
  const late = callerOf('198.51.100.1');
  assert.equal(allowed(await takeMany(limiter, 50, { policy, caller: late })), 2, 'since the worker began');
  store.available = true;
  await waitFor('the store to be heard', () => !limiter.breakerOpen, { timeoutMs: 2_000 });
  store.available = false;
  const unknown = callerOf('198.51.100.2');
  assert.equal(allowed(await takeMany(limiter, 50, { policy, caller: unknown })), 25);
  await Promise.all([limiter.close(), other.limiter.close()]);
});

test('B32: a replacement worker that hears one server of a Cluster begins with empty shares for the buckets of another', async () => {
  const answer = memoryStore().answer;
  const isAway = ({ bucketHash }: ReturnType<typeof callerOf>) => slotOfTag(bucketHash) % 2 === 0;
  const serverOf = (slot: number) => (slot % 2 === 0 ? 'away' : 'there');
  const cluster = {
    serverOf,
    isReady: (server: string) => server === 'there',
    servers: () => ['there', 'away'],
  };
  const store = Object.assign(new ScriptedStore(answer), { cluster });
  const policy = policyOf();
  const { limiter } = makeLimiter({ store, workers: 4, replacement: true });
  const callers = Array.from({ length: 20 }, (_, i) => callerOf(`caller-${i}`));
  const heard = callers.find((each) => !isAway(each)) ?? assert.fail();
  const unheard = callers.find(isAway) ?? assert.fail();
  assert.equal((await limiter.take(heard, policy, 1)).source, 'store');
  assert.equal(allowed(await takeMany(limiter, 50, { policy, caller: unheard })), 0);
  await limiter.close();
});

test('one call without a reply does not open the breaker if the store has answered another one meanwhile', async () => {
  const working = memoryStore().answer;
  const store = new ScriptedStore((takes) =>
    takes[0]?.key.includes(caller.bucketHash)
      ? new Promise(() => undefined)
      : (working?.(takes) ?? assert.fail()),
  );
  const { limiter, metric } = makeLimiter({ store, timeoutMs: 200 });
  const stuck = limiter.take(caller, policyOf(), 1);
  await waitFor('the first call', () => store.batches.length === 1);
  assert.equal((await limiter.take(callerOf('another'), policyOf(), 1)).source, 'store');
  assert.equal((await stuck).source, 'local');
  await waitFor('the end of the first call', () => metric(STORE_CALLS, 'timeout') === 1);
  assert.equal(limiter.breakerOpen, false);
  await limiter.close();
});

test('B32: an unreadable bucket is decided locally, and all others by the store', async () => {
  const working = memoryStore().answer;
  const store = new ScriptedStore(async (takes) => {
    const replies = (await working?.(takes)) ?? [];
    const unreadable = new LbError('bucket_unreadable', 'a list');
    return replies.map((reply, i) => (takes[i]?.key.includes(caller.bucketHash) ? unreadable : reply));
  });
  const { limiter, log } = makeLimiter({ store });
  for (let i = 0; i < 20; i++) assert.equal((await limiter.take(caller, policyOf(), 1)).source, 'local');
  assert.equal(limiter.breakerOpen, false);
  assert.equal((await limiter.take(callerOf('another'), policyOf(), 1)).source, 'store');
  assert.deepEqual(log, []);
  await limiter.close();
});

test('after an error inside a reply no take waits for ever', async () => {
  const working = memoryStore().answer;
  const store = new ScriptedStore(async (takes) => {
    const replies = (await working?.(takes)) ?? [];
    // From a store that violates its contract.
    Object.defineProperty(replies[0], 'levelMicro', { get: () => assert.fail('broken') });
    return replies;
  });
  const { limiter, log } = makeLimiter({ store });
  const names = ['first', 'second'];
  const ask = () => Promise.all(names.map(async (name) => limiter.take(callerOf(name), policyOf(), 1)));
  const sources = (await ask()).map(({ source }) => source);
  assert.deepEqual(sources, ['local', 'store'], 'the first by its deadline');
  assert.deepEqual(
    log.map(({ level }) => level),
    ['error'],
  );
  store.answer = working;
  assert.deepEqual(
    (await ask()).map(({ source }) => source),
    ['store', 'store'],
  );
  await limiter.close();
});

test('B32: each server of a Cluster has its own breaker: only the buckets of a failing one are decided locally', async () => {
  const working = memoryStore().answer;
  const serverOf = (slot: number): string => (slot % 2 === 0 ? 'even' : 'odd');
  const slotOf = (key: string) => slotOfTag(hashOf(key));
  let owners = serverOf;
  let isFrozen = true;
  const cluster = {
    serverOf: (slot: number) => owners(slot),
    isReady: () => true,
    servers: () => ['even', 'odd'],
  };
  const store = new ScriptedStore(async (takes) => {
    const slots = new Set(takes.map(({ key }) => slotOf(key)));
    assert.equal(slots.size, 1, 'a call holds buckets of one slot');
    const frozen = isFrozen && owners([...slots][0] ?? 0) === 'even';
    if (frozen) return takes.map(() => new LbError('store_timeout', 'frozen'));
    return (await working?.(takes)) ?? [];
  });
  const { limiter, log } = makeLimiter({ store: Object.assign(store, { cluster }) });
  const callers = Array.from({ length: 40 }, (_, i) => callerOf(`caller-${i}`));
  const ask = () => Promise.all(callers.map(async (who) => limiter.take(who, policyOf(), 1)));
  for (let round = 0; round < 10; round++) {
    for (const [i, { source }] of (await ask()).entries()) {
      const frozen = serverOf(slotOfTag(callers[i]?.bucketHash ?? '')) === 'even';
      assert.equal(source, frozen ? 'local' : 'store');
    }
  }
  assert.deepEqual(
    log.map(({ level }) => level),
    ['warn'],
  );
  assert.equal(limiter.breakerOpen, true);
  // Its slots move to the other server.
  owners = () => 'odd';
  assert.ok((await ask()).every(({ source }) => source === 'store'));
  await waitFor('the server without slots to be forgotten', () => !limiter.breakerOpen, {
    timeoutMs: 2_000,
  });
  isFrozen = false;
  await limiter.close();
});

for (const [onStoreFailure, answer] of [
  ['allow', [true, false, false, 0]],
  ['deny', [false, true, false, 1_000]],
] as const) {
  test(`while the store is away the limiter follows the policy: ${onStoreFailure}`, async () => {
    const store = new ScriptedStore((takes) => Promise.resolve(takes.map(() => new Error('broken'))));
    const policy = policyOf({ onStoreFailure });
    const { limiter, metric } = makeLimiter({ store, policies: [policy] });
    const decisions = await takeMany(limiter, 500, { policy });
    store.available = false;
    decisions.push(await limiter.take(caller, policy, 1));
    for (const { allowed, storeDenied, charged, retryAfterMs, source } of decisions) {
      assert.deepEqual([allowed, storeDenied, charged, retryAfterMs], answer);
      assert.equal(source, 'local');
    }
    const result = onStoreFailure === 'allow' ? 'allowed' : 'refused';
    assert.equal(metric(DECISIONS, 'default', result, 'local'), 501);
    await limiter.close();
  });
}
