import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { idealAdmissions, WindowOracle } from './oracle.ts';

interface Spending {
  afterMs: number;
  tokens: number;
}

const spendings = fc.array(
  fc.record({ afterMs: fc.integer({ min: 0, max: 3_000 }), tokens: fc.integer({ min: 1, max: 5 }) }),
  { minLength: 1, maxLength: 30 },
);
const limits = fc.record({
  capacity: fc.integer({ min: 1, max: 20 }),
  ratePerSec: fc.integer({ max: 8, min: 1 }),
});

/** Checks all windows one by one, which the oracle must match in one pass. */
function worstWindow(list: readonly Spending[], capacity: number, ratePerSec: number): number {
  let atMs = 0;
  const times = list.map(({ afterMs, tokens }) => {
    atMs += afterMs;
    return { atMs, tokens };
  });
  let worst = 0;
  for (let from = 0; from < times.length; from++) {
    let sum = 0;
    for (const { atMs: endMs, tokens } of times.slice(from)) {
      sum += tokens;
      const seconds = (endMs - (times[from]?.atMs ?? 0)) / 1000;
      worst = Math.max(worst, sum - capacity - ratePerSec * seconds);
    }
  }
  return worst;
}

test('the window oracle finds the excess of the worst window', () => {
  fc.assert(
    fc.property(spendings, limits, (list, { capacity, ratePerSec }) => {
      const oracle = new WindowOracle({ capacity, ratePerSec }, 0);
      let atMs = 0;
      for (const { afterMs, tokens } of list) {
        atMs += afterMs;
        oracle.spend(atMs, tokens);
      }
      const expected = worstWindow(list, capacity, ratePerSec);
      assert.ok(Math.abs(oracle.worst - expected) < 1e-6, `${oracle.worst}, not ${expected}`);
    }),
  );
});

test('the window oracle allows for a fault once, in windows that contain it or begin within the lag', () => {
  const debtAt = (atMs: number) => {
    const oracle = new WindowOracle({ capacity: 10, ratePerSec: 1 }, 0);
    oracle.allow(1_000, 10, 50);
    return oracle.spend(atMs, 21);
  };
  assert.deepEqual([1_000, 1_049, 1_051].map(debtAt), [1, 1, 11]);
});

test('the window oracle cuts the level when limits shrink and adds nothing when they grow', () => {
  const oracle = new WindowOracle({ capacity: 10, ratePerSec: 1 }, 0);
  oracle.spend(0, 4);
  oracle.changeLimits(0, { capacity: 100, ratePerSec: 2 });
  assert.equal(oracle.level, 6);
  oracle.spend(1_000, 0);
  assert.equal(oracle.level, 8);
  oracle.changeLimits(1_000, { capacity: 3, ratePerSec: 1 });
  assert.equal(oracle.spend(1_000, 5), 2);
});

test('the window oracle counts the admissions of a bucket without delay', () => {
  assert.equal(idealAdmissions({ capacity: 2, ratePerSec: 1 }, [0, 0, 0, 500, 1_000, 1_001, 9_000]), 4);
});
