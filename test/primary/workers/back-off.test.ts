import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { BackOff } from '../../../src/primary/workers/back-off.ts';

test('the first two deaths are mended at once, then the wait doubles from 500 ms up to 5 s', () => {
  const backOff = new BackOff();
  const delays = [0, 1, 2, 3, 4, 5, 6, 7].map((atMs) => backOff.delayMsAfter(atMs));
  assert.deepEqual(delays, [0, 0, 500, 1000, 2000, 4000, 5000, 5000]);
});

test('deaths more than 30 s ago are forgiven', () => {
  const backOff = new BackOff();
  assert.equal(backOff.delayMsAfter(0), 0);
  assert.equal(backOff.delayMsAfter(29_000), 0);
  assert.equal(backOff.delayMsAfter(30_000), 0, 'the first is 30 s old');
  assert.equal(backOff.delayMsAfter(31_000), 500);
  assert.equal(backOff.delayMsAfter(61_001), 0);
});

test('whatever the history, the wait is 0…5000 ms, and 0 after 30 quiet seconds', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 40_000 })), (gapsMs) => {
      const backOff = new BackOff();
      let nowMs = 0;
      for (const gapMs of gapsMs) {
        nowMs += gapMs;
        const delayMs = backOff.delayMsAfter(nowMs);
        assert.ok(delayMs >= 0 && delayMs <= 5000);
        if (gapMs >= 30_000) assert.equal(delayMs, 0);
      }
    }),
  );
});
