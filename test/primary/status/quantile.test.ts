import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { METRICS } from '../../../src/contract/metrics.ts';
import { quantileMs } from '../../../src/primary/status/quantile.ts';

const BOUNDS = [0.001, 0.01, 0.1];

test('a quantile lies in its bucket as far as its rank does', () => {
  assert.equal(quantileMs(BOUNDS, [10, 0, 0, 0], 0.5, 0), 0.5);
  assert.equal(quantileMs(BOUNDS, [0, 10, 0, 0], 0.5, 0), 5.5);
  assert.equal(quantileMs(BOUNDS, [90, 10, 0, 0], 0.9, 0), 1);
  assert.equal(quantileMs(BOUNDS, [7, 7, 90, 10, 0, 0], 0.9, 2), 1, 'a row may begin later');
});

test('above the last bound a quantile is that bound, and of nothing there is none', () => {
  assert.equal(quantileMs(BOUNDS, [0, 0, 0, 3], 0.5, 0), 100);
  assert.equal(quantileMs(BOUNDS, [0, 0, 0, 0], 0.99, 0), null);
});

test('the estimate and the true quantile are in the same bucket', () => {
  const { bucketsSec } = METRICS.sluice_request_duration_seconds;
  const quantile = fc.constantFrom(0.5, 0.95, 0.99);
  const seconds = fc.array(fc.double({ min: 1e-5, max: 59, noNaN: true }), { minLength: 1, maxLength: 300 });
  fc.assert(
    fc.property(seconds, quantile, (values, q) => {
      const sorted = [...values].sort((a, b) => a - b);
      const exact = sorted[Math.ceil(q * sorted.length) - 1]!;
      const counts = new Array<number>(bucketsSec.length + 1).fill(0);
      const bucketOf = (value: number) => bucketsSec.findIndex((bound) => value <= bound * (1 + 1e-9));
      for (const value of values) counts[bucketsSec.findIndex((bound) => value <= bound)]! += 1;
      const estimate = (quantileMs(bucketsSec, counts, q, 0) ?? 0) / 1_000;
      assert.equal(bucketOf(estimate), bucketOf(exact));
    }),
  );
});
