/** A limiter that takes the place of another one, on another store. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { LbError } from '../../../src/contract/errors.ts';
import { waitFor } from '../../support/wait.ts';
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

test('a limiter that another one has followed is not kept in memory', async () => {
  setFlagsFromString('--expose-gc');
  const collect: () => void = runInNewContext('gc');
  const policies = [policyOf()];
  const make = (before?: ReturnType<typeof makeLimiter>) =>
    makeLimiter({ store: memoryStore(), policies, ...(before && { before: before.limiter }) });
  const left: WeakRef<object>[] = [];
  let last = make();
  for (let i = 0; i < 5; i++) {
    const former = last;
    left.push(new WeakRef(former.limiter));
    await takeMany(former.limiter, 5);
    last = make(former);
    await former.limiter.close();
  }
  await waitFor('the former limiters to go', () => {
    collect();
    // The last one may still be on the stack.
    return left.filter((each) => each.deref() !== undefined).length <= 1;
  });
  assert.equal(last.limiter.breakerOpen, false);
});
