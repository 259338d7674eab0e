/** For the tests of a failing Redis: limiters under traffic, the wait of each take, and an account of the tokens. */
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import type { TakeRequest } from '../../src/contract/buckets.ts';
import type { PolicySettings } from '../../src/contract/settings.ts';
import { bucketKey, storeKeyPrefix } from '../../src/limit/bucket/bucket-key.ts';
import type { DecisionSource } from '../../src/limit/decision.ts';
import type { Limiter } from '../../src/limit/limiter/limiter.ts';
import { MICRO, PLAIN_TAKE } from '../../src/limit/store/bucket-store.ts';
import { callerOf, policyOf, TIMEOUT_MS } from '../limit/limiter/limiter-lab.ts';
import { type RedisServer, startRedis } from '../support/redis.ts';
import { waitFor } from '../support/wait.ts';
import { openOperator } from './connect.ts';
import { type Fleet, startFleet } from './limiter-fleet.ts';

/** B32 allows no wait beyond the deadline, the delay of our own event loop apart. */
const SLACK_MS = 5;
export const RECOVERY_MS = 5_000;
/** Sample interval of watchLoop. */
const SAMPLE_MS = 2;
export const FLEET_SIZE = 4;
const CALLERS = 20;
/** A half-full bucket never gets empty or full in a test, so every missing token was taken. Refills fast enough for leases. */
export const PLENTY = policyOf({ capacity: 1_000_000, refillPerSecond: 200 });
const HALF = PLENTY.capacity / 2;

export interface Outage {
  server: RedisServer;
  fleet: Fleet;
  /** The buckets before any traffic. */
  before: BucketState[];
}

interface OutageOptions {
  policy?: PolicySettings;
  /** URL for the limiters; default: the server itself. */
  wire?: (server: RedisServer) => Promise<string>;
}

/** openFleet starts a Redis and four limiters that are connected. Buckets of PLENTY are half full. */
export async function openFleet(
  t: TestContext,
  { policy = PLENTY, wire = async (server) => server.url }: OutageOptions = {},
): Promise<Outage> {
  const server = await startRedis();
  t.after(() => server.stop());
  const fleet = await startFleet(t, await wire(server), FLEET_SIZE, { policies: [policy] });
  for (const { limiter } of fleet.workers) await limiter.take(callerOf('warm-up'), policy, 1);
  if (policy !== PLENTY) return { server, fleet, before: [] };
  // Directly at the store: the limiters would count it as demand.
  const { store } = fleet.workers[0] ?? assert.fail();
  const replies = await store.takeBatch(Array.from({ length: CALLERS }, (_, i) => halfOf(keyOf(i))));
  assert.ok(replies.every((reply) => !(reply instanceof Error) && reply.granted === HALF));
  return { server, fleet, before: await readBuckets(server) };
}

function nameOf(caller: number): string {
  return `caller-${caller}`;
}

function keyOf(caller: number): string {
  return bucketKey(callerOf(nameOf(caller)).bucketHash, PLENTY.name);
}

function halfOf(key: string): TakeRequest {
  const { capacity, refillPerSecond } = PLENTY;
  const limits = { capacity, rateMicro: refillPerSecond * MICRO, versionUs: 1 };
  return { key, ...limits, need: HALF, partial: false, ...PLAIN_TAKE };
}

/** What lua/take-tokens-n.lua keeps of a bucket. */
interface BucketState {
  levelMicro: number;
  atUs: number;
}

async function readBuckets(server: RedisServer): Promise<BucketState[]> {
  const operator = await openOperator(server.url);
  try {
    const keys = Array.from({ length: CALLERS }, (_, i) => storeKeyPrefix('sluice') + keyOf(i));
    return (await operator.client.mgetBuffer(keys)).map((state) => {
      assert.ok(state);
      return { levelMicro: state.readDoubleLE(0), atUs: state.readDoubleLE(8) };
    });
  } finally {
    await operator.close();
  }
}

export interface Traffic {
  waitsMs: number[];
  /** Decisions by source. */
  counts: Record<DecisionSource, number>;
  /** Tokens that the store granted, by caller; leases included. */
  granted: Map<string, number>;
  /** Takes with the breaker open that had to wait, and that were decided at once. */
  waitedWhileOpen: number;
  answeredWhileOpen: number;
  stop(): Promise<void>;
}

/** startTraffic makes every limiter take single tokens for the same callers until stop(). */
export function startTraffic(fleet: Fleet): Traffic {
  let running = true;
  const loop = watchLoop();
  const traffic: Traffic = {
    waitsMs: [],
    counts: { lease: 0, store: 0, deny_cache: 0, local: 0 },
    granted: new Map(),
    waitedWhileOpen: 0,
    answeredWhileOpen: 0,
    async stop() {
      running = false;
      loop.stop();
      await done;
    },
  };
  const run = async (limiter: Limiter): Promise<void> => {
    for (let i = 0; running; i++) {
      // The first caller is busy enough for a lease.
      const name = nameOf(i % 4 === 0 ? (i / 4) % CALLERS : 0);
      const startMs = loop.now();
      const open = limiter.breakerOpen;
      const answer = limiter.take(callerOf(name), PLENTY, 1);
      if (open && answer instanceof Promise) traffic.waitedWhileOpen++;
      if (open && !(answer instanceof Promise)) traffic.answeredWhileOpen++;
      const decision = await answer;
      traffic.waitsMs.push(loop.now() - startMs);
      assert.ok(decision.allowed, 'no request fails');
      traffic.counts[decision.source]++;
      if (decision.source !== 'local') traffic.granted.set(name, (traffic.granted.get(name) ?? 0) + 1);
      await new Promise(setImmediate);
    }
  };
  const done = Promise.all(fleet.workers.flatMap(({ limiter }) => [run(limiter), run(limiter)]));
  return traffic;
}

/** watchLoop makes a clock that stands still while our own event loop is late. */
export function watchLoop(): { now: () => number; stop: () => void } {
  let lateMs = 0;
  let expectedMs = performance.now() + SAMPLE_MS;
  const sampler = setInterval(() => {
    const nowMs = performance.now();
    lateMs += Math.max(0, nowMs - expectedMs);
    expectedMs = nowMs + SAMPLE_MS;
  }, SAMPLE_MS);
  return {
    now: () => {
      const nowMs = performance.now();
      return nowMs - lateMs - Math.max(0, nowMs - expectedMs);
    },
    stop: () => clearInterval(sampler),
  };
}

/** metricSum adds a counter over all limiters. */
export function metricSum(fleet: Fleet, name: string, ...labels: string[]): number {
  return fleet.workers.reduce((sum, { metric }) => sum + metric(name, ...labels), 0);
}

/** recovered resolves once every limiter uses the store again; rejects after the 5 s of B32. */
export async function recovered(fleet: Fleet): Promise<void> {
  await waitFor(
    'all workers to use the store again',
    async () => {
      const decisions = await Promise.all(
        fleet.workers.map(async ({ limiter }, worker) =>
          limiter.take(callerOf(`after-${worker}`), PLENTY, 1),
        ),
      );
      return decisions.every((decision) => decision.source !== 'local');
    },
    { timeoutMs: RECOVERY_MS, everyMs: 20 },
  );
}

/** assertPatience checks that no take waited longer than the deadline plus 5 ms. */
export function assertPatience(traffic: Traffic): void {
  // Too many values for the arguments of Math.max.
  const longestMs = traffic.waitsMs.reduce((longest, waitMs) => Math.max(longest, waitMs), 0);
  assert.ok(longestMs <= TIMEOUT_MS + SLACK_MS, `a take waited ${longestMs} ms`);
}

/**
 * assertBooks closes the limiters and checks that every spent token was taken from its bucket, with the refill between the
 * writes of the bucket's state included.
 */
export async function assertBooks({ server, fleet, before }: Outage, traffic: Traffic): Promise<void> {
  await Promise.all(fleet.workers.map(({ limiter }) => limiter.close()));
  for (const [i, { levelMicro, atUs }] of (await readBuckets(server)).entries()) {
    const first = before[i] ?? assert.fail();
    const refilledMicro = (atUs - first.atUs) * PLENTY.refillPerSecond;
    const takenMicro = first.levelMicro + refilledMicro - levelMicro;
    const spent = traffic.granted.get(nameOf(i)) ?? 0;
    assert.ok(
      spent * MICRO <= takenMicro,
      `${spent} were spent of the ${takenMicro / MICRO} that were taken`,
    );
  }
}

function openBreakers({ workers }: Fleet): number {
  return workers.filter(({ limiter }) => limiter.breakerOpen).length;
}

/** assertOneLinePerChange checks that each limiter logged away and back alternately, ending with back. `everyOne` false: or nothing. */
export function assertOneLinePerChange(fleet: Fleet, { everyOne = true } = {}): void {
  assert.equal(openBreakers(fleet), 0);
  for (const { log } of fleet.workers) {
    const levels = log.map((line) => line.level).join(' ');
    if (everyOne || levels !== '')
      assert.match(levels, /^warn info( warn info)*$/, 'one line per change of the breaker');
  }
}

interface OutageSteps {
  breakIt: () => unknown;
  mend: () => unknown;
  /** Whether the buckets survive the fault; default: true. */
  keepsBuckets?: boolean;
}

/** proveOutage checks that traffic continues while the store is away, no take waits too long, no token is spent twice, and the store is used again. */
export async function proveOutage(
  outage: Outage,
  { breakIt, mend, keepsBuckets = true }: OutageSteps,
): Promise<void> {
  const { fleet } = outage;
  const traffic = startTraffic(fleet);
  try {
    await waitFor('leases', () => traffic.counts.lease > 500);
    await breakIt();
    const openCount = (): number => openBreakers(fleet);
    await waitFor('every breaker to open', () => openCount() === FLEET_SIZE, { timeoutMs: 3_000 });
    await waitFor('traffic without the store', () => traffic.answeredWhileOpen > 500);
    assert.equal(traffic.waitedWhileOpen, 0, 'with an open breaker no take may wait, probes included');
    assert.ok(traffic.counts.local > 0);
    assert.equal(openCount(), FLEET_SIZE);
    assert.ok(metricSum(fleet, 'sluice_ratelimit_store_calls_total', 'skipped') > 0);
    await mend();
    await recovered(fleet);
  } finally {
    await traffic.stop();
  }
  assertPatience(traffic);
  assertOneLinePerChange(fleet);
  if (keepsBuckets) await assertBooks(outage, traffic);
}
