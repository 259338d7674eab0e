/** The cost model of `make bench-machines`, and the page that shows it. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { type CostFigures, callsOf, costOf } from '../../bench/machines/model.ts';
import { tellFleets } from '../../bench/machines/report.ts';

const FIGURES: CostFigures = {
  callUs: 20,
  callsPerRequest: 1,
  callsPerLease: 40,
  restUs: 500,
  bucketBytes: 300,
  databaseConnections: 3,
  databaseUs: 2_000,
};

test('a caller costs a call for each request, and fewer only where its workers see it often enough for leases', () => {
  assert.equal(callsOf(FIGURES, 10, 8), 10);
  assert.equal(callsOf(FIGURES, 8 * 79, 8), 8 * 79);
  assert.equal(callsOf(FIGURES, 8 * 80, 8), 8 * 40);
  assert.equal(callsOf(FIGURES, 8 * 1_000, 8), 8 * 40);
  assert.equal(callsOf(FIGURES, 8 * 1_000, 800), 8 * 1_000);
});

test('the cost of a fleet is the sum of what its callers, its processes and its machines cost', () => {
  const fleet = {
    ...{ machines: 10, workers: 8, rarePerSec: 50_000, machinesOfCaller: 1 },
    ...{ busyCallers: 5, busyPerSec: 1_000, buckets: 1 << 20 },
  };
  const callsPerSec = 50_000 + 5 * 8 * 40;
  const redisCores = (callsPerSec * 20 + 90 * 500) / 1e6;
  assert.deepEqual(costOf(FIGURES, fleet), {
    ...{ workers: 80, callsPerSec, redisCores, nodes: 3, bucketMiB: 300, connectionsPerNode: 90 },
    ...{ databaseConnections: 30, databaseCores: 0.02 },
  });
  assert.equal(costOf(FIGURES, { ...fleet, rarePerSec: 500_000 }).nodes, 21);
});

test('docs/scaling.md extrapolates from the figures that it gives', () => {
  const page = readFileSync(new URL('../../docs/scaling.md', import.meta.url), 'utf8');
  const figures = /^\{"callUs".*\}$/m.exec(page)?.[0];
  assert.ok(figures !== undefined, 'the line of figures that the bench prints');
  assert.ok(page.includes(tellFleets(JSON.parse(figures) as CostFigures).join('\n')));
});
