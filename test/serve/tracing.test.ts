import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ask, metricOf, poolOf, startNamed } from '../cluster/support.ts';
import { startBackend } from '../support/backend.ts';
import { freePort } from '../support/free-port.ts';
import { startCollector } from '../support/otlp-collector.ts';
import { startSluice } from '../support/sluice.ts';
import { waitFor } from '../support/wait.ts';

const PARENT = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';

test('B34: spans of a sampled request reach a collector, with the attributes of the conventions, as parts of one trace', async (t) => {
  const collector = await startCollector();
  t.after(() => collector.close());
  let seen: string | undefined;
  const backend = await startBackend((req, res) => {
    seen = String(req.headers.traceparent);
    res.writeHead(req.url?.startsWith('/broken') ? 500 : 200).end('hello');
  });
  t.after(() => backend.close());
  const sluice = await startSluice({
    config: {
      trustedProxies: ['127.0.0.1'],
      pools: poolOf([backend]),
      tracing: { endpoint: `${collector.url}/`, sample: 0 },
    },
    env: {
      OTEL_EXPORTER_OTLP_HEADERS: 'x-key=secret',
      OTEL_RESOURCE_ATTRIBUTES: 'deployment=test',
      OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS: 'GET, PURGE',
    },
  });
  t.after(() => sluice.stop());
  const headers = { traceparent: PARENT, tracestate: 'a=1,b=2', 'user-agent': 'test' };
  const beganMs = Date.now();
  assert.equal((await ask(`${sluice.proxyUrl}/a?token=secret`, { headers })).status, 200);
  assert.equal((await ask(`${sluice.proxyUrl}/not-sampled`)).status, 200);
  const [server, client] = await waitFor('two spans', () => collector.spans.length >= 2 && collector.spans);
  assert.ok(server && client);
  const { port } = new URL(sluice.proxyUrl);
  const { startMs, endMs, spanId, resource, ...rest } = server;
  assert.deepEqual(rest, {
    traceId: '4bf92f3577b34da6a3ce929d0e0e4736',
    parentId: '00f067aa0ba902b7',
    traceState: 'a=1,b=2',
    name: 'GET default',
    kind: 2,
    status: 0,
    attributes: {
      'http.request.method': 'GET',
      'http.route': 'default',
      'http.response.status_code': 200,
      'url.path': '/a',
      'url.scheme': 'http',
      'client.address': '127.0.0.1',
      'server.address': '127.0.0.1',
      'server.port': Number(port),
      'network.protocol.version': '1.1',
      'user_agent.original': 'test',
      'sluice.reason': 'ok',
    },
  });
  assert.deepEqual([resource['service.name'], resource.deployment], ['sluice', 'test']);
  assert.ok(startMs >= beganMs - 1 && endMs >= startMs && endMs <= Date.now() + 1, `${startMs} ${endMs}`);
  assert.deepEqual(
    [client.traceId, client.parentId, client.kind, client.name, client.status],
    [server.traceId, spanId, 3, 'GET', 0],
  );
  assert.ok(client.startMs >= startMs && client.endMs <= endMs);
  assert.deepEqual(client.attributes, {
    'http.request.method': 'GET',
    'http.response.status_code': 200,
    'url.full': `http://127.0.0.1:${backend.port}/a`,
    'server.address': '127.0.0.1',
    'server.port': backend.port,
    'network.protocol.version': '1.1',
    'sluice.pool': 'app',
    'sluice.backend': `127.0.0.1:${backend.port}`,
  });
  assert.match(
    seen ?? '',
    /^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/,
    'a backend is told that nobody records this trace',
  );
  assert.equal((await ask(`${sluice.proxyUrl}/broken`, { method: 'PURGE', headers })).status, 500);
  const failed = await waitFor(
    'the next spans',
    () => collector.spans.length >= 4 && collector.spans.slice(2),
  );
  assert.deepEqual(
    failed.map(({ name, status, attributes }) => [name, status, attributes['error.type']]),
    [
      ['PURGE default', 2, '500'],
      ['PURGE', 2, '500'],
    ],
  );
  assert.equal(seen, `00-${failed[1]?.traceId}-${failed[1]?.spanId}-01`, 'the parent of the backend');
  assert.equal(collector.headers[0]?.['x-key'], 'secret');
  await waitFor(
    'four spans to be counted',
    async () => (await metricOf(sluice.adminUrl, 'sluice_trace_spans_total', { result: 'exported' })) === 4,
  );
  assert.doesNotMatch(JSON.stringify(collector.spans), /token/);
});

test('without a collector no request fails, spans are counted as lost, and a collector that comes gets the next ones', async (t) => {
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const port = await freePort();
  const tracing = { endpoint: `http://127.0.0.1:${port}`, sample: 1 };
  const sluice = await startSluice({ config: { pools: poolOf([backend]), tracing } });
  t.after(() => sluice.stop());
  const spans = (result: string) => metricOf(sluice.adminUrl, 'sluice_trace_spans_total', { result });
  for (let i = 0; i < 20; i++) assert.equal((await ask(sluice.proxyUrl)).status, 200);
  await waitFor('lost spans', async () => ((await spans('dropped')) ?? 0) > 0);
  assert.equal(sluice.jsonLines(({ msg }) => /does not take spans/.test(String(msg))).length, 1);
  const collector = await startCollector(port);
  t.after(() => collector.close());
  await waitFor('spans at the collector', async () => {
    await ask(sluice.proxyUrl);
    return collector.spans.length > 0;
  });
  // A reload ends it: nothing is recorded, and the trace of a client goes on as it came.
  sluice.configure({ pools: poolOf([backend]) });
  assert.equal((await ask(`${sluice.adminUrl}/api/v1/reload`, { method: 'POST' })).status, 200);
  const before = collector.spans.length;
  await ask(`${sluice.proxyUrl}/after`, { headers: { traceparent: PARENT } });
  await sluice.stop();
  assert.ok(!collector.spans.slice(before).some(({ attributes }) => attributes['url.path'] === '/after'));
});

test('the end of a worker sends the spans that wait, also those of the collector before a reload', async (t) => {
  const [former, collector] = [await startCollector(), await startCollector()];
  for (const each of [former, collector]) t.after(() => each.close());
  const held: (() => void)[] = [];
  const backend = await startBackend((req, res) => {
    if (req.url === '/held') held.push(() => res.end());
    else res.end();
  });
  t.after(() => backend.close());
  const config = { pools: poolOf([backend]), tracing: { endpoint: former.url, sample: 1 } };
  const sluice = await startSluice({ config });
  t.after(() => sluice.stop());
  const answer = ask(`${sluice.proxyUrl}/held`);
  await waitFor('the request at the backend', () => held.length === 1);
  sluice.configure({ ...config, tracing: { endpoint: collector.url, sample: 1 } });
  assert.equal((await ask(`${sluice.adminUrl}/api/v1/reload`, { method: 'POST' })).status, 200);
  await ask(sluice.proxyUrl);
  held[0]?.();
  await answer;
  await sluice.stop();
  const pathsAt = ({ spans }: typeof former) =>
    spans.map(({ attributes }) => attributes['url.path'] ?? 'attempt');
  assert.deepEqual(
    [pathsAt(former), pathsAt(collector)],
    [
      ['/held', 'attempt'],
      ['/', 'attempt'],
    ],
  );
});
