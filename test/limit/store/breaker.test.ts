import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Breaker, FAILURES_TO_OPEN, PROBE_EVERY_MS, PROBE_JITTER } from '../../../src/limit/store/breaker.ts';

function makeBreaker(random = () => 0.5) {
  const changes: boolean[] = [];
  const timers: { delayMs: number; fn: () => void; live: boolean }[] = [];
  let probes = 0;
  const breaker = new Breaker('', {
    probe: () => probes++,
    onChange: (open) => changes.push(open),
    random,
    timers: {
      after(delayMs, fn) {
        const timer = { delayMs, fn, live: true };
        timers.push(timer);
        return () => {
          timer.live = false;
        };
      },
    },
  });
  const fire = (): void => {
    const timer = timers.findLast((candidate) => candidate.live);
    assert.ok(timer, 'no timer is running');
    timer.live = false;
    timer.fn();
  };
  return { breaker, changes, timers, fire, probes: () => probes };
}

test('a breaker opens after five failures in a row, and a success resets the count', () => {
  const { breaker, changes } = makeBreaker();
  for (let i = 1; i < FAILURES_TO_OPEN; i++) breaker.fail();
  breaker.succeed();
  for (let i = 1; i < FAILURES_TO_OPEN; i++) breaker.fail();
  assert.equal(breaker.open, false);
  breaker.fail();
  assert.equal(breaker.open, true);
  assert.deepEqual(changes, [true]);
});

test('a breaker opens at once on silence, or when the store reports that it is away', () => {
  for (const cause of ['silence', 'away'] as const) {
    const { breaker, changes } = makeBreaker();
    breaker[cause]();
    breaker[cause]();
    assert.deepEqual(changes, [true], 'one change, one line in the log');
  }
});

test('a breaker probes every 250 ms ± 20 % while open, and stops at the first success', () => {
  for (const [random, expectedMs] of [
    [0, PROBE_EVERY_MS * (1 - PROBE_JITTER)],
    [0.5, PROBE_EVERY_MS],
    [1, PROBE_EVERY_MS * (1 + PROBE_JITTER)],
  ] as const) {
    const { breaker, timers, fire, probes, changes } = makeBreaker(() => random);
    breaker.silence();
    fire();
    fire();
    assert.equal(probes(), 2);
    for (const { delayMs } of timers) assert.ok(Math.abs(delayMs - expectedMs) < 1e-9);
    breaker.succeed();
    assert.deepEqual(changes, [true, false]);
    assert.ok(timers.every((timer) => !timer.live));
  }
});

test('a closed breaker leaves no timer behind', () => {
  const { breaker, timers } = makeBreaker();
  breaker.away();
  breaker.close();
  assert.ok(timers.every((timer) => !timer.live));
});
