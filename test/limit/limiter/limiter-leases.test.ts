/** The limiter with leases, on a clock that the tests advance. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { TakeRequest } from '../../../src/contract/buckets.ts';
import type { Clock } from '../../../src/contract/clock.ts';
import type { PolicySettings } from '../../../src/contract/settings.ts';
import type { Caller } from '../../../src/limit/caller/identity.ts';
import type { Decision } from '../../../src/limit/decision.ts';
import { LEASE_MS } from '../../../src/limit/limiter/lease.ts';
import type { Limiter } from '../../../src/limit/limiter/limiter.ts';
import { PLAIN_TAKE } from '../../../src/limit/store/bucket-store.ts';
import { MemoryBucketStore } from '../../../src/limit/store/memory-bucket-store.ts';
import type { Timers } from '../../../src/limit/timers.ts';
import { VirtualTime } from '../simulation/virtual-time.ts';
import { callerOf, makeLimiter, policyOf, ScriptedStore, takeMany } from './limiter-lab.ts';

const caller = callerOf('203.0.113.7');
const large = policyOf({ capacity: 10_000, refillPerSecond: 1_000 });

class LeaseLab {
  readonly time = new VirtualTime();
  readonly clock: Clock = { monotonicMs: () => this.time.nowMs, wallMs: () => this.time.nowMs };
  readonly memory = new MemoryBucketStore(this.clock);
  readonly store = new ScriptedStore((takes) => this.memory.takeBatch(takes));
  readonly policy: PolicySettings;
  readonly limiters: Limiter[];
  readonly decisions: Decision[] = [];

  constructor(policy: PolicySettings, options: { workers?: number; leases?: boolean } = {}) {
    const { workers = 1, leases = true } = options;
    const { store, clock, time } = this;
    const timers: Timers = { after: (delayMs, fn) => time.after(delayMs, fn) };
    const defer = (fn: () => void) => void time.after(0, fn);
    const shared = { store, policies: [policy], timeoutMs: 10_000, leases, clock, timers, defer };
    this.policy = policy;
    this.limiters = Array.from({ length: workers }, () => makeLimiter(shared).limiter);
  }

  get limiter(): Limiter {
    return this.limiters[0] ?? assert.fail();
  }

  get takes(): TakeRequest[] {
    return this.store.batches.flat();
  }

  get admitted(): number {
    return this.decisions.filter(({ allowed }) => allowed).length;
  }

  /** Tokens in the store, without those on lease. */
  level(who: Caller = caller): number {
    const key = `{${who.bucketHash}}:${this.policy.name}`;
    const [capacity, rateMicro] = [this.policy.capacity, this.policy.refillPerSecond * 1e6];
    const look = { key, capacity, rateMicro, versionUs: 1, need: 0, partial: true, ...PLAIN_TAKE };
    return this.memory.take(look).levelMicro / 1e6;
  }

  /** flow sends `perMs` requests each millisecond, to the workers in turn. */
  async flow(ms: number, perMs: number): Promise<void> {
    for (let i = 0; i < ms; i++) {
      for (const [index, limiter] of this.limiters.entries()) {
        if (i % this.limiters.length !== index) continue;
        for (let n = 0; n < perMs; n++) {
          void Promise.resolve(limiter.take(caller, this.policy, 1)).then((made) =>
            this.decisions.push(made),
          );
        }
      }
      await this.pass(1);
    }
  }

  async pass(ms: number): Promise<void> {
    await this.time.run(this.time.nowMs + ms);
  }
}

test('a limiter with leases takes tokens in advance for a hot bucket, so that nearly all requests are decided at once', async () => {
  const lab = new LeaseLab(large);
  await lab.flow(200, 4);
  const before = lab.takes.length;
  lab.decisions.length = 0;
  await lab.flow(500, 4);
  assert.equal(lab.admitted, 2_000);
  const leased = lab.decisions.filter(({ source }) => source === 'lease').length;
  assert.ok(leased >= 1_900, `${leased} of 2,000 from the lease`);
  const calls = lab.takes.length - before;
  assert.ok(calls <= 40, `${calls} takes for 2,000 requests`);
  for (const { remaining } of lab.decisions)
    assert.ok(remaining >= 7_100 && remaining <= 9_500, `${remaining}`);
});

test('a limiter with leases takes few tokens in advance after a few very expensive requests', async () => {
  const lab = new LeaseLab(large);
  for (let i = 0; i < 4; i++) {
    void lab.limiter.take(caller, large, 1_000);
    await lab.pass(20);
  }
  const ahead = lab.takes.map((take) => take.ahead);
  assert.ok(Math.max(...ahead) <= 40, `${ahead} tokens ahead`);
  assert.equal(lab.takes.filter(({ need }) => need === 1_000).length, 4);
});

test('a limiter with leases has returned all unused tokens when the traffic has ended', async () => {
  const lab = new LeaseLab(large, { workers: 3 });
  await lab.flow(300, 8);
  await lab.pass(LEASE_MS);
  assert.equal(lab.admitted, 2_400);
  assert.ok(lab.takes.some(({ ret }) => ret > 0));
  // 350 ms of refill.
  assert.ok(Math.abs(lab.level() - (10_000 - 2_400 + 350)) <= 1, `${lab.level()}`);
});

test('B30: under excess demand a limiter with leases admits what the bucket has, no more and hardly less', async () => {
  for (const leases of [true, false]) {
    const policy = policyOf({ capacity: 500, refillPerSecond: 2_000 });
    const lab = new LeaseLab(policy, { workers: 4, leases });
    await lab.flow(300, 1);
    await lab.flow(400, 8);
    const ideal = 300 + 500 + 0.4 * 2_000;
    assert.ok(lab.admitted <= ideal + 1, `${lab.admitted} of ${ideal}`);
    assert.ok(lab.admitted >= ideal * 0.95, `${lab.admitted} of ${ideal}`);
  }
});

test('a limiter with leases takes nothing in advance for small or slow buckets, nor if leases are off', async () => {
  for (const [policy, leases] of [
    [policyOf({ capacity: 19, refillPerSecond: 10_000 }), true],
    [policyOf({ capacity: 10_000, refillPerSecond: 100 }), true],
    [large, false],
  ] as const) {
    const lab = new LeaseLab(policy, { leases });
    await lab.flow(200, 4);
    assert.ok(lab.takes.every(({ ahead }) => ahead === 0));
    assert.ok(lab.decisions.every(({ source }) => source !== 'lease'));
  }
});

test('a limiter with leases returns its tokens when leases are turned off', async () => {
  const lab = new LeaseLab(large);
  await lab.flow(200, 4);
  lab.limiter.configure({ policies: [large], leases: false }, 1_000);
  const before = lab.takes.length;
  lab.decisions.length = 0;
  await lab.flow(100, 4);
  assert.ok(lab.decisions.every(({ source }) => source === 'store'));
  assert.ok(lab.takes.slice(before).every(({ ahead }) => ahead === 0));
  await lab.pass(LEASE_MS);
  assert.ok(Math.abs(lab.level() - (10_000 - 1_200 + 350)) <= 1, `${lab.level()}`);
});

test('a limiter with leases returns its tokens when it closes', async () => {
  const lab = new LeaseLab(large);
  await lab.flow(200, 4);
  await lab.limiter.close();
  assert.ok(Math.abs(lab.level() - (10_000 - 800 + 200)) <= 1, `${lab.level()}`);
});

test('a limiter with leases returns the tokens of old limits before it uses new ones', async () => {
  const lab = new LeaseLab(large);
  await lab.flow(200, 4);
  const cut = callerOf('203.0.113.7', {
    limits: { default: { capacity: 30, refillPerSecond: 1_000 } },
    versionUs: 9_000,
  });
  const decision = lab.limiter.take(cut, large, 1);
  assert.ok(decision instanceof Promise);
  await lab.pass(1);
  assert.ok((lab.takes.at(-1)?.ret ?? 0) > 0);
  assert.equal((await decision).capacity, 30);
  assert.ok(lab.level(cut) <= 30);
});

test('a limiter with leases drops its lots, and one in flight, when an operator refills the bucket', async () => {
  const lab = new LeaseLab(large);
  await lab.flow(200, 4);
  lab.limiter.resetBucket(lab.takes[0]?.key ?? '');
  await lab.pass(1);
  assert.ok(lab.limiter.take(caller, large, 1) instanceof Promise);
  await lab.pass(1);
  assert.ok(!(lab.limiter.take(caller, large, 1) instanceof Promise), 'a new lease');
  const gate = Promise.withResolvers<void>();
  const answer = lab.store.answer;
  lab.store.answer = async (takes) => {
    await gate.promise;
    return answer?.(takes) ?? [];
  };
  const taken = lab.takes.length;
  // No longer: requests that wait for a lot would use it up.
  for (let ms = 0; lab.takes.length === taken; ms++) {
    assert.ok(ms < 100, 'the lease runs low');
    await lab.flow(1, 4);
  }
  assert.ok((lab.takes.at(-1)?.ahead ?? 0) > 0, 'a lot is under way');
  lab.limiter.resetBucket(lab.takes[0]?.key ?? '');
  gate.resolve();
  // The reply lands in a turn of the real loop: nothing is due on the test's clock.
  await nextTurn();
  assert.ok(lab.limiter.take(caller, large, 1) instanceof Promise);
});

test('a limiter drops a refund when an operator refills the bucket before the next take', async () => {
  const lab = new LeaseLab(policyOf({ capacity: 10, refillPerSecond: 1 }));
  const taken = lab.limiter.take(caller, lab.policy, 3);
  await lab.pass(1);
  const decision = await taken;
  assert.equal(decision.source, 'store');
  lab.limiter.giveBack(caller, lab.policy, decision, 3);
  lab.limiter.resetBucket(lab.takes[0]?.key ?? '');
  await lab.pass(10);
  assert.deepEqual(
    lab.takes.map(({ refund }) => refund),
    [0],
  );
});

test('a limiter with leases spends a token that was given back once more, and only once', async () => {
  const lab = new LeaseLab(large);
  await lab.flow(200, 4);
  const decision = await lab.limiter.take(caller, large, 3);
  assert.equal(decision.source, 'lease');
  for (let i = 0; i < 2; i++) lab.limiter.giveBack(caller, large, decision, 3);
  await lab.pass(LEASE_MS);
  assert.ok(Math.abs(lab.level() - (10_000 - 800 + 250)) <= 1, `${lab.level()}`);
  const late = lab.limiter.take(caller, large, 3);
  await lab.pass(1);
  assert.equal((await late).source, 'store');
  lab.limiter.giveBack(caller, large, await late, 3);
  await lab.pass(LEASE_MS);
  assert.ok(Math.abs(lab.level() - (10_000 - 800 + 301)) <= 1, `${lab.level()}`);
});

test('a limiter with leases spends its unexpired lots while the store is away', async () => {
  const lab = new LeaseLab(large);
  await lab.flow(200, 4);
  lab.store.available = false;
  const [first] = await takeMany(lab.limiter, 1, { policy: large });
  assert.equal(first?.source, 'lease');
  await lab.pass(LEASE_MS);
  const [second] = await takeMany(lab.limiter, 1, { policy: large });
  assert.equal(second?.source, 'local');
});

test('a limiter with leases keeps the order of mixed costs: requests do not overtake a waiting large one by the lease', async () => {
  const lab = new LeaseLab(large);
  await lab.flow(200, 4);
  const held = lab.limiter.take(caller, large, 500);
  assert.ok(held instanceof Promise, 'more than the lots hold');
  assert.ok(lab.limiter.take(caller, large, 1) instanceof Promise);
  await lab.pass(1);
  assert.equal((await held).allowed, true);
  assert.ok(!(lab.limiter.take(caller, large, 1) instanceof Promise));
});

test('a limiter with leases notices within a second that a raised limit admits a cost above the old one', async () => {
  const lab = new LeaseLab(policyOf({ capacity: 3, refillPerSecond: 1_000 }));
  const ask = async (): Promise<Decision> => {
    const taken = lab.limiter.take(caller, lab.policy, 4);
    await lab.pass(1);
    return taken;
  };
  assert.equal((await ask()).retryAfterMs, -1);
  // Another machine, with a newer file.
  const raised = { capacity: 10, rateMicro: 1e9, versionUs: 5_000, need: 1, partial: true, ...PLAIN_TAKE };
  lab.memory.take({ key: lab.takes[0]?.key ?? '', ...raised });
  await lab.pass(900);
  assert.deepEqual([(await ask()).allowed, lab.takes.length], [false, 1]);
  await lab.pass(100);
  const decision = await ask();
  assert.deepEqual([decision.allowed, decision.capacity], [true, 10]);
});

test('a limiter with leases asks the store for a client far over its limit at most twice per token and worker, and twice a second', async () => {
  for (const [capacity, refillPerSecond] of [
    [1, 0.5],
    [1, 10],
    [100, 10],
    [20, 200],
    [500, 5_000],
  ] as const) {
    const lab = new LeaseLab(policyOf({ capacity, refillPerSecond }), { workers: 2 });
    await lab.flow(1_000, 12);
    const before = lab.takes.length;
    await lab.flow(1_000, 12);
    const perWorker = (lab.takes.length - before) / 2;
    assert.ok(perWorker <= 2 * Math.max(1, refillPerSecond), `${perWorker} at ${refillPerSecond}/s`);
  }
});
