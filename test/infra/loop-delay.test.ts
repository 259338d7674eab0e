import assert from 'node:assert/strict';
import { monitorEventLoopDelay, performance } from 'node:perf_hooks';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { LoopDelayMonitor } from '../../src/infra/loop-delay.ts';
import { block } from '../support/block.ts';
import { waitFor } from '../support/wait.ts';

// First in the file, because the timers of the other tests keep running.
test('measuring per turn lets an idle loop sleep', async () => {
  const turns = (): number => performance.nodeTiming.uvMetricsInfo.loopCount;
  new LoopDelayMonitor();
  const before = turns();
  // The timers are counted over real time.
  await delay(300);
  // A timer of 20 ms would have fired 15 times.
  assert.ok(turns() - before < 8, `${turns() - before} turns`);
});

for (const [way, major] of [
  ['turn by turn', 26],
  ['with a timer, as on Node 24', 24],
] as const) {
  test(`a stall of the loop is measured ${way}, without the timer's own period, and only once`, async (t) => {
    const monitor = new LoopDelayMonitor(major);
    // Begins later, so the monitor has measured at least what it measures.
    const witness = monitorEventLoopDelay({ resolution: 20 });
    witness.enable();
    t.after(() => witness.disable());
    const moreSamples = () => waitFor('samples of a timer', () => witness.count > 2);
    await moreSamples();
    block(200);
    await waitFor('the stall to be measured', () => witness.max > 170e6);
    const delays = monitor.take();
    assert.ok(delays.maxMs >= 170 && delays.maxMs < 5_000, `${delays.maxMs} ms`);
    assert.equal(delays.p99Ms, delays.maxMs);
    assert.ok(delays.meanMs > 0 && delays.stddevMs >= 0);
    assert.ok(delays.minMs <= delays.p50Ms && delays.p50Ms <= delays.p90Ms && delays.p90Ms <= delays.p99Ms);
    witness.reset();
    await moreSamples();
    assert.ok(monitor.takeMaxMs() < 170);
    assert.equal(monitor.takeMaxMs(), 0, 'nothing was measured since');
  });
}
