/** A limiter that takes the place of another one, on another store. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { LbError } from '../../../src/contract/errors.ts';
import {
  allowed,
  CALLER_NAME,
  callerOf,
  makeLimiter,
  memoryStore,
  policyOf,
  takeMany,
} from './limiter-lab.ts';

test('local shares go on in the limiter of another store: a change of the store gives none away twice', async () => {
  const away = memoryStore();
  away.answer = (takes) => Promise.resolve(takes.map(() => new LbError('store_unavailable', 'broken')));
  const policy = policyOf({ capacity: 10, refillPerSecond: 0.001 });
  const policies = [policy];
  const { limiter } = makeLimiter({ store: away, policies, workers: 1 });
  assert.equal(allowed(await takeMany(limiter, 20, { policy })), 10);
  const { limiter: next } = makeLimiter({ store: away, policies, workers: 1, before: limiter });
  assert.equal(allowed(await takeMany(next, 20, { policy })), 0);
  await limiter.close();
  await next.close();
});

test('requests that wait when a store is left still get its answer', async () => {
  const store = memoryStore();
  const { answer } = store;
  store.answer = async (takes) => {
    await sleep(10);
    return answer?.(takes) ?? [];
  };
  const { limiter } = makeLimiter({ store, timeoutMs: 1_000 });
  const taken = limiter.take(callerOf(CALLER_NAME), policyOf(), 1);
  await limiter.finishWaiting();
  await limiter.close();
  assert.equal((await taken).source, 'store');
});
