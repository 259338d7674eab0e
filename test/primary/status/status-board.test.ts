/** The board over real counters, with workers of the test. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { METRICS, type MetricName } from '../../../src/contract/metrics.ts';
import { EventLog } from '../../../src/primary/events/event-log.ts';
import { HealthRegistry } from '../../../src/primary/health/health-registry.ts';
import { MetricsCollector } from '../../../src/primary/metrics/metrics-collector.ts';
import { StatusBoard } from '../../../src/primary/status/status-board.ts';
import type { WorkerState } from '../../../src/primary/workers/worker-slot.ts';
import { FakeTime } from '../../support/fake-time.ts';
import { settingsOf } from '../admin/harness.ts';
import { keepLog } from '../workers/fixtures/harness.ts';
import { reportOf } from '../workers/fixtures/report.ts';

const SETTINGS = settingsOf(`
pools: { app: { backends: [{ url: "http://10.0.0.1", id: a }, { url: "http://10.0.0.2", id: b }] } }
routes: [{ name: api, match: { path: /api/ }, pool: app }, { name: rest, pool: app }]
rateLimit: { policies: { default: {} } }
`);
const DAY_MS = 24 * 3_600_000;
const CELLS: Partial<Record<MetricName, number>> = {
  sluice_request_duration_seconds: 1,
  sluice_upstream_duration_seconds: 1,
};

function start(t: TestContext, workerCount = 2, { endsInMs }: { endsInMs?: number } = {}) {
  const time = new FakeTime();
  const { logger } = keepLog();
  const now = { phase: 'ready' as 'ready' | 'draining' };
  const events = new EventLog(logger, time.clock);
  const collector = new MetricsCollector();
  const registry = new HealthRegistry();
  registry.configure(SETTINGS.pools);
  const workers = Array.from({ length: workerCount }, (_, index) => ({
    ...{
      index,
      wanted: true,
      state: 'serving' as WorkerState,
      pid: 100 + index,
      startedAtMs: 0,
      revision: 1,
    },
    report: reportOf({}),
  }));
  const board = new StatusBoard(
    {
      ...{ collector, events, registry },
      supervisor: { workers: () => workers },
      directory: { feed: { degraded: false, loaded: true, failure: null } },
      reloader: {
        current: { number: 1, settings: SETTINGS, workerCount, policyVersionUs: 1 },
        last: { succeeded: true, problems: [], tookMs: 0, successAtMs: 0 },
      },
      store: { connection: null },
      tls: {
        validities: () =>
          endsInMs === undefined ? [] : [['a.test', { notBeforeMs: -90 * DAY_MS, notAfterMs: endsInMs }]],
        fault: null,
      },
      acme: { missing: [] },
      storeWorkers: () => workerCount,
      countLostLines: () => undefined,
      phase: () => now.phase,
    },
    time.clock,
  );
  t.after(() => board.close());
  let index = 0;
  /** Counts in a worker, and reports it. */
  const report = (slot: number, counts: [MetricName, string[], number][], seconds = 0.004) => {
    const worker = workers[slot]!;
    const series = counts.map(([name, labels]) => {
      index += 100;
      return { index, name, labels };
    });
    const cells = counts.flatMap(([name, , count], i) => {
      const at = series[i]!.index;
      if (CELLS[name] === undefined) return [at, count];
      const bucket = METRICS[name].bucketsSec.findIndex((bound) => seconds <= bound);
      return [at + bucket, count];
    });
    collector.applyDelta(worker.pid, { series, cells });
    board.reported(worker.pid);
  };
  return { board, time, workers, report, events, collector, now };
}

const REQUESTS = 'sluice_requests_total';
const ROUND: [MetricName, string[], number][] = [
  [REQUESTS, ['api', 'GET', '200'], 85],
  // Of their clients' making.
  [REQUESTS, ['api', 'CONNECT', '501'], 5],
  [REQUESTS, ['rest', 'POST', 'grpc_14'], 5],
  [REQUESTS, ['rest', 'GET', '429'], 5],
  ['sluice_request_failures_total', ['api', 'upstream_reset'], 10],
  ['sluice_request_failures_total', ['rest', 'answered'], 5],
  ['sluice_request_duration_seconds', ['api'], 90],
  ['sluice_ratelimit_decisions_total', ['default', 'limited', 'store'], 5],
  ['sluice_ratelimit_decisions_total', ['default', 'shadow', 'lease'], 7],
  ['sluice_bytes_total', ['out'], 1_000],
  ['sluice_upstream_requests_total', ['app', 'a', '200'], 75],
  ['sluice_upstream_requests_total', ['app', 'b', '200'], 25],
  ['sluice_upstream_duration_seconds', ['app', 'a'], 75],
  ['sluice_queue_refusals_total', ['app'], 6],
];

test('rates are means of the samples, which hold one report of each worker', (t) => {
  const { board, time, report, workers } = start(t);
  let samples = 0;
  board.onSample(() => samples++);
  for (let second = 1; second <= 20; second++) {
    time.nowMs = second * 1_000;
    Object.assign(workers[0]!.report, {
      requestsTotal: second * 100,
      cpuSec: second * 0.5,
      inFlight: 3,
      connections: 9,
    });
    report(0, ROUND);
    assert.equal(samples, second - 1, 'the other one has not reported');
    report(1, ROUND);
  }
  assert.equal(samples, 20);
  const { now, routes, policies, slowestRoute, workers: loads } = board.live();
  assert.deepEqual(
    [
      now.requestsPerSec,
      now.errorsPerSec,
      now.limitedPerSec,
      now.bytesOutPerSec,
      now.inFlight,
      now.connections,
    ],
    [200, 30, 10, 2_000, 3, 9],
  );
  assert.equal(now.p50Ms, 3.75, 'half of the bucket from 2.5 to 5 ms');
  assert.deepEqual(
    routes.map(({ route, requestsPerSec, errorsPerSec, p99Ms }) => [
      route,
      requestsPerSec,
      errorsPerSec,
      p99Ms,
    ]),
    [
      ['api', 180, 20, 4.975],
      ['rest', 20, 10, null],
      ['_none', 0, 0, null],
    ],
  );
  assert.deepEqual(slowestRoute, { route: 'api', p99Ms: 4.975 });
  assert.deepEqual(policies[0], {
    ...{ policy: 'default', allowedPerSec: 0, limitedPerSec: 10, shadowPerSec: 14, refusedPerSec: 0 },
    // 20 seconds, so far.
    shadowLastMinute: 280,
  });
  assert.deepEqual(
    loads.map(({ id, requestsPerSec, cpuRatio }) => [id, requestsPerSec, cpuRatio]),
    [
      [0, 100, 0.5],
      [1, 0, 0],
    ],
  );
  assert.deepEqual([board.backend('app', 'a').share, board.backend('app', 'b').share], [0.75, 0.25]);
  assert.equal(board.backend('app', 'a').requestsPerSec, 150);
  assert.equal(board.backend('none', 'a').share, null);
  assert.equal(board.queueRefusedPerSec('app'), 12);
  assert.deepEqual(
    board.live().problems.map(({ code }) => code),
    ['queue_full'],
  );
  const { series, workers: histories } = board.history(2);
  assert.deepEqual(series.requestsPerSec, [200, 200]);
  assert.deepEqual(histories[0]?.cpuRatio, [0.5, 0.5]);
});

test('how long a phase lasts is counted from its beginning', (t) => {
  const { board, time, now } = start(t);
  assert.equal(board.live().phaseSec, 0);
  time.nowMs = 65_000;
  assert.equal(board.live().phaseSec, 65);
  now.phase = 'draining';
  assert.equal(board.live().phaseSec, 0);
  time.nowMs = 66_500;
  assert.equal(board.live().phaseSec, 1);
});

test('a reload that drops or renames routes and backends falsifies no rate and no share', (t) => {
  const { board, time, report, collector } = start(t, 1);
  const round = (second: number, counts: typeof ROUND) => {
    time.nowMs = second * 1_000;
    report(0, counts);
    const { requestsPerSec, errorsPerSec, p50Ms } = board.live().now;
    return { rates: [requestsPerSec, errorsPerSec, p50Ms], shares: ['a', 'b'].map(shareOf) };
  };
  const shareOf = (id: string) => board.backend('app', id).share;
  for (let second = 1; second <= 20; second++) round(second, ROUND);
  collector.keepOnly((_, [of = '', backend]) => !['api', 'rest'].includes(of) && backend !== 'b');
  const renamed: typeof ROUND = ROUND.map(([name, labels, count]) => [
    name,
    labels.map((label) => ({ api: 'renamed', rest: 'last', b: 'c' })[label] ?? label),
    count,
  ]);
  // A second in which nothing is counted, nor any route known.
  round(21, []);
  for (let second = 22; second <= 40; second++) {
    const { rates, shares } = round(second, renamed);
    assert.deepEqual(rates, second <= 30 ? [90, 13.5, 3.75] : [100, 15, 3.75], `second ${second}`);
    assert.deepEqual(shares, [0.75, 0], `second ${second}`);
  }
  const rates = new Array(40).fill(100);
  rates[20] = 0;
  assert.deepEqual(board.history(40).series.requestsPerSec, rates);
  assert.equal(shareOf('c'), 0.25);
});

test('a worker that hangs delays a sample, and does not prevent it', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { board, time, report } = start(t);
  let samples = 0;
  board.onSample(() => samples++);
  time.nowMs = 1_000;
  report(0, ROUND);
  assert.equal(samples, 0);
  time.nowMs = 1_500;
  t.mock.timers.tick(1_500);
  assert.equal(samples, 1);
  assert.deepEqual(board.history(1).series.errorsPerSec, [10]);
});

test('in a roll the workers that drain make no samples of their own', (t) => {
  const { board, report, workers } = start(t, 4);
  let samples = 0;
  board.onSample(() => samples++);
  for (const slot of [2, 3]) workers[slot]!.state = 'draining';
  const told = [2, 3, 0, 1].map((slot) => {
    report(slot, ROUND);
    return samples;
  });
  assert.deepEqual(told, [0, 0, 0, 1]);
  for (const worker of workers) worker.state = 'draining';
  report(0, ROUND);
  assert.equal(samples, 1, 'none serves: the clock makes the samples');
});

test('the history of a slot goes on with the worker that replaces another, whose CPU time begins anew', (t) => {
  const { board, time, report, workers } = start(t, 1);
  const worker = workers[0]!;
  for (const [second, pid, cpuSec] of [
    [1, 100, 40],
    [2, 100, 40.5],
    [3, 200, 0.25],
    [4, 200, 0.5],
  ] as const) {
    time.nowMs = second * 1_000;
    worker.pid = pid;
    worker.report = reportOf({ cpuSec });
    report(0, []);
  }
  const zeros = [0, 0, 0, 0];
  assert.deepEqual(board.history(4).workers, [
    { id: 0, cpuRatio: [0, 0.5, 0, 0.25], residentBytes: zeros, loopDelayMs: zeros },
  ]);
});

test('a certificate that ends within 14 days is a problem: as long as the alert for it', (t) => {
  for (const [days, codes] of [
    [14.5, []],
    [13.5, ['certificate_ends']],
  ] as const) {
    const { board, report } = start(t, 1, { endsInMs: days * DAY_MS });
    report(0, []);
    assert.deepEqual(
      board.live().problems.map(({ code }) => code),
      codes,
    );
  }
});

test('workers that die again and again are a problem for ten minutes', (t) => {
  const { board, time, report, events } = start(t, 1);
  const die = () =>
    events.record({
      kind: 'worker',
      severity: 'error',
      text: 'died',
      subject: 'worker 0',
      data: { restartInMs: 0 },
    });
  const problems = () => {
    report(0, []);
    return board.live().problems.map(({ code }) => code);
  };
  die();
  die();
  assert.deepEqual(problems(), []);
  time.nowMs = 500_000;
  die();
  assert.deepEqual(problems(), ['worker_restarts']);
  for (const steppedMs of [86_400_000, -86_400_000]) {
    time.steppedMs = steppedMs;
    assert.deepEqual(problems(), ['worker_restarts'], 'whatever the clock says');
    assert.equal(board.live().workers[0]?.uptimeSec, 500);
  }
  time.nowMs = 601_000;
  assert.deepEqual(problems(), []);
});
