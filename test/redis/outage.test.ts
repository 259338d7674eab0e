import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { allowed, callerOf, policyOf, TIMEOUT_MS } from '../limit/limiter-lab.ts';
import { type RedisServer, startRedis } from '../support/redis.ts';
import { waitFor } from '../support/wait.ts';
import { type Fleet, makeFleet } from './limiter-fleet.ts';

/** Behaviour 32, beside which only the lateness of our own loop counts. */
const SLACK_MS = 5;
const RECOVERY_MS = 5_000;
/** Of the sampler of our own loop's lateness. */
const SAMPLE_MS = 2;
const policy = policyOf({ capacity: 1_000, refillPerSecond: 0.001 });
const FLEET_SIZE = 4;

async function setup(t: TestContext): Promise<{ server: RedisServer; fleet: Fleet }> {
  const server = await startRedis();
  t.after(() => server.stop());
  const fleet = makeFleet(server.url, FLEET_SIZE, { policies: [policy] });
  t.after(() => fleet.close());
  await fleet.ready();
  for (const { limiter } of fleet.workers) await limiter.take(callerOf('warm-up'), policy, 1);
  return { server, fleet };
}

/** Takes one by one until told to stop, and remembers how long each waited, the lateness of the loop apart. */
function startTraffic(fleet: Fleet) {
  const waitsMs: number[] = [];
  const sources = new Set<string>();
  /** Takes while the breaker was open that had to wait, or had their answer at once. */
  const waited = { count: 0 };
  const unhindered = { count: 0 };
  let running = true;
  let lateMs = 0;
  let expectedMs = performance.now() + SAMPLE_MS;
  const sampler = setInterval(() => {
    lateMs += Math.max(0, performance.now() - expectedMs);
    expectedMs = performance.now() + SAMPLE_MS;
  }, SAMPLE_MS);
  const done = Promise.all(
    fleet.workers.map(async ({ limiter }, worker) => {
      for (let i = 0; running; i++) {
        const startMs = performance.now();
        const lateBeforeMs = lateMs;
        const open = limiter.breakerOpen;
        const answer = limiter.take(callerOf(`caller-${worker}-${i % 50}`), policy, 1);
        if (open) (answer instanceof Promise ? waited : unhindered).count++;
        const decision = await answer;
        const nowMs = performance.now();
        const stillLateMs = Math.max(0, nowMs - expectedMs);
        waitsMs.push(nowMs - startMs - (lateMs - lateBeforeMs) - stillLateMs);
        sources.add(decision.source);
        assert.ok(decision.allowed || decision.retryAfterMs > 0);
        await new Promise(setImmediate);
      }
    }),
  );
  return {
    waitsMs,
    sources,
    waited,
    unhindered,
    async stop() {
      running = false;
      clearInterval(sampler);
      await done;
    },
  };
}

function metricSum(fleet: Fleet, name: string, ...labels: string[]): number {
  return fleet.workers.reduce((sum, { metric }) => sum + metric(name, ...labels), 0);
}

async function recovered(fleet: Fleet): Promise<void> {
  await waitFor(
    'all workers to use the store again',
    async () => {
      const decisions = await Promise.all(
        fleet.workers.map(async ({ limiter }, worker) =>
          limiter.take(callerOf(`after-${worker}`), policy, 1),
        ),
      );
      return decisions.every((decision) => decision.source === 'store');
    },
    { timeoutMs: RECOVERY_MS, everyMs: 20 },
  );
}

async function proveOutage(
  t: TestContext,
  breakIt: (server: RedisServer) => void,
  mend: (server: RedisServer) => unknown,
) {
  const { server, fleet } = await setup(t);
  const traffic = startTraffic(fleet);
  try {
    await waitFor('some traffic', () => traffic.waitsMs.length > 100);
    breakIt(server);
    await waitFor('every breaker to open', () => fleet.workers.every(({ limiter }) => limiter.breakerOpen), {
      timeoutMs: 3_000,
    });
    await waitFor('traffic without the store', () => traffic.unhindered.count > 500);
    assert.equal(traffic.waited.count, 0, 'an open breaker, its probes included, holds nobody');
    assert.ok(traffic.sources.has('local'));
    assert.equal(metricSum(fleet, 'sluice_ratelimit_breaker_open'), FLEET_SIZE);
    assert.ok(metricSum(fleet, 'sluice_ratelimit_store_calls_total', 'skipped') > 0);
    await mend(server);
    await recovered(fleet);
  } finally {
    await traffic.stop();
  }
  const longestMs = Math.max(...traffic.waitsMs);
  assert.ok(longestMs <= TIMEOUT_MS + SLACK_MS, `a take waited ${longestMs} ms`);
  assert.equal(metricSum(fleet, 'sluice_ratelimit_breaker_open'), 0);
  for (const { log } of fleet.workers) {
    const levels = log.map((line) => line.level).join(' ');
    assert.match(levels, /^warn info( warn info)*$/, 'one line per change of the breaker');
  }
}

describe('B32: limiters whose Redis', () => {
  it('is killed and started again answer at once, and use it again within 5 s', { timeout: 60_000 }, (t) =>
    proveOutage(
      t,
      (server) => server.signal('SIGKILL'),
      (server) => server.restart(),
    ),
  );

  it(
    'is frozen and thawed answer within the deadline, and use it again within 5 s',
    { timeout: 60_000 },
    (t) =>
      proveOutage(
        t,
        (server) => server.signal('SIGSTOP'),
        (server) => server.signal('SIGCONT'),
      ),
  );

  it('is restarted use it again within 5 s', { timeout: 60_000 }, async (t) => {
    const { server, fleet } = await setup(t);
    await server.restart();
    await recovered(fleet);
  });

  it('is frozen for long, so that connections die, use it again within 5 s', {
    timeout: 60_000,
  }, async (t) => {
    const { server, fleet } = await setup(t);
    server.signal('SIGSTOP');
    const traffic = startTraffic(fleet);
    try {
      await waitFor('the silent connections to be cut', () =>
        fleet.workers.every(({ store }) => !store.available),
      );
      server.signal('SIGCONT');
      await recovered(fleet);
    } finally {
      await traffic.stop();
    }
  });

  it('is away share the limit, and a Redis that comes and goes mints nothing', {
    timeout: 60_000,
  }, async (t) => {
    const { server, fleet } = await setup(t);
    const caller = callerOf('203.0.113.7');
    const takeAll = async (each: number) => {
      const answers = fleet.workers.flatMap(({ limiter }) =>
        Array.from({ length: each }, async () => limiter.take(caller, policy, 1)),
      );
      return Promise.all(answers);
    };
    assert.equal(allowed(await takeAll(100)), 400);
    await server.stop();
    await waitFor('every worker to know', async () => {
      await takeAll(0);
      return fleet.workers.every(({ store }) => !store.available);
    });
    // Each heard the bucket's level after its own batch: between 600 and 900 of 1,000, of which a fourth is its share.
    const first = allowed(await takeAll(400));
    assert.ok(first >= 600 && first <= 900, `${first} of the 600 that are left`);
    assert.equal(allowed(await takeAll(100)), 0);
    await server.start();
    await fleet.ready();
    await recovered(fleet);
    await server.stop();
    await waitFor('every worker to know again', () => fleet.workers.every(({ store }) => !store.available));
    assert.ok(allowed(await takeAll(100)) <= FLEET_SIZE, 'the shares are still spent');
  });

  it('was never there start all the same, local until it comes', { timeout: 60_000 }, async (t) => {
    const server = await startRedis();
    t.after(() => server.stop());
    await server.stop();
    const fleet = makeFleet(server.url, 2, { policies: [policy] });
    t.after(() => fleet.close());
    for (const { limiter } of fleet.workers) {
      const decision = limiter.take(callerOf('a'), policy, 1);
      assert.ok(!(decision instanceof Promise) && decision.source === 'local');
    }
    await server.start();
    await recovered(fleet);
  });
});
