import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeLogger } from '../../src/infra/logging/logger.ts';
import { WorkerMetrics } from '../../src/infra/worker-metrics.ts';
import { Overload } from '../../src/proxy/overload.ts';
import { type LoadSample, OverloadMonitor } from '../../src/worker/overload-monitor.ts';

const QUIET: LoadSample = { loopDelayMs: 2, cpuRatio: 0.8, heapPercent: 40, memoryPercent: 0 };
const LOW = 0;
const NORMAL = 1;
const CRITICAL = 2;
const TICK_MS = 250;
const REQUESTS = 400;

/** A monitor that is given samples, four a second, each followed by four hundred requests. */
function scene(asking: readonly number[] = [NORMAL]) {
  const overload = new Overload(new WorkerMetrics());
  const lines: Record<string, unknown>[] = [];
  const out = { write: (line: string) => void lines.push(JSON.parse(line)) };
  const logger = makeLogger({ level: 'info', format: 'json' }, { out });
  const settings = { eventLoopDelayMs: 100, heapPercent: { soften: 92, shed: 95 } };
  const monitor = new OverloadMonitor(overload, logger, () => settings);
  let nowMs = 0;
  let refused = [0, 0, 0];
  const pass = (count: number, sample: Partial<LoadSample> = {}): void => {
    for (let tick = 0; tick < count; tick++) {
      nowMs += TICK_MS;
      monitor.judge({ ...QUIET, ...sample }, nowMs);
      refused = [0, 0, 0];
      for (let i = 0; i < REQUESTS && overload.level !== 'none'; i++) {
        for (const priorityIndex of asking) {
          if (!overload.admit(priorityIndex, `client ${i}`)) refused[priorityIndex]! += 1;
          else overload.ended(`client ${i}`);
        }
      }
    }
  };
  return { overload, monitor, lines, pass, refused: () => refused };
}

test('B12: single stalls of the event loop are no overload, stalls in three of four quarters of a second are', () => {
  const { overload, pass } = scene();
  for (let i = 0; i < 10; i++) {
    pass(2, { loopDelayMs: 900 });
    assert.equal(overload.level, 'none');
    pass(2);
  }
  // Other processes had the processors.
  pass(10, { loopDelayMs: 900, cpuRatio: 0.3 });
  assert.equal(overload.level, 'none');
  pass(3, { loopDelayMs: 101 });
  assert.equal(overload.level, 'softened');
});

test('B12: while the loop stays late a growing share is refused, and a shrinking one after that', () => {
  const { overload, pass, refused } = scene();
  pass(6, { loopDelayMs: 150 });
  assert.equal(overload.level, 'softened');
  assert.equal(refused()[NORMAL], 0);
  const shares: number[] = [];
  for (let i = 0; i < 3; i++) {
    pass(1, { loopDelayMs: 150 });
    shares.push(refused()[NORMAL] ?? 0);
  }
  assert.equal(overload.level, 'shedding');
  assert.ok(shares[0]! < shares[1]! && shares[1]! < shares[2]! && shares[2]! < REQUESTS / 2, `${shares}`);
  pass(40, { loopDelayMs: 150 });
  assert.equal(refused()[NORMAL], REQUESTS, 'a loop that stays late for ever');
  pass(10);
  const later = refused()[NORMAL] ?? 0;
  assert.ok(later > 0 && later < REQUESTS, `${later}`);
  pass(40);
  assert.deepEqual([overload.level, refused()], ['none', [0, 0, 0]]);
});

test('requests of low priority are refused before normal ones, critical ones last, and never all of these for the delay', () => {
  const { pass, refused } = scene([LOW, NORMAL, CRITICAL]);
  const seen: number[][] = [];
  for (let i = 0; i < 40; i++) {
    pass(1, { loopDelayMs: 150 });
    seen.push([...refused()]);
  }
  for (const [low = 0, normal = 0, critical = 0] of seen) {
    assert.ok(normal === 0 || low === REQUESTS, `${low} ${normal}`);
    assert.ok(critical === 0 || normal === REQUESTS, `${normal} ${critical}`);
  }
  assert.ok(seen.some(([low = 0]) => low > 0 && low < REQUESTS));
  assert.ok((seen.at(-1)?.[CRITICAL] ?? 0) < REQUESTS);
});

test('B12: above `soften` keep-alive ends, from `shed` on all normal requests are refused, by heap and by the memory of the group', () => {
  for (const name of ['heapPercent', 'memoryPercent']) {
    const { overload, pass, refused } = scene([LOW, NORMAL, CRITICAL]);
    pass(1, { [name]: 92 });
    assert.equal(overload.level, 'none');
    pass(1, { [name]: 92.5 });
    assert.deepEqual([overload.level, refused()], ['softened', [0, 0, 0]]);
    pass(1, { [name]: 94.25 });
    const [low = 0, ...others] = refused();
    assert.ok(low >= REQUESTS * 0.4 && low <= REQUESTS * 0.6, `${low} with low priority`);
    assert.deepEqual(others, [0, 0]);
    pass(1, { [name]: 95 });
    assert.deepEqual([overload.level, refused()], ['shedding', [REQUESTS, REQUESTS, 0]]);
    pass(1, { [name]: 100 });
    assert.deepEqual(refused(), [REQUESTS, REQUESTS, REQUESTS]);
  }
});

test('the level is held for five seconds, and each change is logged once, with its reason', () => {
  const { overload, monitor, lines, pass } = scene();
  pass(3, { heapPercent: 97 });
  pass(19);
  assert.deepEqual([overload.level, monitor.reason], ['shedding', 'heap']);
  pass(1);
  assert.deepEqual([overload.level, monitor.reason], ['none', null]);
  assert.deepEqual(
    lines.map(({ overload: level, reason, heapPercent }) => [level, reason, heapPercent]),
    [
      ['shedding', 'heap', 97],
      ['none', null, 40],
    ],
  );
});
