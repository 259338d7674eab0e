/** The sketch of who sends most, against exact counts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { hashBucketName } from '../../../src/limit/bucket/bucket-key.ts';
import type { BucketOwner } from '../../../src/limit/caller/bucket-owner.ts';
import { CallerRates } from '../../../src/limit/caller/caller-rates.ts';
import { HeavyHitters } from '../../../src/limit/caller/heavy-hitters.ts';
import { seededRandom } from '../../balance/fixtures.ts';

function callerOf(name: string, clientId: string | null = null): BucketOwner {
  const match = { client: null, bucketName: name, tombstoneUs: 0 };
  return { clientId, mode: 'limit', match, bucketHash: hashBucketName(name) };
}

/** Counts exactly, by the same weights. */
class Exact {
  readonly counts = new Map<string, number>();
  #weight = 1;
  #weightedSec = 0;

  count(name: string): void {
    this.counts.set(name, (this.counts.get(name) ?? 0) + this.#weight);
  }

  advance(sec: number): void {
    this.#weightedSec += this.#weight * sec;
    this.#weight *= Math.exp(sec / 30);
  }

  perSec(name: string): number {
    return (this.counts.get(name) ?? 0) / this.#weightedSec;
  }

  top(limit: number): string[] {
    return [...this.counts]
      .sort(([, a], [, b]) => b - a)
      .slice(0, limit)
      .map(([name]) => name);
  }
}

/** Draws ranks 0 to count - 1, rank r in proportion to 1 / (r + 1). */
function zipf(count: number, random: () => number): () => number {
  const sums = new Float64Array(count);
  for (let i = 0, sum = 0; i < count; i++) sums[i] = sum += 1 / (i + 1);
  const total = sums[count - 1]!;
  return () => {
    const point = random() * total;
    let from = 0;
    for (let to = count - 1; from < to; ) {
      const middle = (from + to) >> 1;
      if (sums[middle]! < point) from = middle + 1;
      else to = middle;
    }
    return from;
  };
}

test('the top ten of 100,000 callers are right within 1 %, also where others have become the heaviest', () => {
  const random = seededRandom(17);
  const callers = Array.from({ length: 100_000 }, (_, i) =>
    callerOf(`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`),
  );
  const draw = zipf(callers.length, random);
  const rates = new CallerRates(0);
  const exact = new Exact();
  for (let sec = 1; sec <= 60; sec++) {
    // After half of the time other callers are the heavy ones.
    const shift = sec <= 30 ? 0 : 50_000;
    for (let i = 0; i < 10_000; i++) {
      const caller = callers[(draw() + shift) % callers.length]!;
      rates.requests.count(caller);
      exact.count(caller.match.bucketName);
    }
    rates.advance(sec * 1_000);
    exact.advance(1);
  }
  const { items, errorPerSec, totalPerSec } = rates.top('requests', 60_000);
  assert.ok(Math.abs(totalPerSec - 10_000) < 1, String(totalPerSec));
  const expected = exact.top(10);
  assert.deepEqual(
    items.slice(0, 10).map(({ name }) => name),
    expected,
  );
  for (const { name, requestsPerSec } of items.slice(0, 10)) {
    const truth = exact.perSec(name);
    assert.ok(requestsPerSec <= truth * (1 + 1e-9), `${name}: ${requestsPerSec} of ${truth}`);
    assert.ok(requestsPerSec >= truth * 0.99, `${name}: ${requestsPerSec} of ${truth}`);
  }
  for (const { name, requestsPerSec } of items) {
    const truth = exact.perSec(name);
    assert.ok(
      requestsPerSec <= truth * (1 + 1e-9) && truth <= requestsPerSec + errorPerSec,
      `${name}: ${requestsPerSec} of ${truth}, bound ${errorPerSec}`,
    );
  }
});

test('no rate is too high, or too low by more than the bound, whoever comes in whatever order', () => {
  const step = fc.oneof(
    { weight: 20, arbitrary: fc.nat({ max: 60 }) },
    { weight: 1, arbitrary: fc.constant(null) },
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 400 }), (steps) => {
      const sketch = new HeavyHitters(16, 0);
      const exact = new Exact();
      let nowMs = 0;
      const advance = () => {
        nowMs += 7_000;
        sketch.advance(nowMs);
        exact.advance(7);
      };
      for (const each of steps) {
        if (each === null) advance();
        else {
          sketch.count(callerOf(`c${each}`));
          exact.count(`c${each}`);
        }
      }
      advance();
      const { items, errorPerSec, totalPerSec } = sketch.top(8);
      const shown = new Map(items.map(({ name, perSec }) => [name, perSec]));
      for (const name of exact.counts.keys()) {
        const truth = exact.perSec(name);
        const perSec = shown.get(name) ?? 0;
        assert.ok(
          perSec <= truth + 1e-9 && truth <= perSec + errorPerSec + 1e-9,
          `${name}: ${perSec} of ${truth}, bound ${errorPerSec}`,
        );
      }
      const all = [...exact.counts.keys()].reduce((sum, name) => sum + exact.perSec(name), 0);
      assert.ok(Math.abs(totalPerSec - all) < 1e-6);
    }),
    { seed: 5, numRuns: 300 },
  );
});

test('a caller that becomes a client, or is none any more, is shown as what it is now', () => {
  const sketch = new HeavyHitters(16, 0);
  const shown = [null, '10.0.0.1', null].map((clientId) => {
    sketch.count(callerOf('10.0.0.1', clientId));
    sketch.advance(1_000);
    return sketch.top(8).items.map(({ name, isClient }) => [name, isClient]);
  });
  assert.deepEqual(shown, [[['10.0.0.1', false]], [['10.0.0.1', true]], [['10.0.0.1', false]]]);
});

test('a flood of callers that come once pushes out nobody who sends much, and none of them looks heavy', () => {
  const rates = new CallerRates(0);
  const heavy = callerOf('acme', 'acme');
  for (let i = 0; i < 200_000; i++) {
    rates.requests.count(callerOf(`flood-${i}`));
    if (i % 100 === 0) rates.requests.count(heavy);
  }
  rates.advance(10_000);
  const { items } = rates.top('requests', 10_000);
  assert.deepEqual([items[0]?.name, items[0]?.isClient, items[0]?.requestsPerSec], ['acme', true, 200]);
  assert.ok((items[1]?.requestsPerSec ?? 1) < 1, JSON.stringify(items[1]));
});

test('limited requests have a list of their own, and both rates are shown in both', () => {
  const rates = new CallerRates(0);
  const [busy, limited] = [callerOf('busy'), callerOf('limited')];
  for (let i = 0; i < 100; i++) rates.requests.count(busy);
  for (let i = 0; i < 20; i++) rates.requests.count(limited);
  for (let i = 0; i < 10; i++) rates.limited.count(limited);
  const top = (by: 'requests' | 'limited') =>
    rates
      .top(by, 10_000)
      .items.map(({ name, requestsPerSec, limitedPerSec }) => [name, requestsPerSec, limitedPerSec]);
  assert.deepEqual(top('requests'), [
    ['busy', 10, 0],
    ['limited', 2, 1],
  ]);
  assert.deepEqual(top('limited'), [['limited', 2, 1]]);
});

test('the bound holds for limited requests too where those who send most are asked for', () => {
  const rates = new CallerRates(0);
  const exact = new Exact();
  // Nearly all of so many have a place among all callers, and some have none among the limited ones.
  const callers = Array.from({ length: 1_200 }, (_, i) => callerOf(`caller-${i}`));
  for (let round = 0; round < 10; round++)
    for (const caller of callers) {
      rates.requests.count(caller);
      rates.limited.count(caller);
      exact.count(caller.match.bucketName);
    }
  rates.advance(10_000);
  exact.advance(10);
  const { items, errorPerSec } = rates.top('requests', 10_000);
  const missing = items.map(({ name, limitedPerSec }) => exact.perSec(name) - limitedPerSec);
  assert.ok(
    missing.some((perSec) => perSec > 0.1),
    'some have no place',
  );
  assert.ok(missing.every((perSec) => perSec >= -1e-9 && perSec <= errorPerSec + 1e-9));
});

test('days of counting change nothing: old counts fade, and sums stay in range', () => {
  const sketch = new HeavyHitters(16, 0);
  const [old, steady] = [callerOf('old'), callerOf('steady')];
  for (let i = 0; i < 1_000; i++) sketch.count(old);
  const seconds = 3 * 24 * 3_600;
  for (let sec = 1; sec <= seconds; sec++) {
    sketch.count(steady);
    sketch.count(steady);
    sketch.advance(sec * 1_000);
  }
  const { items, totalPerSec } = sketch.top(8);
  assert.ok(Math.abs((items[0]?.perSec ?? 0) - 2) < 1e-6, JSON.stringify(items));
  assert.ok(Math.abs(totalPerSec - 2) < 1e-6);
  assert.equal(items.find(({ name }) => name === 'old')?.perSec.toFixed(6) ?? '0.000000', '0.000000');
});

/** A caller that somebody has chosen for its hash. */
function chosen(bucketHash: string): BucketOwner {
  const match = { client: null, bucketName: bucketHash, tombstoneUs: 0 };
  return { clientId: null, mode: 'limit', match, bucketHash };
}

test('nobody can choose callers that push each other out of the sketch', () => {
  for (const prefix of ['AAAA', 'zz_-', 'Q7bd']) {
    const sketch = new HeavyHitters(4_096, 0);
    const senders = Array.from({ length: 9 }, (_, i) => chosen(`${prefix}${hashBucketName(`sender ${i}`)}`));
    const others = Array.from({ length: 200 }, (_, i) => callerOf(`203.0.113.${i}`));
    for (let i = 0; i < 10_000; i++) {
      sketch.count(senders[i % 9]!);
      if (i % 9 === 0) sketch.count(others[(i / 9) % 200]!);
    }
    sketch.advance(1_000);
    const shown = sketch.top(9).items.map(({ name }) => name);
    assert.deepEqual(new Set(shown), new Set(senders.map(({ bucketHash }) => bucketHash)));
  }
});

test('who loses a place is different in each sketch', () => {
  const callers = Array.from({ length: 2_000 }, (_, i) => callerOf(`2001:db8::${i.toString(16)}`));
  const [one, other] = [0, 1].map(() => {
    const sketch = new HeavyHitters(512, 0);
    for (const caller of callers) sketch.count(caller);
    sketch.advance(1_000);
    return JSON.stringify(callers.map(({ bucketHash }) => sketch.rateOf(bucketHash) > 0));
  });
  assert.notEqual(one, other);
});
