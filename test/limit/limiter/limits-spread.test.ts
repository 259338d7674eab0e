import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { MemoryBucketStore } from '../../../src/limit/store/memory-bucket-store.ts';
import { waitFor } from '../../support/wait.ts';
import { callerOf, type LabOptions, makeLimiter, policyOf, ScriptedStore, takeMany } from './limiter-lab.ts';

const OLD = policyOf({ capacity: 10, refillPerSecond: 1 });
const NEW = policyOf({ capacity: 10, refillPerSecond: 1_000 });
const OLD_US = 1_000;
const NEW_US = 2_000;

/** A limiter and its store on one clock that the test sets. */
function makeWorld(options: Partial<LabOptions> = {}) {
  const clock = { nowMs: 0, monotonicMs: () => clock.nowMs, wallMs: () => clock.nowMs };
  const memory = new MemoryBucketStore({ clock });
  const store = new ScriptedStore((takes) => memory.takeBatch(takes));
  const basics = { store, clock, leases: false, policies: [OLD], policyVersionUs: OLD_US };
  const lab = makeLimiter({ ...basics, ...options });
  const drain = async (...names: string[]) => {
    for (const name of names) await takeMany(lab.limiter, 10, { caller: callerOf(name), policy: OLD });
    store.batches.length = 0;
  };
  /** Who was told of which rate. */
  const told = () => store.batches.flat().map(({ need, rateMicro }) => [need, rateMicro / 1e6]);
  return { ...lab, clock, store, drain, told };
}

describe('a policy with new limits', () => {
  it('is brought to the buckets that were not full, and its rate counts from then on', async () => {
    const { limiter, clock, store, drain, told } = makeWorld();
    await drain('empty');
    await takeMany(limiter, 1, { caller: callerOf('nearly full'), policy: OLD });
    store.batches.length = 0;
    clock.nowMs = 5_000;
    limiter.configure([NEW], NEW_US);
    await waitFor('the bucket to be told', () => store.batches.length > 0);
    assert.deepEqual(told(), [[0, 1_000]]);
    clock.nowMs = 5_003;
    const decisions = await takeMany(limiter, 9, { caller: callerOf('empty'), policy: NEW });
    assert.equal(
      decisions.filter(({ allowed }) => allowed).length,
      8,
      '5 by the old rate and 3 by the new one',
    );
  });

  it('is brought a few buckets at a time, to all of them', async () => {
    const { limiter, store, drain, told } = makeWorld();
    await drain(...Array.from({ length: 300 }, (_, i) => `caller-${i}`));
    limiter.configure([NEW], NEW_US);
    await waitFor('all to be told', () => told().length === 300);
    assert.ok(store.batches.every(({ length }) => length <= 64));
    assert.equal(new Set(store.batches.flat().map(({ key }) => key)).size, 300);
  });

  it('is not brought where its limits are what they were, to a client of own limits, or once the limiter is closed', async () => {
    const { limiter, clock, drain, told } = makeWorld();
    const own = { limits: { default: { capacity: 10, refillPerSecond: 1 } }, versionUs: 1_500 };
    await takeMany(limiter, 10, { caller: callerOf('own', own), policy: OLD });
    await drain('first');
    limiter.configure([{ ...OLD, shadow: true }], 1_500);
    limiter.configure([NEW], NEW_US);
    await waitFor('the one bucket to be told', () => told().length > 0);
    assert.deepEqual(told(), [[0, 1_000]]);
    clock.nowMs = 1;
    limiter.configure([OLD], 3_000);
    await limiter.close();
    assert.equal(told().length, 1);
  });

  it('is not brought to a store that is away, nor later because of that', async () => {
    const due: (() => void)[] = [];
    const timers = {
      after: (_: number, fn: () => void) => {
        due.push(fn);
        return () => undefined;
      },
    };
    const { limiter, store, drain, told } = makeWorld({ timers });
    await drain('first');
    due.length = 0;
    limiter.configure([NEW], NEW_US);
    assert.equal(due.length, 1, 'the next ones are told later');
    store.available = false;
    due.shift()?.();
    await nextTurn();
    await nextTurn();
    assert.ok(limiter.breakerOpen);
    store.available = true;
    assert.deepEqual(told(), []);
    const [decision] = await takeMany(limiter, 1, { caller: callerOf('first'), policy: NEW });
    assert.deepEqual([decision?.source, told()], ['local', []]);
  });
});
