/** The limit that follows latency, on a clock of its own, against a backend that is simulated. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Clock } from '../../../src/contract/clock.ts';
import { DeadlineTimer } from '../../../src/infra/deadline-timer.ts';
import { AdaptiveLimit } from '../../../src/proxy/adaptive-limit.ts';
import { makeBackends } from '../../balance/fixtures.ts';
import { Random } from '../../fuzz/random.ts';
import { FakeTime, TICK_MS } from '../../support/fake-time.ts';

/** Serves `slots` requests at a time, `serviceMs` each, and more slowly the more wait beyond `knee`. */
interface Shape {
  slots: number;
  serviceMs: number;
  knee: number;
}

/** Offers requests to one backend over several workers with a limit each, which drop what has waited for 100 ms. */
class Simulation {
  nowMs = 0;
  good = 0;
  dropped = 0;
  readonly latencies: number[] = [];
  readonly limits: AdaptiveLimit[];
  readonly #shape: Shape;
  readonly #random = new Random(7);
  readonly #timer: DeadlineTimer;
  readonly #workers;
  readonly #queue: { worker: number; sinceMs: number; arrivedMs: number }[] = [];
  readonly #served: { atMs: number; worker: number; sinceMs: number; arrivedMs: number }[] = [];

  constructor(shape: Shape, workers: number) {
    this.#shape = shape;
    const clock: Clock = { monotonicMs: () => this.nowMs, wallMs: () => this.nowMs };
    const timer = new DeadlineTimer({ clock, onError: (error) => assert.ifError(error) });
    this.#timer = timer;
    this.#workers = Array.from({ length: workers }, () => {
      const backend = makeBackends([1])[0];
      assert.ok(backend !== undefined);
      const limit = new AdaptiveLimit(backend, { clock, timer });
      limit.configure(512);
      return { backend, limit, waiting: [] as number[] };
    });
    this.limits = this.#workers.map(({ limit }) => limit);
  }

  /** Runs for this long, at this rate. */
  run(forMs: number, perSec: number): void {
    const untilMs = this.nowMs + forMs;
    this.good = this.dropped = 0;
    this.latencies.length = 0;
    let nextMs = this.nowMs;
    while (this.nowMs < untilMs) {
      const doneMs = this.#served[0]?.atMs ?? Number.POSITIVE_INFINITY;
      this.nowMs = Math.min(nextMs, doneMs);
      this.#timer.tick();
      if (doneMs <= nextMs) this.#finish();
      else {
        this.#workers[this.#random.below(this.#workers.length)]?.waiting.push(this.nowMs);
        nextMs += (-Math.log(1 - this.#random.below(1e6) / 1e6) * 1_000) / perSec;
      }
      this.#admit();
    }
  }

  #finish(): void {
    const done = this.#served.shift();
    if (done === undefined) return;
    const worker = this.#workers[done.worker];
    worker?.limit.sample(this.nowMs - done.sinceMs);
    worker?.backend.leave();
    this.good += 1;
    this.latencies.push(this.nowMs - done.arrivedMs);
  }

  #admit(): void {
    for (const [index, { backend, waiting }] of this.#workers.entries()) {
      for (; waiting[0] !== undefined && waiting[0] < this.nowMs - 100; this.dropped += 1) waiting.shift();
      while (backend.rank !== 0 && waiting.length > 0) {
        const arrivedMs = waiting.shift() ?? 0;
        backend.enter();
        this.#queue.push({ worker: index, sinceMs: this.nowMs, arrivedMs });
      }
    }
    const { slots, serviceMs, knee } = this.#shape;
    while (this.#served.length < slots && this.#queue.length > 0) {
      const next = this.#queue.shift();
      if (next === undefined) return;
      const slowness = Math.max(1, (this.#queue.length + this.#served.length + 1) / knee);
      const took = serviceMs * slowness * (0.8 + this.#random.below(400) / 1_000);
      this.#served.push({ ...next, atMs: this.nowMs + took });
      this.#served.sort((a, b) => a.atMs - b.atMs);
    }
  }

  p99(): number {
    const sorted = this.latencies.toSorted((a, b) => a - b);
    return sorted[Math.floor(sorted.length * 0.99)] ?? 0;
  }
}

for (const [title, shape, workers] of [
  ['a few requests at a time', { slots: 4, serviceMs: 10, knee: 32 }, 2],
  ['many', { slots: 64, serviceMs: 20, knee: 200 }, 2],
  ['slow ones', { slots: 20, serviceMs: 40, knee: 40 }, 4],
] as const)
  test(`with 3 × its capacity for a minute, a backend that serves ${title} does at least 90 % of its best, and p99 is below 250 ms`, () => {
    const simulation = new Simulation(shape, workers);
    const capacity = (shape.slots * 1_000) / shape.serviceMs;
    simulation.run(10_000, capacity / 2);
    simulation.run(60_000, capacity * 3);
    const percent = (simulation.good / 60 / capacity) * 100;
    assert.ok(percent >= 90, `${percent.toFixed(1)} %`);
    assert.ok(simulation.p99() <= 250, `p99 ${simulation.p99().toFixed(0)} ms`);
    const limits = simulation.limits.map(({ limit }) => limit);
    const total = limits.reduce((sum, limit) => sum + limit, 0);
    assert.ok(total < 1.2 * shape.knee, `limits ${limits}`);
  });

test('a backend that gets slower keeps few requests, and gets more again when it recovers', () => {
  const shape = { slots: 64, serviceMs: 10, knee: 1_000 };
  const simulation = new Simulation(shape, 1);
  simulation.run(10_000, 8_000);
  const limitOf = () => simulation.limits[0]?.limit ?? 0;
  const fast = limitOf();
  assert.ok(fast >= 60, `${fast}`);
  shape.slots = 4;
  simulation.run(5_000, 8_000);
  const slow = limitOf();
  assert.ok(slow < 20, `${slow}`);
  shape.slots = 64;
  simulation.run(10_000, 8_000);
  assert.ok(limitOf() >= 60, `${limitOf()}`);
});

test('a calm load is held up while the limit grows to it, and never again', () => {
  const simulation = new Simulation({ slots: 64, serviceMs: 50, knee: 1_000 }, 1);
  simulation.run(95_000, 123);
  simulation.run(300_000, 123);
  assert.equal(simulation.dropped, 0);
});

/** A limit, and what its backend answers one after the other. */
function startLimit() {
  const [backend] = makeBackends([1]);
  assert.ok(backend !== undefined);
  const time = new FakeTime();
  const limit = new AdaptiveLimit(backend, time);
  limit.configure(512);
  const each = (count: number, act: () => void) => {
    for (let i = 0; i < count; i += 1) {
      time.nowMs += 10;
      act();
    }
  };
  return { backend, limit, time, each };
}

test('a request that its client gives up after a long wait says that the backend is slow, one after a short wait says nothing', () => {
  const { backend, limit, each } = startLimit();
  each(200, () => limit.sample(10));
  const before = limit.limit;
  each(200, () => limit.abandoned(5));
  assert.equal(limit.limit, before);
  for (let i = 0; i < 100; i += 1) backend.enter();
  each(100, () => limit.sample(10));
  const grown = limit.limit;
  assert.ok(grown > 20, `${grown}`);
  each(100, () => limit.abandoned(1_000));
  assert.ok(limit.limit < grown / 2, `${limit.limit} of ${grown}`);
});

test('a light load is never held up, and the limit never passes that of the settings', () => {
  const simulation = new Simulation({ slots: 64, serviceMs: 10, knee: 1_000 }, 1);
  simulation.run(40_000, 500);
  assert.ok(simulation.good > 19_000, `${simulation.good} served`);
  for (const limit of simulation.limits) {
    limit.configure(2);
    assert.equal(limit.limit, 2);
  }
});

test('a measurement ends after a second without an answer: base and limit are what they were', () => {
  const { backend, limit, time, each } = startLimit();
  for (let i = 0; i < 100; i += 1) backend.enter();
  each(200, () => limit.sample(10));
  const grown = limit.limit;
  assert.ok(grown > 20, `${grown}`);
  assert.equal(time.timer.size, 0, 'twenty answers ended the first one');
  for (let i = 0; i < 97; i += 1) backend.leave();
  time.pass(30_000);
  limit.sample(10);
  assert.deepEqual([limit.limit, backend.rank], [3, 0]);
  time.pass(1_000 - TICK_MS);
  assert.equal(limit.limit, 3);
  time.pass(2 * TICK_MS);
  assert.equal(limit.limit, grown);
  assert.notEqual(backend.rank, 0);
  assert.equal(time.timer.size, 0);
  each(100, () => limit.sample(50));
  assert.ok(limit.limit < grown, 'a latency far above the former base');
});

test('the first measurement goes on until an answer comes, which is the base', () => {
  const { backend, limit, time, each } = startLimit();
  limit.sample(2_000);
  for (let i = 0; i < 100; i += 1) backend.enter();
  time.pass(5_000);
  assert.deepEqual([limit.limit, time.timer.size], [3, 0]);
  each(1_000, () => limit.sample(4_000));
  const grown = limit.limit;
  assert.ok(grown > 20, `${grown}`);
  each(100, () => limit.sample(40_000));
  assert.ok(limit.limit < grown / 2, `${limit.limit} of ${grown}`);
});

test('a limit that was stopped holds up nobody, whatever its measurement and late answers say', () => {
  const { backend, limit, time } = startLimit();
  limit.sample(10);
  for (let i = 0; i < 4; i += 1) backend.enter();
  assert.equal(backend.rank, 0);
  limit.stop();
  assert.equal(time.timer.size, 0);
  time.pass(40_000);
  limit.sample(10);
  assert.notEqual(backend.rank, 0);
});
