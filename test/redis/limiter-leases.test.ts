import assert from 'node:assert/strict';
import { after, before, type TestContext, test } from 'node:test';
import { Redis } from 'ioredis';
import type { Decision } from '../../src/limit/decision.ts';
import { allowed, callerOf, policyOf, takeMany } from '../limit/limiter/limiter-lab.ts';
import { type RedisServer, startRedis } from '../support/redis.ts';
import { waitFor } from '../support/wait.ts';
import { type Fleet, makeFleet, PATIENT_MS } from './limiter-fleet.ts';

const caller = callerOf('203.0.113.7');
const REQUESTS = 8_000;

let server: RedisServer;
let admin: Redis;

before(async () => {
  server = await startRedis();
  admin = new Redis(server.url);
});
after(async () => {
  admin.disconnect();
  await server.stop();
});

async function fleetOf(t: TestContext, policy: ReturnType<typeof policyOf>): Promise<Fleet> {
  await admin.flushall();
  const fleet = makeFleet(server.url, 2, { timeoutMs: PATIENT_MS, policies: [policy] });
  t.after(() => fleet.close());
  await fleet.ready();
  await admin.config('RESETSTAT');
  return fleet;
}

async function scriptCalls(): Promise<number> {
  const stats = await admin.info('commandstats');
  const calls = [...stats.matchAll(/cmdstat_eval(?:sha)?:calls=(\d+)/g)].map((match) => Number(match[1]));
  return calls.reduce((sum, count) => sum + count, 0);
}

/** Requests in small groups, one group per turn of the event loop, to both workers. */
async function flow(fleet: Fleet, policy: ReturnType<typeof policyOf>): Promise<Decision[]> {
  const decisions: Promise<Decision[]>[] = [];
  for (let sent = 0; sent < REQUESTS; sent += 8) {
    for (const { limiter } of fleet.workers) decisions.push(takeMany(limiter, 4, { caller, policy }));
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  return (await Promise.all(decisions)).flat();
}

test('limiters with leases call Redis for a small part of their admissions, and have returned all unused tokens in the end', async (t) => {
  const policy = policyOf({ capacity: 100_000, refillPerSecond: 200 });
  const fleet = await fleetOf(t, policy);
  const decisions = await flow(fleet, policy);
  assert.equal(allowed(decisions), REQUESTS);
  const calls = await scriptCalls();
  assert.ok(calls <= REQUESTS * 0.05, `${calls} calls for ${REQUESTS} requests`);
  const [key] = await admin.keys('*:default');
  // Every lease token was returned or spent: the missing tokens are the admissions minus the refill.
  const readLevel = async () => (await admin.getBuffer(key ?? ''))?.readDoubleLE(0) ?? 0;
  await waitFor('unspent tokens to come back', async () => (await readLevel()) / 1e6 >= 92_000);
});

test('B30: limiters with leases admit no more than an emptying bucket has', async (t) => {
  const policy = policyOf({ capacity: 2_000, refillPerSecond: 1_000 });
  const fleet = await fleetOf(t, policy);
  const startMs = performance.now();
  const decisions = await flow(fleet, policy);
  const bound = 2_000 + (performance.now() - startMs) + 1;
  assert.ok(allowed(decisions) <= bound, `${allowed(decisions)} of ${bound}`);
  assert.ok(decisions.some(({ source }) => source === 'lease'));
  assert.ok(decisions.every(({ source }) => source !== 'local'));
});
