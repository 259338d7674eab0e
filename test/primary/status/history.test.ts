import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HISTORY_SEC } from '../../../src/contract/status.ts';
import { HistoryRing } from '../../../src/primary/status/history.ts';

const sampleOf = (requestsPerSec: number, p50Ms: number | null = null) => ({
  ...{ requestsPerSec, errorsPerSec: 0, limitedPerSec: 0 },
  ...{ p50Ms, p95Ms: null, p99Ms: null, inFlight: 0, connections: 0 },
});
const workerOf = (id: number, residentBytes: number | null) => ({
  ...{ id, cpuRatio: 0.25, residentBytes, loopDelayMs: 1.0006 },
});

function ring() {
  const history = new HistoryRing(1_000);
  const rates = (seconds: number, nowMs: number) => history.view(seconds, nowMs, nowMs).series.requestsPerSec;
  return { history, rates };
}

test('samples have the place of their second; what was missed is empty, but for a single second', () => {
  const { history, rates } = ring();
  history.put(2_000, sampleOf(1), []);
  history.put(3_010, sampleOf(2), []);
  // The pace of samples drifts over the border of a second.
  history.put(4_600, sampleOf(3), []);
  history.put(8_000, sampleOf(4), []);
  assert.deepEqual(rates(8, 8_000), [null, 1, 2, 3, 3, null, null, 4]);
  assert.equal(history.view(1, 8_400, 8_400).endsAt, new Date(8_000).toISOString());
});

test('an hour is kept', () => {
  const { history, rates } = ring();
  for (let second = 1; second <= HISTORY_SEC + 500; second++)
    history.put(1_000 + second * 1_000, sampleOf(second), []);
  const all = rates(HISTORY_SEC, 0) ?? [];
  assert.deepEqual([all.length, all[0], all.at(-1)], [HISTORY_SEC, 501, HISTORY_SEC + 500]);
  history.put(1_000 + 3 * HISTORY_SEC * 1_000, sampleOf(7), []);
  assert.deepEqual(
    rates(HISTORY_SEC, 0),
    [...new Array(HISTORY_SEC - 1).fill(null), 7],
    'after a long pause',
  );
});

test('what is of a worker goes on with its replacement, and ends with its slot', () => {
  const { history } = ring();
  history.put(2_000, sampleOf(1, 1.23456), [workerOf(0, 1e8), workerOf(1, 2e8)]);
  history.put(3_000, sampleOf(1), [workerOf(0, null), workerOf(1, 2e8)]);
  history.put(4_000, sampleOf(1), [workerOf(0, 5e7), workerOf(1, 2e8)]);
  const { workers, series } = history.view(3, 4_000, 4_000);
  assert.deepEqual(workers[0], {
    id: 0,
    cpuRatio: [0.25, 0.25, 0.25],
    residentBytes: [1e8, null, 5e7],
    loopDelayMs: [1.001, 1.001, 1.001],
  });
  assert.deepEqual(series.p50Ms, [1.235, null, null]);
  history.put(5_000, sampleOf(1), [workerOf(0, 5e7)]);
  assert.deepEqual(
    history.view(1, 5_000, 5_000).workers.map(({ id }) => id),
    [0],
  );
});
