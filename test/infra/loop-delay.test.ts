import assert from 'node:assert/strict';
import { performance } from 'node:perf_hooks';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { LoopDelayMonitor } from '../../src/infra/loop-delay.ts';
import { block } from '../support/block.ts';

// First of the file: the timers of the others go on.
test('measuring turn by turn lets an idle loop sleep', async () => {
  const turns = (): number => performance.nodeTiming.uvMetricsInfo.loopCount;
  new LoopDelayMonitor();
  const before = turns();
  await delay(300);
  // A timer of 20 ms would have made 15 of them.
  assert.ok(turns() - before < 8, `${turns() - before} turns`);
});

for (const [way, major] of [
  ['turn by turn', 26],
  ['with a timer, as on Node 24', 24],
] as const) {
  test(`a stall of the loop is measured ${way}, without the timer's own period, and only once`, async () => {
    const monitor = new LoopDelayMonitor(major);
    // Two samples of the timer before the stall.
    await delay(50);
    block(200);
    await delay(50);
    const delays = monitor.take();
    assert.ok(delays.maxMs >= 170 && delays.maxMs < 5_000, `${delays.maxMs} ms`);
    assert.equal(delays.p99Ms, delays.maxMs);
    assert.ok(delays.meanMs > 0 && delays.stddevMs >= 0);
    assert.ok(delays.minMs <= delays.p50Ms && delays.p50Ms <= delays.p90Ms && delays.p90Ms <= delays.p99Ms);
    await delay(50);
    assert.ok(monitor.takeMaxMs() < 170);
    assert.equal(monitor.takeMaxMs(), 0, 'nothing was measured since');
  });
}
