import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { ask, metricOf, poolOf, startNamed } from '../cluster/support.ts';
import { runToEnd } from '../support/child.ts';
import { startLoad } from '../support/load.ts';
import { CLI } from '../support/product.ts';
import { startSluice } from '../support/sluice.ts';
import { hasTool } from '../support/tools.ts';
import { waitFor } from '../support/wait.ts';

const KEYS =
  `time requestId traceId clientIp clientId method protocol host path status grpcStatus reason bytesIn bytesOut totalMs upstreamMs
  queueMs limiterMs backend attempts route policies userAgent`.split(/\s+/);

test('B36: one JSON line per request with every key, without query, credentials or cookies', async (t) => {
  const backend = await startNamed('hello');
  t.after(() => backend.close());
  const sluice = await startSluice({ config: { workers: 2, pools: poolOf([backend]) } });
  t.after(() => sluice.stop());
  const parent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
  const answer = await ask(`${sluice.proxyUrl}/a/b?token=secret`, {
    method: 'POST',
    body: 'four',
    headers: {
      authorization: 'Bearer secret',
      cookie: 'a=secret',
      traceparent: parent,
      'user-agent': 'a "test"',
    },
  });
  assert.equal(answer.text, 'hello');
  const [line] = await waitFor('the access line', () => {
    const lines = sluice.jsonLines((entry) => entry.requestId === answer.headers['x-request-id']);
    return lines.length > 0 ? lines : null;
  });
  assert.ok(line);
  assert.deepEqual(Object.keys(line).sort(), [...KEYS].sort());
  assert.match(String(line.time), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  const {
    clientIp,
    clientId,
    method,
    host,
    path,
    status,
    reason,
    bytesIn,
    bytesOut,
    attempts,
    route,
    userAgent,
    traceId,
  } = line;
  assert.deepEqual(
    {
      clientIp,
      clientId,
      method,
      path,
      status,
      reason,
      bytesIn,
      bytesOut,
      attempts,
      route,
      userAgent,
      traceId,
    },
    {
      clientIp: '127.0.0.1',
      clientId: null,
      method: 'POST',
      path: '/a/b',
      status: 200,
      reason: 'ok',
      bytesIn: 4,
      bytesOut: 5,
      attempts: 1,
      route: 'default',
      userAgent: 'a "test"',
      traceId: '4bf92f3577b34da6a3ce929d0e0e4736',
    },
  );
  assert.equal(host, new URL(sluice.proxyUrl).host);
  assert.equal(line.backend, `127.0.0.1:${backend.port}`);
  assert.doesNotMatch(JSON.stringify(line), /secret/);
});

test('B36: lines lost to a stalled reader are counted, and all others arrive whole', async (t) => {
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const sluice = await startSluice({ config: { pools: poolOf([backend]) } });
  t.after(() => sluice.stop());
  const dropped = () => metricOf(sluice.adminUrl, 'sluice_access_log_dropped_lines_total');
  assert.equal(await dropped(), 0);
  sluice.child.stall(true);
  // Lines of nearly 4,000 bytes: about 1,100 fill the buffer of a worker and the pipe.
  const load = startLoad({ url: `${sluice.proxyUrl}/${'a'.repeat(5_000)}`, connections: 4 });
  t.after(() => load.stop());
  await waitFor('lines to be lost', async () => ((await dropped()) ?? 0) > 0);
  const { total } = await load.stop();
  sluice.child.stall(false);
  await waitFor('every line to be there or counted', async () => {
    const lines = sluice.jsonLines(({ reason }) => reason === 'ok');
    return lines.length > 0 && lines.length + ((await dropped()) ?? 0) === total;
  });
});

test('B35: counters are summed over workers, labels come from the config, and promtool accepts the text', async (t) => {
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const sluice = await startSluice({ config: { workers: 2, pools: poolOf([backend]) } });
  t.after(() => sluice.stop());
  for (let i = 0; i < 30; i++) assert.equal((await ask(`${sluice.proxyUrl}/${i}`)).status, 200);
  await ask(sluice.proxyUrl, { method: 'PROPFIND' });
  await waitFor(
    'all requests to be counted',
    async () => (await metricOf(sluice.adminUrl, 'sluice_requests_total')) === 31,
  );
  assert.equal(
    await metricOf(sluice.adminUrl, 'sluice_requests_total', {
      route: 'default',
      method: 'GET',
      code: '200',
    }),
    30,
  );
  assert.equal(await metricOf(sluice.adminUrl, 'sluice_requests_total', { method: '_other' }), 1);
  assert.equal(await metricOf(sluice.adminUrl, 'sluice_request_duration_seconds_count'), 31);
  assert.equal(await metricOf(sluice.adminUrl, 'sluice_bytes_total', { direction: 'out' }), 31);
  assert.equal(
    await metricOf(sluice.adminUrl, 'sluice_upstream_requests_total', { pool: 'app', code: '200' }),
    31,
  );
  assert.equal(await metricOf(sluice.adminUrl, 'sluice_backend_up'), 1);
  assert.equal(await metricOf(sluice.adminUrl, 'sluice_workers', { state: 'serving' }), 2);
  assert.equal(await metricOf(sluice.adminUrl, 'sluice_config_last_reload_success'), 1);
  assert.equal(await metricOf(sluice.adminUrl, 'sluice_config_revision_info', { revision: '1' }), 1);
  assert.ok(await metricOf(sluice.adminUrl, 'sluice_build_info'));
  assert.ok(new URL(sluice.adminUrl).hostname === '127.0.0.1');
  const { text } = await ask(`${sluice.adminUrl}/metrics`);
  assert.deepEqual(lintMetrics(text), []);
  if (!hasTool(t, 'promtool')) return;
  const verdict = spawnSync('promtool', ['check', 'metrics'], {
    input: text,
    encoding: 'utf8',
    timeout: 10_000,
  });
  assert.deepEqual([verdict.status, verdict.stdout, verdict.stderr], [0, '', '']);
});

test('the command line prints the version', async () => {
  const { code, stdout } = await runToEnd(process.execPath, [CLI, 'version']);
  assert.equal(code, 0);
  assert.match(stdout.join(), /\d+\.\d+\.\d+/);
});

/** The checks of `promtool check metrics` that can apply to us; returns the problems. */
function lintMetrics(text: string): string[] {
  const types = new Map<string, string>();
  const helped = new Set<string>();
  const seen = new Set<string>();
  const complaints: string[] = [];
  for (const line of text.split('\n').filter((each) => each !== '')) {
    const [, kind, name = '', rest = ''] = /^# (HELP|TYPE) (\S+) (.*)$/.exec(line) ?? [];
    if (kind === 'HELP') helped.add(name);
    else if (kind === 'TYPE') {
      types.set(name, rest);
      if (!helped.has(name)) complaints.push(`${name}: no HELP`);
      if ((rest === 'counter') !== name.endsWith('_total'))
        complaints.push(`${name}: a ${rest} of this name`);
    } else {
      const series = line.slice(0, line.lastIndexOf(' '));
      const metric = /^[a-zA-Z_:][a-zA-Z0-9_:]*/.exec(series)?.[0] ?? '';
      if (!types.has(metric) && !types.has(metric.replace(/_(bucket|sum|count)$/, '')))
        complaints.push(`${series}: no TYPE`);
      if (seen.has(series)) complaints.push(`${series}: twice`);
      if (!/^ (-?[\d.]+(e[+-]?\d+)?|NaN|Nan|[+-]Inf)$/i.test(line.slice(series.length)))
        complaints.push(`${line}: no number`);
      seen.add(series);
    }
  }
  return complaints;
}
