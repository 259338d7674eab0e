import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';
import { WebSocket as WsClient } from 'ws';
import type { RequestSpan } from '../../../src/proxy/request-span.ts';
import { waitFor } from '../../support/wait.ts';
import { startCapturingBackend } from '../capturing-backend.ts';
import { accessLineOf, type ProxyOptions, startProxy } from '../support.ts';
import { wsBackend } from '../tunnels/support.ts';

const TRACE_ID = '4bf92f3577b34da6a3ce929d0e0e4736';
const PARENT = '00f067aa0ba902b7';
const sampled = `traceparent: 00-${TRACE_ID}-${PARENT}-01\r\n`;
const unsampled = `traceparent: 00-${TRACE_ID}-${PARENT}-00\r\n`;

async function startTraced(t: TestContext, options: ProxyOptions, sample: number) {
  const spans: RequestSpan[] = [];
  const tracing = { sample, note: (span: RequestSpan) => void spans.push(span) };
  const proxy = await startProxy(t, { ...options, tracing });
  const ask = async (head: string) => {
    const client = await proxy.connect();
    client.write(`${head.replace('\n', '\r\nHost: a\r\n')}\r\n`);
    return client.readResponse();
  };
  return { proxy, spans, ask };
}

test('B34: a request is recorded where a trusted peer’s trace is, and others by the share, whatever their flag', async (t) => {
  const backend = await startCapturingBackend(t);
  const trusting = ['127.0.0.1'];
  const later = sampled.replace(' 00-', ' 01-').replace('-01\r', '-03-more\r');
  for (const [sample, lines, trustedProxies, isRecorded, flags] of [
    [0, sampled, trusting, true, '01'],
    [1, unsampled, trusting, false, '00'],
    [0, sampled, [], false, '00'],
    [1, unsampled, [], true, '01'],
    [0, sampled.replace('-01\r', '-03\r'), [], false, '02'],
    [1, unsampled.replace('-00\r', '-02\r'), [], true, '03'],
    [0, later, [], false, '00'],
    [0, later, trusting, true, '01'],
    [1, '', [], true, '01'],
    [0, '', trusting, false, '00'],
    [1, `${sampled}${sampled}`, trusting, true, '01'],
    [0, 'traceparent: nonsense\r\n', trusting, false, '00'],
  ] as const) {
    const options = { backends: [{ port: backend.port }], trustedProxies: [...trustedProxies] };
    const { proxy, spans, ask } = await startTraced(t, options, sample);
    await ask(`GET / HTTP/1.1\n${lines}`);
    const { traceId } = await accessLineOf(proxy, () => true);
    const sent = backend.requests.at(-1)?.header('traceparent') ?? '';
    const what = `${sample} ${lines} ${trustedProxies}`;
    assert.equal(spans.length, isRecorded ? 1 : 0, what);
    assert.match(sent, new RegExp(`^00-${traceId}-[0-9a-f]{16}-${flags}$`), what);
    const isContinued = lines.includes(PARENT) && lines !== `${sampled}${sampled}`;
    assert.equal(traceId === TRACE_ID, isContinued, what);
    if (!isRecorded) continue;
    const [span] = spans;
    assert.equal(span?.traceId, traceId);
    assert.equal(span?.parentId, isContinued ? PARENT : null);
    assert.equal(
      sent.slice(36, 52),
      span?.attempts[0]?.spanId,
      'the backend goes on with the span of its attempt',
    );
    assert.equal(new Set([span?.spanId, sent.slice(36, 52), PARENT]).size, 3);
  }
});

test('without tracing every trace that begins here is sampled for the backends', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [{ port: backend.port }] });
  const client = await proxy.connect();
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  await client.readResponse();
  assert.match(backend.requests[0]?.header('traceparent') ?? '', /-01$/);
});

test('each attempt has a span of its own, with its failure, and its backend goes on with that one', async (t) => {
  const broken = await startCapturingBackend(t, () => 'HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n');
  const backend = await startCapturingBackend(t);
  const retry = {
    attempts: 2,
    budgetPercent: 100,
    minConcurrent: 9,
    nonIdempotent: false,
    onStatus: [503],
    perTryMs: null,
  };
  const backends = [
    { port: 1, id: 'gone' },
    { port: broken.port, id: 'broken' },
    { port: backend.port, id: 'good' },
  ];
  const { spans, ask } = await startTraced(t, { backends, app: { retry } }, 1);
  assert.equal((await ask(`GET / HTTP/1.1\n${sampled}`)).status, 200);
  const [span] = spans;
  assert.deepEqual(
    span?.attempts.map(({ target, status, error }) => [target.backend.id, status, error]),
    [
      ['gone', 0, 'connect_failed'],
      ['broken', 503, null],
      ['good', 200, null],
    ],
  );
  const ids = span?.attempts.map(({ spanId }) => spanId) ?? [];
  assert.equal(new Set(ids).size, 3);
  const parentOf = (captured: typeof backend) => captured.requests[0]?.header('traceparent');
  assert.deepEqual(
    [parentOf(broken), parentOf(backend)],
    ids.slice(1).map((id) => `00-${TRACE_ID}-${id}-01`),
  );
  for (const { startMs, endMs } of span?.attempts ?? [])
    assert.ok(endMs >= startMs && endMs <= (span?.endMs ?? 0));
});

test('a request that is refused, and one whose client leaves, have spans without an attempt that lasts', async (t) => {
  const backend = await startCapturingBackend(t, () => null);
  const { proxy, spans, ask } = await startTraced(t, { backends: [{ port: backend.port }] }, 1);
  assert.equal((await ask('GET /%00 HTTP/1.1\n')).status, 400);
  const { record: refused, attempts } = spans[0] ?? assert.fail('no span');
  assert.deepEqual([refused.status, refused.reason, attempts.length], [400, 'bad_request', 0]);
  const { traceId } = await accessLineOf(proxy, () => true);
  assert.equal(traceId, spans[0]?.traceId, 'its access line has the trace');
  const client = await proxy.connect();
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  await waitFor('the request at the backend', () => backend.requests.length === 1);
  client.close();
  const span = await waitFor('its span', () => spans[1]);
  assert.deepEqual([span.record.status, span.record.reason], [499, 'client_abort']);
  assert.ok((span.attempts[0]?.endMs ?? 0) > 0);
});

test('the span of a request that becomes a tunnel ends with it, whatever becomes of the tunnel', async (t) => {
  const { port } = await wsBackend(t);
  const { proxy, spans } = await startTraced(t, { backends: [{ port }] }, 1);
  const ws = new WsClient(`ws://127.0.0.1:${proxy.port}/chat`);
  t.after(() => ws.terminate());
  await once(ws, 'open');
  const [span] = spans;
  const { totalMs } = span?.record ?? assert.fail('no span');
  ws.close();
  const line = await accessLineOf(proxy, () => true);
  assert.ok(line.totalMs > totalMs);
  const { record } = span ?? assert.fail('no span');
  assert.deepEqual([record.status, record.protocol, record.totalMs], [101, 'http/1.1', totalMs]);
});
