import assert from 'node:assert/strict';
import { test } from 'node:test';
import { meanConnectionsOf } from '../../../src/primary/workers/supervisor.ts';
import type { WorkerState, WorkerView } from '../../../src/primary/workers/worker-slot.ts';
import { reportOf } from './fixtures/report.ts';

function view(state: WorkerState, connections: number | null): WorkerView {
  const report = connections === null ? null : reportOf({ connections });
  return { index: 0, state, pid: 1, startedAtMs: 0, revision: 1, report };
}

test('the mean is over serving workers that have reported', () => {
  assert.equal(
    meanConnectionsOf([
      view('serving', 10),
      view('serving', 30),
      view('draining', 500),
      view('starting', null),
    ]),
    20,
  );
});

test('one worker alone has no mean: it cannot have too many', () => {
  assert.equal(meanConnectionsOf([]), null);
  assert.equal(meanConnectionsOf([view('serving', 10), view('dead', null), view('draining', 7)]), null);
});
