import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { systemClock } from '../../src/contract/clock.ts';
import type { PolicySettings } from '../../src/contract/settings.ts';
import { peekBuckets } from '../../src/limit/bucket/bucket-peek.ts';
import { charge, type RouteLimit, type TokenTaker } from '../../src/limit/charge.ts';
import { type Decision, violatedPolicies } from '../../src/limit/decision.ts';
import { MemoryBucketStore } from '../../src/limit/store/memory-bucket-store.ts';
import { waitFor } from '../support/wait.ts';
import { decisionOf } from './decision-of.ts';
import { allowed, callerOf, makeLimiter, policyOf } from './limiter/limiter-lab.ts';

const caller = callerOf('203.0.113.7');
const second = policyOf({ name: 'second' });
const day = policyOf({ name: 'day' });
const month = policyOf({ name: 'month', shadow: true });
const ALL: RouteLimit = { policies: [second, day, month], cost: 3 };

function decision(policyName: string, fields: Partial<Decision> = {}): Decision {
  return decisionOf({ policyName, ...fields });
}

const refusal = (policyName: string, fields: Partial<Decision> = {}) =>
  decision(policyName, { allowed: false, charged: false, remaining: 0, retryAfterMs: 400, ...fields });

/** A limiter that answers by policy name. Other policies allow. The deny cache is empty. */
function makeTaker(script: {
  takes?: Record<string, Decision | Promise<Decision>>;
  refusals?: Record<string, Decision>;
}) {
  const calls: string[] = [];
  const record = (word: string, { name }: PolicySettings) => calls.push(`${word} ${name}`);
  const taker: TokenTaker = {
    take: (_caller, policy, cost) => {
      record(`take ${cost}`, policy);
      return script.takes?.[policy.name] ?? decision(policy.name);
    },
    refusalOf: (_caller, policy) => script.refusals?.[policy.name] ?? null,
    peek: (_caller, policy) => decision(policy.name, { charged: false, remaining: 77 }),
    giveBack: (_caller, policy, given, cost) => {
      assert.equal(given.policyName, policy.name);
      record(`return ${cost}`, policy);
    },
  };
  return { taker, calls };
}

const left = (of: Decision) => of.members?.map(({ policyName, remaining }) => [policyName, remaining]);

test('charge returns the decision of a single policy unchanged', async () => {
  const given = decision('day');
  const { taker, calls } = makeTaker({ takes: { day: given }, refusals: { day: refusal('day') } });
  assert.equal(charge(taker, caller, { policies: [day], cost: 2 }), given);
  assert.deepEqual(calls, ['take 2 day']);
  const later = Promise.resolve(given);
  assert.equal(
    charge(makeTaker({ takes: { day: later } }).taker, caller, { policies: [day], cost: 1 }),
    later,
  );
});

test('charge asks all policies in one turn; if all grant, the one with the fewest tokens left counts', async () => {
  const gate = Promise.withResolvers<Decision>();
  const { taker, calls } = makeTaker({
    takes: { second: gate.promise, day: decision('day', { remaining: 7 }) },
  });
  const charged = charge(taker, caller, ALL);
  assert.deepEqual(calls, ['take 3 second', 'take 3 day', 'take 3 month']);
  gate.resolve(decision('second', { remaining: 9 }));
  const all = await charged;
  assert.deepEqual([all.allowed, all.policyName, all.remaining], [true, 'day', 7]);
  assert.deepEqual(left(all), [
    ['second', 9],
    ['day', 7],
    ['month', 50],
  ]);
  assert.equal(calls.length, 3);
});

test('charge decides at once if every policy does', () => {
  const { taker } = makeTaker({});
  assert.ok(!(charge(taker, caller, ALL) instanceof Promise));
});

test('if one policy refuses, charge gives back what the others took, shadows included, and shows their tokens', async () => {
  const { taker, calls } = makeTaker({
    takes: { second: Promise.resolve(refusal('second')), day: decision('day', { remaining: 99 }) },
  });
  const refused = await charge(taker, caller, ALL);
  assert.deepEqual(calls.slice(3), ['return 3 day', 'return 3 month']);
  assert.deepEqual([refused.allowed, refused.policyName, refused.retryAfterMs], [false, 'second', 400]);
  assert.deepEqual(left(refused), [
    ['second', 0],
    ['day', 100],
    ['month', 53],
  ]);
  assert.deepEqual(violatedPolicies(refused), ['second']);
});

test('charge gives back only what was taken', async () => {
  const free = decision('second', { charged: false, source: 'local' });
  const { taker, calls } = makeTaker({
    takes: {
      second: free,
      day: refusal('day'),
      month: decision('month', { shadowed: true, charged: false }),
    },
  });
  assert.equal((await charge(taker, caller, ALL)).allowed, false);
  assert.equal(calls.length, 3);
});

test('charge takes nothing if the deny cache refuses, and the longest refusal counts', () => {
  const { taker, calls } = makeTaker({
    refusals: { second: refusal('second'), day: refusal('day', { retryAfterMs: 90_000 }) },
  });
  const refused = charge(taker, caller, ALL);
  assert.ok(!(refused instanceof Promise));
  assert.deepEqual(calls, []);
  assert.deepEqual([refused.policyName, refused.retryAfterMs], ['day', 90_000]);
  assert.deepEqual(left(refused), [
    ['second', 0],
    ['day', 0],
    ['month', 77],
  ]);
  assert.deepEqual(violatedPolicies(refused), ['second', 'day']);
});

test('a shadow policy refuses nothing, and is asked once', async () => {
  const shadowed = decision('month', { shadowed: true, charged: false, remaining: 0 });
  const { taker, calls } = makeTaker({ refusals: { month: shadowed } });
  const all = await charge(taker, caller, ALL);
  assert.equal(all.allowed, true);
  assert.deepEqual(calls, ['take 3 second', 'take 3 day']);
});

test('a cost that can never pass counts before any wait, and an exhausted quota before a store that is away', async () => {
  const away = refusal('day', { storeDenied: true, retryAfterMs: 1_000, source: 'local' });
  const both = await charge(
    makeTaker({ takes: { second: refusal('second'), day: away } }).taker,
    caller,
    ALL,
  );
  assert.deepEqual([both.policyName, both.storeDenied, both.retryAfterMs], ['second', false, 1_000]);
  assert.deepEqual(violatedPolicies(both), ['second']);
  const never = refusal('second', { retryAfterMs: -1 });
  const refused = await charge(makeTaker({ takes: { second: never, day: away } }).taker, caller, ALL);
  assert.deepEqual([refused.policyName, refused.retryAfterMs], ['second', -1]);
  const alone = await charge(makeTaker({ takes: { day: away } }).taker, caller, ALL);
  assert.deepEqual([alone.policyName, alone.storeDenied, violatedPolicies(alone)], ['day', true, []]);
});

const small = policyOf({ name: 'second', capacity: 5 });
const large = policyOf({ name: 'day', capacity: 1_000 });
const limit: RouteLimit = { policies: [small, large], cost: 2 };

test('a request that one policy refuses takes tokens from none, however many come at once', async () => {
  const store = new MemoryBucketStore(systemClock);
  const { limiter } = makeLimiter({ store, policies: [small, large] });
  const decisions = await Promise.all(Array.from({ length: 50 }, async () => charge(limiter, caller, limit)));
  assert.equal(allowed(decisions), 2);
  assert.ok(decisions.every(({ members }) => members?.length === 2));
  const levelOf = async (policy: PolicySettings) =>
    Math.floor((await peekBuckets(store, caller.match, [policy], 1_000))[0]?.level ?? 0);
  await waitFor('the tokens to be back', async () => (await levelOf(large)) === 996);
  assert.equal(await levelOf(small), 1);
  await limiter.close();
});

test('each policy is charged exactly the cost of its admitted requests, whatever lists of policies are mixed', async () => {
  const names = ['a', 'b', 'c'] as const;
  const request = fc.record({
    list: fc.shuffledSubarray([...names], { minLength: 1 }),
    cost: fc.integer({ min: 1, max: 4 }),
    /** Whether a turn of the event loop passes before the request. */
    later: fc.boolean(),
  });
  const scenario = fc.record({
    capacities: fc.tuple(...names.map(() => fc.integer({ min: 4, max: 40 }))),
    requests: fc.array(request, { minLength: 10, maxLength: 60 }),
  });
  await fc.assert(
    fc.asyncProperty(scenario, async ({ capacities, requests }) => {
      const policies = names.map((name, i) => policyOf({ name, capacity: capacities[i] ?? 0 }));
      const store = new MemoryBucketStore(systemClock);
      const { limiter } = makeLimiter({ store, policies, timeoutMs: 2_000 });
      const spent = new Map<string, number>(names.map((name) => [name, 0]));
      const decided = [];
      for (const { list, cost, later } of requests) {
        if (later) await new Promise(setImmediate);
        const [one, ...others] = policies.filter(({ name }) => list.some((wanted) => wanted === name));
        assert.ok(one);
        const count = async () => {
          const { allowed: passes } = await charge(limiter, caller, { policies: [one, ...others], cost });
          if (passes) for (const name of list) spent.set(name, (spent.get(name) ?? 0) + cost);
        };
        decided.push(count());
      }
      await Promise.all(decided);
      const left = async () =>
        (await peekBuckets(store, caller.match, policies, 1_000)).map(({ level }) => Math.floor(level));
      const expected = policies.map(({ name, capacity }) => capacity - (spent.get(name) ?? 0));
      await waitFor(`the levels ${expected}`, async () => `${await left()}` === `${expected}`, {
        timeoutMs: 500,
        everyMs: 1,
      });
      await limiter.close();
    }),
    { numRuns: 60 },
  );
});
