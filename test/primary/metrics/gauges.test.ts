import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { WorkerReport } from '../../../src/contract/messages.ts';
import { PrimaryGauges } from '../../../src/primary/metrics/gauges.ts';
import { MetricsCollector } from '../../../src/primary/metrics/metrics-collector.ts';
import { settingsOf } from '../admin/harness.ts';
import { reportOf } from '../workers/fixtures/report.ts';

const SETTINGS = settingsOf('pools: { app: { backends: [{ url: "http://127.0.0.1:1" }] } }');

function view(index: number, report: WorkerReport | null, wanted = true) {
  return { index, wanted, state: 'serving' as const, pid: 1 + index, startedAtMs: 0, revision: 1, report };
}

function gaugesOf(
  workers: () => ReturnType<typeof view>[],
  away = false,
  { collector = new MetricsCollector(), settings = SETTINGS } = {},
): PrimaryGauges {
  return new PrimaryGauges({
    collector,
    supervisor: {
      counts: () => ({ starting: 0, serving: 3, draining: 0, dead: 0 }),
      restartCount: 0,
      workers,
    },
    registry: { states: () => [], panics: () => [] },
    reloader: {
      last: { succeeded: true, problems: [], tookMs: 0, successAtMs: 0 },
      current: { number: 1, workerCount: 2, policyVersionUs: 1, settings },
    },
    dataPath: { engine: 'wire', wire: 'handle' },
    droppedLines: () => 0,
    directory: { feed: { degraded: away } },
    tls: { validities: () => [['a.test', { notBeforeMs: 0, notAfterMs: 3_000 }]], fault: null },
    acme: { dueCount: 0 },
  });
}

test('a worker that was replaced counts in the sums and has no series beside that of its replacement', async () => {
  const gauges = gaugesOf(() => [
    view(0, reportOf({ inFlight: 1, connections: 5 })),
    view(0, reportOf({ inFlight: 2, connections: 9 }), false),
  ]);
  const text = await gauges.text();
  assert.deepEqual(text.match(/^sluice_worker_connections.*$/gm), [
    'sluice_worker_connections{worker="0"} 5',
  ]);
  assert.match(text, /^sluice_requests_in_flight 3$/m);
});

test('gauges of the fleet are sums over the workers that have reported, and end with their worker', async () => {
  const busy = { connections: 3, connectionsByProtocol: { pending: 0, http1: 1, h2: 2 }, inFlight: 2 };
  const reports = [reportOf({ ...busy, breakerOpen: true }), reportOf(busy), null];
  const gauges = gaugesOf(() => reports.map((report, index) => view(index, report)));
  const read = async () => {
    const text = await gauges.text();
    const names = [
      'sluice_requests_in_flight',
      'sluice_connections_open{protocol="http1"}',
      'sluice_connections_open{protocol="h2"}',
      'sluice_ratelimit_breaker_open',
    ];
    return names.map((name) => new RegExp(`^${name} (\\d+)$`, 'm').exec(text)?.[1]);
  };
  assert.deepEqual(await read(), ['4', '2', '4', '1']);
  reports[0] = null;
  assert.deepEqual(await read(), ['2', '1', '2', '0']);
});

test('the database, and how long a certificate is valid', async () => {
  const texts = await Promise.all([false, true].map((away) => gaugesOf(() => [], away).text()));
  assert.deepEqual(
    texts.map((text) => /^sluice_database_up (\d)$/m.exec(text)?.[1]),
    ['1', '0'],
  );
  assert.match(texts[0] ?? '', /^sluice_tls_certificate_lifetime_seconds\{name="a.test"\} 3$/m);
  assert.match(texts[0] ?? '', /^sluice_tls_certificate_expiry_seconds\{name="a.test"\} -\d/m);
});

test('exemplars end with the configuration of the traces that they lead to', async () => {
  const collector = new MetricsCollector();
  const [traced, untraced] = [{ endpoint: 'http://127.0.0.1:1', sample: 1 }, null].map((tracing) =>
    gaugesOf(() => [], false, { collector, settings: { ...SETTINGS, tracing } }),
  );
  const name = 'sluice_request_duration_seconds';
  collector.applyDelta(1, { series: [{ index: 0, name, labels: ['default'] }], cells: [0, 1] });
  const note = () =>
    collector.noteExemplars([{ route: 'default', traceId: 'abc', seconds: 0.001, atMs: 1_000 }]);
  const countOf = async (gauges = traced) =>
    (await gauges?.text(true))?.match(/trace_id="abc"/g)?.length ?? 0;
  note();
  assert.equal(await countOf(), 1);
  // The last report of a worker before the reload may come after it.
  note();
  assert.equal(await countOf(untraced), 0);
  assert.equal(await countOf(), 0);
});
