/** The cost model of `make bench-machines`, and the page that shows it. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { type CostFigures, callsOf, costOf } from '../../bench/machines/model.ts';
import { takesOf, tellFleets } from '../../bench/machines/report.ts';
import type { StepCost } from '../../bench/machines/steps.ts';
import { reapedUs } from '../../bench/rig/cpu.ts';

const FIGURES: CostFigures = {
  callUs: 20,
  idleCallUs: 100,
  callsPerRequest: 1,
  callsPerLease: 40,
  probesPerSec: 0.5,
  restUs: 500,
  bucketBytes: 300,
  databaseConnections: 3,
  databaseUs: 2_000,
};

test('a caller costs a call for each request, and fewer only where its workers see it often enough for leases', () => {
  assert.equal(callsOf(FIGURES, 10, 8), 10);
  assert.equal(callsOf(FIGURES, 8 * 139, 8), 8 * 139);
  assert.equal(callsOf(FIGURES, 8 * 140, 8), 8 * 40);
  assert.equal(callsOf(FIGURES, 8 * 1_000, 8), 8 * 40);
  assert.equal(callsOf(FIGURES, 8 * 1_000, 800), 8 * 1_000);
});

test('the cost of a fleet is the sum of what its callers, its processes and its machines cost', () => {
  const fleet = {
    ...{ machines: 10, workers: 8, rarePerSec: 50_000, machinesOfCaller: 1 },
    ...{ busyCallers: 5, busyPerSec: 1_200, buckets: 1 << 20 },
  };
  const callsPerSec = 50_000 + 5 * 8 * 40;
  const redisCores = (callsPerSec * 20 + 90 * 500) / 1e6;
  // Each machine announces itself, and each worker probes each node.
  const restCallsPerSec = 10 / 2 + (80 * 3) / 2;
  const restCores = (restCallsPerSec * 100 + 90 * 500) / 1e6;
  assert.deepEqual(costOf(FIGURES, fleet), {
    ...{ workers: 80, callsPerSec, redisCores, nodes: 3, bucketMiB: 300, connectionsPerNode: 90 },
    ...{ restCallsPerSec, restCores, databaseConnections: 30, databaseCores: 0.02 },
  });
  const more = costOf(FIGURES, { ...fleet, rarePerSec: 500_000 });
  assert.deepEqual([more.nodes, more.restCallsPerSec], [21, 10 / 2 + (80 * 21) / 2]);
});

test('calls for requests are those of a load without announcements, and without probes of nodes that it leaves alone', () => {
  const step = (nodeCalls: number[]) => ({ nodeCalls }) as StepCost;
  // Three machines of a worker, with the announcements at the first node.
  const rest = step([3, 1.5, 1.5]);
  assert.equal(takesOf(step([151.5, 150, 150]), rest), 450);
  assert.equal(takesOf(step([3, 300, 1.5]), rest), 300);
  assert.equal(takesOf(step([301.5, 1.5, 1.5]), rest), 300);
});

test('the CPU time of children that have ended is counted', () => {
  const beforeUs = reapedUs(process.pid);
  execFileSync(process.execPath, ['-e', 'while (process.cpuUsage().user < 100_000);']);
  assert.ok(reapedUs(process.pid) - beforeUs >= 90_000);
});

test('docs/scaling.md extrapolates from the figures that it gives', () => {
  const page = readFileSync(new URL('../../docs/scaling.md', import.meta.url), 'utf8');
  const figures = /^\{"callUs".*\}$/m.exec(page)?.[0];
  assert.ok(figures !== undefined, 'the line of figures that the bench prints');
  assert.ok(page.includes(tellFleets(JSON.parse(figures) as CostFigures).join('\n')));
});
