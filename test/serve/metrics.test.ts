import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { test } from 'node:test';
import { ask, metricOf, poolOf, QUICK_CHECK, startNamed } from '../cluster/support.ts';
import { startSluice } from '../support/sluice.ts';
import { waitFor } from '../support/wait.ts';

test('resource use is reported per worker, and counters begin at 0', async (t) => {
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const sluice = await startSluice({
    config: { workers: 2, pools: poolOf([backend], { healthCheck: QUICK_CHECK }) },
  });
  t.after(() => sluice.stop());
  const of = (name: string, labels?: Record<string, string>) => metricOf(sluice.adminUrl, name, labels);
  await waitFor(
    'both workers to report',
    async () =>
      (await of('sluice_worker_cpu_seconds_total', { worker: '1' })) !== null &&
      (await of('sluice_worker_cpu_seconds_total', { worker: '0' })) !== null,
  );
  for (const worker of ['0', '1']) {
    assert.ok(((await of('sluice_worker_cpu_seconds_total', { worker })) ?? 0) > 0.01);
    assert.ok(((await of('sluice_worker_resident_memory_bytes', { worker })) ?? 0) > 20 * 1024 * 1024);
    const busyRatio = (await of('sluice_worker_busy_ratio', { worker })) ?? -1;
    assert.ok(busyRatio >= 0 && busyRatio <= 1, `${busyRatio}`);
    const heapBytes = (await of('sluice_worker_heap_used_bytes', { worker })) ?? 0;
    assert.ok(
      heapBytes > 2 ** 20 && heapBytes < ((await of('sluice_worker_heap_limit_bytes', { worker })) ?? 0),
    );
    for (const kind of ['minor', 'major', 'incremental', 'weak'])
      assert.ok(((await of('sluice_worker_gc_seconds_total', { worker, kind })) ?? -1) >= 0, kind);
    assert.equal(await of('sluice_worker_connections', { worker }), 0);
    assert.equal(await of('sluice_worker_requests_total', { worker }), 0);
  }
  for (const [name, labels] of [
    ['sluice_bytes_total', { direction: 'in' }],
    ['sluice_retries_total', { pool: 'app', reason: 'connect' }],
    ['sluice_shed_total', { reason: 'overload' }],
    ['sluice_access_log_dropped_lines_total', {}],
    ['sluice_application_log_dropped_lines_total', {}],
    ['sluice_connections_accepted_total', {}],
    ['sluice_upstream_connect_seconds_count', { pool: 'app' }],
    ['sluice_config_last_reload_duration_seconds', {}],
  ] as const) {
    assert.equal(await of(name, labels), 0, name);
  }
  assert.ok(((await of('sluice_probes_total', { pool: 'app', result: 'pass' })) ?? 0) > 0);
  assert.ok(((await of('sluice_probe_duration_seconds', { pool: 'app' })) ?? 0) > 0);
  const filesBefore = await waitFor(
    'the descriptors',
    async () => (await of('sluice_worker_open_fds')) || null,
  );
  assert.ok(filesBefore < ((await of('sluice_worker_max_fds', { worker: '0' })) ?? 0));
  const idle = Array.from({ length: 20 }, () => connect(Number(new URL(sluice.proxyUrl).port), '127.0.0.1'));
  t.after(() => {
    for (const socket of idle) socket.destroy();
  });
  await waitFor(
    'the descriptors of 20 connections',
    async () => ((await of('sluice_worker_open_fds')) ?? 0) >= filesBefore + 20,
  );
  for (const socket of idle) socket.destroy();
  await waitFor('their end', async () => (await of('sluice_worker_connections')) === 0);
  assert.equal((await ask(sluice.proxyUrl)).status, 200);
  await waitFor(
    'the connections to be counted',
    async () =>
      (await of('sluice_connections_accepted_total')) === 21 &&
      (await of('sluice_upstream_connect_seconds_bucket', { le: '10' })) === 1 &&
      (await of('sluice_worker_requests_total')) === 1,
  );
});

test('series of removed routes, pools and policies disappear', async (t) => {
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const configOf = (name: string) => ({
    pools: { [name]: { backends: [{ url: backend.url }] } },
    routes: [{ name, match: { path: '/' }, pool: name, rateLimit: { policy: name } }],
    rateLimit: { policies: { [name]: { capacity: 100, refillPerSecond: 50 } } },
  });
  const sluice = await startSluice({ config: configOf('first') });
  t.after(() => sluice.stop());
  const metrics = async () => (await ask(`${sluice.adminUrl}/metrics`)).text;
  const use = async (name: string) => {
    assert.equal((await ask(sluice.proxyUrl)).status, 200);
    const counted = [`route="${name}"`, `backend=`, `policy="${name}"`];
    return waitFor(`${name} to be counted`, async () => {
      const text = await metrics();
      return (
        counted.every((label) => text.includes(label)) && /requests_total\{route=.+ 1$/m.test(text) && text
      );
    });
  };
  const before = await use('first');
  for (const name of ['second', 'third', 'first']) {
    sluice.configure(configOf(name));
    assert.equal((await ask(`${sluice.adminUrl}/api/v1/reload`, { method: 'POST' })).status, 200);
    const text = await use(name);
    const others = ['first', 'second', 'third'].filter((other) => other !== name);
    assert.doesNotMatch(text, new RegExp(`"(${others.join('|')})"`));
  }
  const lineCount = (text: string) => text.split('\n').filter((line) => line.startsWith('sluice_')).length;
  // The calls of this test add a few series; a configuration has about sixty.
  assert.ok(lineCount(await metrics()) < lineCount(before) + 10);
});

test('readyz stays ready and reports a pool without a usable backend', async (t) => {
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const pools = poolOf([backend]);
  const sluice = await startSluice({ config: { pools } });
  t.after(() => sluice.stop());
  const degraded = async () => {
    const { status, text } = await ask(`${sluice.adminUrl}/readyz`);
    assert.equal(status, 200);
    return JSON.parse(text).degraded as string[];
  };
  assert.deepEqual(await degraded(), []);
  const call = `${sluice.adminUrl}/api/v1/pools/app/backends/127.0.0.1:${backend.port}`;
  assert.equal((await ask(`${call}/drain?force=true`, { method: 'POST' })).status, 200);
  assert.deepEqual(await degraded(), ['backends']);
  assert.equal((await ask(`${call}/enable`, { method: 'POST' })).status, 200);
  assert.deepEqual(await degraded(), []);
  sluice.configure({ pools: { app: { backends: [{ url: backend.url, weight: 0 }] } } });
  assert.equal((await ask(`${sluice.adminUrl}/api/v1/reload`, { method: 'POST' })).status, 200);
  assert.deepEqual(await degraded(), ['backends']);
});
