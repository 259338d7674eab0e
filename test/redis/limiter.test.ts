import assert from 'node:assert/strict';
import { test } from 'node:test';
import { peekBuckets } from '../../src/limit/bucket/bucket-peek.ts';
import { charge } from '../../src/limit/charge.ts';
import { allowed, callerOf, policyOf, takeMany } from '../limit/limiter/limiter-lab.ts';
import { startRedis } from '../support/redis.ts';
import { waitFor } from '../support/wait.ts';
import { makeFleet, PATIENT_MS, startFleet } from './limiter-fleet.ts';
import { OneRedis } from './one-redis.ts';

const policy = policyOf();

const redis = new OneRedis();

test('B30: limiters that share a Redis admit exactly 100 of 2,000 concurrent takes over 8 workers from a bucket of 100', async (t) => {
  const fleet = await redis.fleetOf(t, 8);
  for (let round = 1; round <= 5; round++) {
    await redis.admin.flushdb();
    await redis.admin.config('RESETSTAT');
    const caller = callerOf(`round-${round}`);
    const decisions = (
      await Promise.all(fleet.workers.map(({ limiter }) => takeMany(limiter, 250, { caller, policy })))
    ).flat();
    assert.equal(allowed(decisions), 100, `round ${round}`);
    assert.equal(decisions.filter((decision) => decision.source === 'local').length, 0);
    const calls = await redis.scriptCalls();
    assert.ok(calls <= 8, `${calls} script calls for 2,000 takes`);
  }
});

test('B30: limiters that share a Redis admit no more than capacity + rate × time + 1 while the bucket refills', async (t) => {
  const refilling = policyOf({ capacity: 20, refillPerSecond: 200 });
  const fleet = await redis.fleetOf(t, 4, { policies: [refilling] });
  const caller = callerOf('203.0.113.7');
  const admittedMs: number[] = [];
  const endMs = performance.now() + 500;
  await Promise.all(
    fleet.workers.map(async ({ limiter }) => {
      while (performance.now() < endMs) {
        const decision = await limiter.take(caller, refilling, 1);
        assert.notEqual(decision.source, 'local');
        if (decision.allowed) admittedMs.push(performance.now());
        await new Promise(setImmediate);
      }
    }),
  );
  // An ideal bucket with debt: the deepest debt is the largest excess of any window.
  let level = 20;
  let deepest = 0;
  let beforeMs = admittedMs[0] ?? 0;
  for (const atMs of admittedMs.sort((a, b) => a - b)) {
    level = Math.min(20, level + ((atMs - beforeMs) * 200) / 1000) - 1;
    beforeMs = atMs;
    deepest = Math.min(deepest, level);
  }
  // The client sees replies late and unevenly, so up to the refill of one deadline comes on top of the one token.
  assert.ok(deepest >= -(1 + 0.02 * 200), `over by ${-deepest}`);
  assert.ok(admittedMs.length >= 60, `only ${admittedMs.length} admitted of about 120`);
});

test('B30: limiters that share a Redis charge the policies of a list together or not at all, exactly, over all workers', async (t) => {
  const perSecond = policyOf({ name: 'second', capacity: 30 });
  const perDay = policyOf({ name: 'day', capacity: 1_000 });
  const fleet = await redis.fleetOf(t, 8, { policies: [perSecond, perDay] });
  const admitted: number[] = [];
  const sources: string[] = [];
  const [first] = fleet.workers;
  assert.ok(first);
  let round = 0;
  // More than one try: tokens returned later than an epoch are lost, and a busy machine may be that slow.
  await waitFor('what refused requests took from the day to be back', async () => {
    const caller = callerOf(`round-${++round}`);
    const decisions = await Promise.all(
      fleet.workers.flatMap(({ limiter }) =>
        Array.from({ length: 15 }, async () =>
          charge(limiter, caller, { policies: [perSecond, perDay], cost: 3 }),
        ),
      ),
    );
    admitted.push(allowed(decisions));
    sources.push(...decisions.flatMap(({ members }) => members?.map(({ source }) => source) ?? []));
    const isBack = async () => {
      const [day] = await peekBuckets(first.store, caller.match, [perDay], 1_000);
      return Math.floor(day?.level ?? 0) === 970;
    };
    return await waitFor('the level', isBack, { timeoutMs: 500 });
  });
  assert.deepEqual(new Set(admitted), new Set([10]));
  assert.ok(sources.length > 0 && !sources.includes('local'));
});

test('limiters that share a Redis keep floods of refused requests from calling it', async (t) => {
  const fleet = await redis.fleetOf(t, 2);
  const caller = callerOf('203.0.113.7');
  await Promise.all(fleet.workers.map(({ limiter }) => takeMany(limiter, 200, { caller, policy })));
  await redis.admin.config('RESETSTAT');
  for (let i = 0; i < 200; i++) {
    await Promise.all(fleet.workers.map(({ limiter }) => takeMany(limiter, 25, { caller, policy })));
  }
  assert.ok((await redis.scriptCalls()) <= 4, 'at most one question a second and worker');
});

for (const { workers, refillPerSecond } of [
  { workers: 1, refillPerSecond: 10 },
  { workers: 1, refillPerSecond: 100 },
  { workers: 4, refillPerSecond: 10 },
  { workers: 4, refillPerSecond: 100 },
]) {
  test(`limiters that share a Redis call it at most twice per worker and token: ${workers} workers, ${refillPerSecond}/s`, async (t) => {
    const flooded = policyOf({ capacity: 10, refillPerSecond });
    const fleet = await redis.fleetOf(t, workers, { policies: [flooded] });
    const caller = callerOf('203.0.113.7');
    const floodOnce = async () => {
      await Promise.all(
        fleet.workers.map(({ limiter }) => takeMany(limiter, 10, { caller, policy: flooded })),
      );
      await new Promise(setImmediate);
    };
    await floodOnce();
    await redis.admin.config('RESETSTAT');
    const startMs = performance.now();
    while (performance.now() < startMs + 500) await floodOnce();
    const calls = await redis.scriptCalls();
    const tokens = ((performance.now() - startMs) / 1_000) * refillPerSecond;
    assert.ok(calls <= 2 * workers * (tokens + 1), `${calls} calls for ${tokens.toFixed(1)} tokens`);
  });
}

test('limiters that share a Redis store only documented keys', async (t) => {
  const fleet = await redis.fleetOf(t, 1, { policies: [policyOf({ name: 'a{b}:c' })] });
  const spoof = callerOf('x}:default');
  await fleet.workers[0]?.limiter.take(spoof, policyOf({ name: 'a{b}:c' }), 1);
  const keys = await redis.admin.keys('*');
  assert.equal(keys.length, 1);
  assert.match(keys[0] ?? '', /^sluice:rl1:\{[A-Za-z0-9_-]{22}\}:a%007bb%007d%003ac$/);
  assert.ok((await redis.admin.pttl(keys[0] ?? '')) > 0);
});

test('limiters that share a Redis agree on the limits of a client that is created, changed and deleted, whichever learns of it first', async (t) => {
  const fleet = await redis.fleetOf(t, 2);
  const [first, second] = fleet.workers;
  assert.ok(first && second);
  const own = (capacity: number) => ({ default: { capacity, refillPerSecond: 0.001 } });
  const name = 'acme';
  const anonymous = callerOf(name);
  const created = callerOf(name, { limits: own(10), versionUs: 2_000 });
  const changed = callerOf(name, { limits: own(50), versionUs: 3_000 });
  const deleted = callerOf(name, null, 4_000);
  const capacityAt = async (lab: typeof first, caller: typeof anonymous) =>
    (await lab.limiter.take(caller, policy, 1)).capacity;
  assert.equal(await capacityAt(first, anonymous), 100);
  assert.equal(await capacityAt(second, created), 10);
  assert.equal(await capacityAt(first, anonymous), 10, 'a worker with the old limits learns the new ones');
  assert.equal(await capacityAt(first, created), 10);
  assert.equal(await capacityAt(first, changed), 50);
  assert.equal(await capacityAt(second, created), 50);
  const after = await second.limiter.take(deleted, policy, 1);
  assert.equal(after.capacity, 100);
  assert.ok(after.remaining < 10, `${after.remaining} left: growth is no gift`);
  assert.equal(await capacityAt(first, changed), 100, 'old own limits do not come back');
});

test('limiters that share a Redis use the newest file if two machines have different ones', async (t) => {
  const old = await redis.fleetOf(t, 1, { policies: [policyOf({ capacity: 40 })], policyVersionUs: 1_000 });
  const young = await startFleet(t, redis.url, 1, {
    policies: [policyOf({ capacity: 30 })],
    policyVersionUs: 2_000,
    timeoutMs: PATIENT_MS,
  });
  const caller = callerOf('203.0.113.7');
  const capacities = [];
  for (let i = 0; i < 3; i++) {
    for (const fleet of [old, young]) {
      capacities.push((await fleet.workers[0]?.limiter.take(caller, policy, 1))?.capacity);
    }
  }
  assert.deepEqual(capacities, [40, 30, 30, 30, 30, 30]);
});

test('limiters that share a Redis survive a SCRIPT FLUSH and take each token once', async (t) => {
  const fleet = await redis.fleetOf(t, 4);
  const takes = [];
  for (let i = 0; i < 30; i++) {
    const caller = callerOf(`caller-${i % 3}`);
    takes.push(...fleet.workers.map(({ limiter }) => takeMany(limiter, 20, { caller, policy })));
    if (i % 5 === 0) await redis.admin.script('FLUSH');
    await new Promise(setImmediate);
  }
  const decisions = (await Promise.all(takes)).flat();
  assert.equal(allowed(decisions), 300);
  assert.ok(decisions.every((decision) => decision.source !== 'local'));
});

test('limiters that share a Redis use the local share only for the bucket whose key has another type', async (t) => {
  const fleet = await redis.fleetOf(t, 1);
  const limiter = fleet.workers[0]?.limiter;
  assert.ok(limiter);
  await limiter.take(callerOf('broken'), policy, 1);
  const [key] = await redis.admin.keys('*');
  await redis.admin.del(key ?? '');
  await redis.admin.rpush(key ?? '', 'x');
  const [broken, sound] = await Promise.all(
    ['broken', 'sound'].map(async (name) => limiter.take(callerOf(name), policy, 1)),
  );
  assert.deepEqual([broken?.source, sound?.source], ['local', 'store']);
  assert.equal(limiter.breakerOpen, false);
});

test('limiters that share a Redis connect with a password, and decide locally with a wrong one', async (t) => {
  const locked = await startRedis({ password: 'p@ss/word' });
  t.after(() => locked.stop());
  const fleet = await startFleet(t, locked.url, 1, { timeoutMs: PATIENT_MS });
  assert.equal((await fleet.workers[0]?.limiter.take(callerOf('a'), policy, 1))?.source, 'store');
  const wrong = makeFleet(`redis://:nope@127.0.0.1:${locked.port}`, 1);
  t.after(() => wrong.close());
  const lab = wrong.workers[0];
  assert.ok(lab);
  const decision = await waitFor('a decision', () => lab.limiter.take(callerOf('a'), policy, 1));
  assert.equal(decision.source, 'local');
});
