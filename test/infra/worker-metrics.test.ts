import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { type IsLive, liveSeries } from '../../src/contract/metrics.ts';
import { WorkerMetrics } from '../../src/infra/worker-metrics.ts';
import { MetricsCollector } from '../../src/primary/metrics/metrics-collector.ts';
import { block } from '../support/block.ts';
import { workerSettings } from '../support/settings.ts';

function seriesValue(text: string, series: string): number {
  const line = text.split('\n').find((candidate) => candidate.startsWith(`${series} `));
  assert.ok(line, `no line for ${series} in\n${text}`);
  return Number(line.slice(series.length + 1));
}

test('a delta contains only what grew, and equal labels share a cell', () => {
  const metrics = new WorkerMetrics();
  const first = metrics.series('sluice_requests_total', 'app', 'GET', '200');
  assert.equal(metrics.series('sluice_requests_total', 'app', 'GET', '200'), first);
  assert.notEqual(metrics.series('sluice_requests_total', 'app', 'GET', '404'), first);
  metrics.add(first, 2);
  assert.deepEqual(metrics.takeDelta().cells, [first, 2]);
  assert.deepEqual(metrics.takeDelta(), { series: [], cells: [] });
  metrics.add(first, 5);
  assert.deepEqual(metrics.takeDelta(), { series: [], cells: [first, 5] });
});

test('counts survive when the first array is full', () => {
  const metrics = new WorkerMetrics();
  const cells = Array.from({ length: 5000 }, (_, i) =>
    metrics.series('sluice_requests_total', `r${i}`, 'GET', '200'),
  );
  for (const cell of cells) metrics.add(cell, 1);
  const delta = metrics.takeDelta();
  assert.equal(delta.series.length, 5000);
  assert.equal(delta.cells.length, 10_000);
  assert.ok(delta.cells.every((value, i) => i % 2 === 0 || value === 1));
});

test('totals of a replaced worker stay', async () => {
  const collector = new MetricsCollector();
  for (const worker of [1, 2]) {
    const metrics = new WorkerMetrics();
    metrics.add(metrics.series('sluice_bytes_total', 'in'), 10);
    collector.applyDelta(worker, metrics.takeDelta());
  }
  const total = async () => seriesValue(await collector.text(), 'sluice_bytes_total{direction="in"}');
  assert.equal(await total(), 20);
  collector.forget(1);
  assert.equal(await total(), 20);
});

test('an unknown series of a newer worker is ignored, the others count', async () => {
  const collector = new MetricsCollector();
  const metrics = new WorkerMetrics();
  metrics.add(metrics.series('sluice_bytes_total', 'in'), 10);
  const delta = metrics.takeDelta();
  const unknown = {
    ...delta.series[0]!,
    name: 'sluice_of_tomorrow_total' as 'sluice_bytes_total',
    index: 999,
  };
  collector.applyDelta(1, { ...delta, series: [unknown, ...delta.series] });
  assert.equal(seriesValue(await collector.text(), 'sluice_bytes_total{direction="in"}'), 10);
});

test('histograms of several workers add up to cumulative buckets, sum and count', async () => {
  const collector = new MetricsCollector();
  for (const worker of [1, 2]) {
    const metrics = new WorkerMetrics();
    const cell = metrics.series('sluice_request_duration_seconds', 'app');
    for (const seconds of [0.0004, 0.001, 0.02, 1000]) metrics.observe(cell, seconds);
    collector.applyDelta(worker, metrics.takeDelta());
  }
  const text = await collector.text();
  const bucket = (le: string) =>
    seriesValue(text, `sluice_request_duration_seconds_bucket{route="app",le="${le}"}`);
  assert.equal(bucket('0.0005'), 2);
  assert.equal(bucket('0.001'), 4);
  assert.equal(bucket('0.025'), 6);
  assert.equal(bucket('60'), 6);
  assert.equal(bucket('+Inf'), 8);
  assert.equal(seriesValue(text, 'sluice_request_duration_seconds_count{route="app"}'), 8);
  assert.ok(
    Math.abs(seriesValue(text, 'sluice_request_duration_seconds_sum{route="app"}') - 2 * 1000.0214) < 1e-6,
  );
});

test('every metric of the table has HELP and TYPE before anything is counted', async () => {
  const { METRICS } = await import('../../src/contract/metrics.ts');
  const text = await new MetricsCollector().text();
  for (const [name, { kind }] of Object.entries(METRICS)) {
    assert.match(text, new RegExp(`^# HELP ${name} .+$`, 'm'));
    assert.match(text, new RegExp(`^# TYPE ${name} ${kind}$`, 'm'));
  }
  assert.doesNotMatch(text, /nodejs_active_\w+_total/);
  assert.equal(text.match(/^# TYPE nodejs_eventloop_lag_seconds gauge$/gm)?.length, 1);
});

test("the gauges of the primary's event loop are the delay since the last scrape", async () => {
  const collector = new MetricsCollector();
  await turn();
  // Longer than a busy machine lets this process wait by itself.
  block(500);
  await turn();
  const text = await collector.text();
  const lag = (of: string) => seriesValue(text, `nodejs_eventloop_lag_${of}seconds`);
  assert.ok(lag('max_') >= 0.45 && lag('max_') < 10, text);
  assert.ok(lag('p99_') <= lag('max_') && lag('stddev_') >= 0, text);
  assert.ok(lag('min_') <= lag('p50_') && lag('p50_') <= lag('p90_') && lag('p90_') <= lag('p99_'), text);
  assert.ok(lag('mean_') > 0 && lag('') === lag('mean_'), text);
  await turn();
  const later = seriesValue(await collector.text(), 'nodejs_eventloop_lag_max_seconds');
  assert.ok(later < lag('max_'), `${later} covers only the time since the last scrape`);
});

const isNew: IsLive = (_name, [route]) => route !== 'old';

test('removed series are forgotten, and their cells start new series from 0', async () => {
  const metrics = new WorkerMetrics();
  const collector = new MetricsCollector();
  const report = (): void => collector.applyDelta(1, metrics.takeDelta());
  const oldCount = metrics.series('sluice_requests_total', 'old', 'GET', '200');
  const oldTime = metrics.series('sluice_request_duration_seconds', 'old');
  const keptCount = metrics.series('sluice_requests_total', 'kept', 'GET', '200');
  metrics.add(oldCount, 5);
  metrics.observe(oldTime, 1);
  metrics.add(keptCount, 2);
  report();
  metrics.keepOnly(isNew);
  collector.keepOnly(isNew);
  assert.equal(metrics.series('sluice_requests_total', 'new', 'GET', '200'), oldCount);
  assert.equal(metrics.series('sluice_request_duration_seconds', 'new'), oldTime);
  metrics.add(oldCount, 1);
  metrics.observe(oldTime, 1);
  report();
  const text = await collector.text();
  assert.doesNotMatch(text, /route="old"/);
  assert.equal(seriesValue(text, 'sluice_requests_total{route="kept",method="GET",code="200"}'), 2);
  assert.equal(seriesValue(text, 'sluice_requests_total{route="new",method="GET",code="200"}'), 1);
  assert.equal(seriesValue(text, 'sluice_request_duration_seconds_count{route="new"}'), 1);
});

test('a series exists with 0 before anything is counted', async () => {
  const metrics = new WorkerMetrics();
  const collector = new MetricsCollector();
  metrics.series('sluice_bytes_total', 'in');
  metrics.series('sluice_request_duration_seconds', 'app');
  collector.applyDelta(1, metrics.takeDelta());
  const text = await collector.text();
  assert.equal(seriesValue(text, 'sluice_bytes_total{direction="in"}'), 0);
  assert.equal(seriesValue(text, 'sluice_request_duration_seconds_bucket{route="app",le="+Inf"}'), 0);
});

test('label values are escaped', async () => {
  const collector = new MetricsCollector();
  collector.count('sluice_bytes_total', ['a"b\\c\nd']);
  assert.equal(seriesValue(await collector.text(), 'sluice_bytes_total{direction="a\\"b\\\\c\\nd"}'), 1);
});

test('the process metrics say that they cover only the primary', async () => {
  const text = await new MetricsCollector().text();
  assert.match(text, /^# HELP process_resident_memory_bytes Primary process only: /m);
});

test('counts of the admin port survive every reload, because its routes are not in the configuration', async () => {
  const collector = new MetricsCollector();
  collector.count('sluice_admin_requests_total', ['/livez', '200']);
  collector.count('sluice_requests_total', ['/livez', 'GET', '200']);
  collector.keepOnly(liveSeries(workerSettings()));
  const text = await collector.text();
  assert.equal(seriesValue(text, 'sluice_admin_requests_total{route="/livez",code="200"}'), 1);
  assert.doesNotMatch(text, /^sluice_requests_total/m);
});
