import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { BackOff } from '../../../src/primary/workers/back-off.ts';

const failedStart = [false, 200] as const;

test('two starts that fail are repeated at once, then the wait doubles from 500 ms up to 5 s', () => {
  const backOff = new BackOff();
  const delays = Array.from({ length: 8 }, () => backOff.delayMsAfter(...failedStart));
  assert.deepEqual(delays, [0, 0, 500, 1000, 2000, 4000, 5000, 5000]);
});

test('B39: a worker that had come up is replaced at once, however often it dies, and ends a row of failed starts', () => {
  const backOff = new BackOff();
  for (let i = 0; i < 100; i++) assert.equal(backOff.delayMsAfter(true, 1_000), 0);
  for (let i = 0; i < 5; i++) backOff.delayMsAfter(...failedStart);
  assert.equal(backOff.delayMsAfter(true, 1_000), 0);
  assert.equal(backOff.delayMsAfter(...failedStart), 0);
});

test('a slot whose workers die as soon as they serve starts one a second', () => {
  const backOff = new BackOff();
  const delays = [600, 600, 600, 999, 1000, 600].map((uptimeMs) => backOff.delayMsAfter(true, uptimeMs));
  assert.deepEqual(delays, [0, 0, 400, 1, 0, 0]);
});

test('whatever the history, the wait is 0…5000 ms, and at most 1 s after one that came up', () => {
  const death = fc.tuple(fc.boolean(), fc.integer({ min: 0, max: 3_000 }));
  fc.assert(
    fc.property(fc.array(death), (deaths) => {
      const backOff = new BackOff();
      for (const [cameUp, uptimeMs] of deaths) {
        const delayMs = backOff.delayMsAfter(cameUp, uptimeMs);
        assert.ok(delayMs >= 0 && delayMs <= (cameUp ? Math.max(0, 1_000 - uptimeMs) : 5_000));
      }
    }),
  );
});
