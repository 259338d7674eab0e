import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { LbError } from '../../../src/contract/errors.ts';
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

describe('Limiter whose store fails', () => {
  it('answers from the local share, and only one log line, when the store fails; a success closes the breaker', async () => {
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
    assert.equal(metric('sluice_ratelimit_breaker_open'), 1);
    assert.equal(metric(DECISIONS, 'default', 'limited', 'local'), 9);
    store.answer = working;
    await waitFor('the breaker to close', () => !limiter.breakerOpen, { timeoutMs: 2_000 });
    assert.equal(metric('sluice_ratelimit_breaker_open'), 0);
    assert.equal((await limiter.take(caller, policyOf(), 1)).source, 'store');
    assert.deepEqual(
      log.map((line) => line.level),
      ['warn', 'info'],
    );
    await limiter.close();
  });

  it('lets nobody wait past the deadline for a store that says nothing', async () => {
    const store = new ScriptedStore(null);
    const { limiter } = makeLimiter({ store });
    const startMs = performance.now();
    const decisions = await takeMany(limiter, 50);
    const waitedMs = performance.now() - startMs;
    assert.ok(waitedMs >= TIMEOUT_MS && waitedMs < TIMEOUT_MS + 500, `${waitedMs} ms`);
    assert.ok(decisions.every((decision) => decision.source === 'local'));
    await limiter.close();
  });

  it('is local at once where the store says that it is away, and before the first connection', () => {
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

  it('starts the local share from the level that it knew', async () => {
    const store = memoryStore();
    const { limiter } = makeLimiter({ store, workers: 10 });
    assert.equal(allowed(await takeMany(limiter, 50)), 50);
    store.available = false;
    assert.equal(allowed(await takeMany(limiter, 50)), 5, 'half of a tenth of 100');
    await limiter.close();
  });

  it('B30: admits what the bucket holds, however many wait for it at once', async () => {
    const { limiter } = makeLimiter({ store: memoryStore(), workers: 1 });
    const decisions = await takeMany(limiter, 20_000);
    assert.equal(allowed(decisions), 100);
    assert.ok(decisions.every((decision) => decision.source === 'store'));
    await limiter.close();
  });

  it('has a bound for those who wait, far above any traffic; the others get the local share', async () => {
    const store = new ScriptedStore(null);
    const { limiter } = makeLimiter({ store, workers: 1, policies: [policyOf({ capacity: 100_000 })] });
    const answers = Array.from({ length: 66_000 }, () => limiter.take(caller, policyOf(), 1));
    assert.equal(answers.filter((answer) => answer instanceof Promise).length, 65_536);
    await limiter.close();
    await Promise.all(answers);
  });

  it('asks a silent Redis once a second, so that it is known to be away without traffic', async () => {
    const store = new ScriptedStore(memoryStore().answer);
    const { limiter } = makeLimiter({ store: Object.assign(store, { kind: 'redis' as const }) });
    await waitFor('a first question', () => store.batches.length === 1);
    assert.equal(limiter.breakerOpen, false);
    store.available = false;
    assert.equal(limiter.breakerOpen, true);
    store.available = true;
    store.answer = () => Promise.reject(new Error('OOM'));
    await waitFor('five failures in a row', () => limiter.breakerOpen, { timeoutMs: 10_000 });
    store.answer = memoryStore().answer;
    await waitFor('the breaker to close', () => !limiter.breakerOpen, { timeoutMs: 2_000 });
    await limiter.close();
  });

  for (const [onStoreFailure, answer] of [
    ['allow', [true, false, false, 0]],
    ['deny', [false, true, false, 1_000]],
  ] as const) {
    it(`does as the policy says while the store is away: ${onStoreFailure}`, async () => {
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
});
