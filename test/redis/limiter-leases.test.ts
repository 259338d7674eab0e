import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setInterval } from 'node:timers/promises';
import type { Decision } from '../../src/limit/decision.ts';
import { allowed, callerOf, policyOf, takeMany } from '../limit/limiter/limiter-lab.ts';
import { waitFor } from '../support/wait.ts';
import type { Fleet } from './limiter-fleet.ts';
import { OneRedis } from './one-redis.ts';

const caller = callerOf('203.0.113.7');
const REQUESTS = 8_000;
/** Requests that one worker gets at once. */
const GROUP = 4;
const PACE_MS = 1;

const redis = new OneRedis();

/** Requests in small groups to both workers, at a steady pace. */
async function flow(fleet: Fleet, policy: ReturnType<typeof policyOf>): Promise<Decision[]> {
  const decisions: Promise<Decision[]>[] = [];
  for await (const _ of setInterval(PACE_MS)) {
    for (const { limiter } of fleet.workers) decisions.push(takeMany(limiter, GROUP, { caller, policy }));
    if (decisions.length * GROUP >= REQUESTS) break;
  }
  return (await Promise.all(decisions)).flat();
}

test('limiters with leases call Redis for a small part of their admissions, and have returned all unused tokens in the end', async (t) => {
  const policy = policyOf({ capacity: 100_000, refillPerSecond: 200 });
  const fleet = await redis.fleetOf(t, 2, { policies: [policy] });
  const decisions = await flow(fleet, policy);
  assert.equal(allowed(decisions), REQUESTS);
  const calls = await redis.scriptCalls();
  assert.ok(calls <= REQUESTS * 0.05, `${calls} calls for ${REQUESTS} requests`);
  const [key] = await redis.admin.keys('*:default');
  // Every lease token was returned or spent: the missing tokens are the admissions minus the refill.
  const readLevel = async () => (await redis.admin.getBuffer(key ?? ''))?.readDoubleLE(0) ?? 0;
  await waitFor('unspent tokens to come back', async () => (await readLevel()) / 1e6 >= 92_000);
});

test('B30: limiters with leases admit no more than an emptying bucket has', async (t) => {
  const policy = policyOf({ capacity: 2_000, refillPerSecond: 1_000 });
  const fleet = await redis.fleetOf(t, 2, { policies: [policy] });
  const startMs = performance.now();
  const decisions = await flow(fleet, policy);
  const bound = 2_000 + (performance.now() - startMs) + 1;
  assert.ok(allowed(decisions) <= bound, `${allowed(decisions)} of ${bound}`);
  assert.ok(decisions.some(({ source }) => source === 'lease'));
  assert.ok(decisions.every(({ source }) => source !== 'local'));
});
