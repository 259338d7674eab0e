import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ok, startCapturingBackend } from '../capturing-backend.ts';
import { startProxy } from '../support.ts';

const TRUST_LOOPBACK = { trustedProxies: ['127.0.0.0/8'] };

test('B24: hop-by-hop fields and those named by Connection are removed from requests, before ours are added', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend] });
  const client = await proxy.connect();
  client.write(
    'GET / HTTP/1.1\r\nHost: a\r\nX-Gone: 1\r\nConnection: keep-alive, X-Gone, x-real-ip, Via\r\nKeep-Alive: timeout=5\r\n' +
      'Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic eA==\r\nTE: trailers, deflate\r\nTrailer: X-Sum\r\n' +
      'Upgrade: foo\r\nVia: 1.0 other\r\nAuthorization: Bearer s\r\nX-Stays: 2\r\n\r\n',
  );
  assert.equal((await client.readResponse()).status, 200);
  const [request] = backend.requests;
  assert.ok(request);
  for (const name of [
    'x-gone',
    'connection',
    'keep-alive',
    'proxy-connection',
    'proxy-authorization',
    'trailer',
    'upgrade',
  ]) {
    assert.equal(request.header(name), null, name);
  }
  assert.deepEqual(request.all('te'), ['trailers']);
  assert.deepEqual(request.all('via'), ['1.0 other', '1.1 sluice']);
  assert.equal(request.header('x-real-ip'), '127.0.0.1');
  assert.equal(request.header('authorization'), 'Bearer s');
  assert.equal(request.header('x-stays'), '2');
});

test('B24: hop-by-hop fields and those named by Connection are removed from answers', async (t) => {
  const backend = await startCapturingBackend(t, () =>
    ok(
      'x',
      'Connection: X-Gone, Set-Cookie, keep-alive\r\nX-Gone: 1\r\nKeep-Alive: timeout=9\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nTrailer: X\r\nServer: demo\r\nVia: 1.0 inner\r\n',
    ),
  );
  const proxy = await startProxy(t, { backends: [backend] });
  const client = await proxy.connect();
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  const answer = await client.readResponse();
  for (const name of ['connection', 'keep-alive', 'x-gone', 'trailer'])
    assert.equal(answer.header(name), null, name);
  assert.deepEqual(answer.all('set-cookie'), ['a=1', 'b=2']);
  assert.equal(answer.header('server'), 'demo');
  assert.deepEqual(answer.all('via'), ['1.0 inner', '1.1 sluice']);
});

test('B24: an answer carries one Date: the backend’s, or ours where it sent none', async (t) => {
  const dated = 'Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n';
  const backend = await startCapturingBackend(t, ({ target }) => ok('x', target === '/dated' ? dated : ''));
  const proxy = await startProxy(t, { backends: [backend] });
  const client = await proxy.connect();
  client.write('GET /dated HTTP/1.1\r\nHost: a\r\n\r\n');
  assert.deepEqual((await client.readResponse()).all('date'), ['Thu, 01 Jan 1970 00:00:00 GMT']);
  client.write('GET /undated HTTP/1.1\r\nHost: a\r\n\r\n');
  const [date = ''] = (await client.readResponse()).all('date');
  assert.ok(Math.abs(Date.parse(date) - Date.now()) < 5_000, date);
});

test('B25: request header names with an underscore are dropped', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend] });
  const client = await proxy.connect();
  client.write(
    'GET / HTTP/1.1\r\nHost: a\r\nX_Forwarded_For: 6.6.6.6\r\nX-Real_IP: 6.6.6.6\r\nX-Ok: 1\r\n\r\n',
  );
  await client.readResponse();
  assert.doesNotMatch(backend.requests[0]?.raw ?? '', /6\.6\.6\.6/);
  assert.equal(backend.requests[0]?.header('x-ok'), '1');
});

const CLAIMS =
  'X-Forwarded-For: 198.51.100.7, 203.0.113.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.example\r\n' +
  'X-Forwarded-Port: 443\r\nX-Real-IP: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Request-Id: given-1\r\n';

test('B26: from an untrusted peer forwarding fields are discarded and rebuilt from the socket', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend] });
  const client = await proxy.connect();
  client.write(`GET / HTTP/1.1\r\nHost: a:81\r\n${CLAIMS}\r\n`);
  const answer = await client.readResponse();
  const [request] = backend.requests;
  assert.ok(request);
  assert.deepEqual(request.all('x-forwarded-for'), ['127.0.0.1']);
  assert.deepEqual(request.all('x-forwarded-proto'), ['http']);
  assert.deepEqual(request.all('x-forwarded-host'), ['a:81']);
  assert.deepEqual(request.all('x-real-ip'), ['127.0.0.1']);
  assert.equal(request.header('forwarded'), null);
  assert.equal(request.header('x-forwarded-port'), null);
  assert.notEqual(request.header('x-request-id'), 'given-1');
  assert.equal(request.header('x-request-id'), answer.header('x-request-id'));
});

test('B26: from a trusted peer forwarding fields are kept, and the rightmost untrusted address is the client', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend], ...TRUST_LOOPBACK });
  const client = await proxy.connect();
  client.write(`GET / HTTP/1.1\r\nHost: a\r\n${CLAIMS}X-Forwarded-For: 127.0.0.2\r\n\r\n`);
  const answer = await client.readResponse();
  const [request] = backend.requests;
  assert.ok(request);
  assert.deepEqual(request.all('x-forwarded-for'), ['198.51.100.7, 203.0.113.9, 127.0.0.2, 127.0.0.1']);
  assert.deepEqual(request.all('x-forwarded-proto'), ['https']);
  assert.deepEqual(request.all('x-forwarded-host'), ['shop.example']);
  assert.deepEqual(request.all('x-forwarded-port'), ['443']);
  assert.deepEqual(request.all('x-real-ip'), ['203.0.113.9']);
  assert.deepEqual(request.all('x-request-id'), ['given-1']);
  assert.equal(answer.header('x-request-id'), 'given-1');
  assert.equal(proxy.lines[0]?.clientIp, '203.0.113.9');
  assert.equal(proxy.lines[0]?.requestId, 'given-1');
});

test('B34: a trusted peer’s X-Request-Id that is not 1–128 of the allowed characters is replaced', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend], ...TRUST_LOOPBACK });
  const client = await proxy.connect();
  for (const bad of ['a b', 'x'.repeat(129), 'a"b', '']) {
    client.write(`GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: ${bad}\r\n\r\n`);
    const id = (await client.readResponse()).header('x-request-id') ?? '';
    assert.notEqual(id, bad);
    assert.match(id, /^[\w.-]{1,128}$/);
  }
});

test('B34: a backend that repeats X-Request-Id does not double it', async (t) => {
  const backend = await startCapturingBackend(t, () =>
    ok('x', 'x-request-id: own\r\nX-Request-ID: own2\r\n'),
  );
  const proxy = await startProxy(t, { backends: [backend] });
  const client = await proxy.connect();
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  const answer = await client.readResponse();
  assert.deepEqual(answer.all('x-request-id'), [backend.requests[0]?.header('x-request-id')]);
});

const TRACE_ID = '4bf92f3577b34da6a3ce929d0e0e4736';
const PARENT_ID = '00f067aa0ba902b7';

test('B34: a valid traceparent goes on with a new parent id, tracestate with it', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend] });
  const client = await proxy.connect();
  client.write(
    `GET / HTTP/1.1\r\nHost: a\r\ntraceparent: 00-${TRACE_ID}-${PARENT_ID}-01\r\ntracestate: v=1\r\n\r\n`,
  );
  await client.readResponse();
  const sent = backend.requests[0]?.header('traceparent') ?? '';
  assert.match(sent, new RegExp(`^00-${TRACE_ID}-[0-9a-f]{16}-01$`));
  assert.doesNotMatch(sent, new RegExp(PARENT_ID));
  assert.equal(backend.requests[0]?.header('tracestate'), 'v=1');
  assert.equal(proxy.lines[0]?.traceId, TRACE_ID);
});

const INVALID_TRACES: [title: string, lines: string][] = [
  ['absent', ''],
  ['of zeros', `traceparent: 00-${'0'.repeat(32)}-${PARENT_ID}-01\r\n`],
  ['with a parent id of zeros', `traceparent: 00-${TRACE_ID}-${'0'.repeat(16)}-01\r\n`],
  ['of version ff', `traceparent: ff-${TRACE_ID}-${PARENT_ID}-01\r\n`],
  ['in upper case', `traceparent: 00-${TRACE_ID.toUpperCase()}-${PARENT_ID}-01\r\n`],
  ['with more after version 00', `traceparent: 00-${TRACE_ID}-${PARENT_ID}-01-x\r\n`],
  ['twice', `traceparent: 00-${TRACE_ID}-${PARENT_ID}-01\r\n`.repeat(2)],
];

for (const [title, lines] of INVALID_TRACES) {
  test(`B34: a traceparent ${title} is replaced by a new trace, without its tracestate`, async (t) => {
    const backend = await startCapturingBackend(t);
    const proxy = await startProxy(t, { backends: [backend] });
    const client = await proxy.connect();
    client.write(`GET / HTTP/1.1\r\nHost: a\r\n${lines}tracestate: v=1\r\n\r\n`);
    await client.readResponse();
    const [request] = backend.requests;
    assert.ok(request);
    assert.equal(request.all('traceparent').length, 1);
    const [, traceId] = /^00-([0-9a-f]{32})-[0-9a-f]{16}-01$/.exec(request.header('traceparent') ?? '') ?? [];
    assert.ok(traceId);
    assert.notEqual(traceId, TRACE_ID);
    assert.equal(request.header('tracestate'), null);
  });
}

test('B34: a traceparent of a later version is continued as version 00', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend] });
  const client = await proxy.connect();
  client.write(`GET / HTTP/1.1\r\nHost: a\r\ntraceparent: 01-${TRACE_ID}-${PARENT_ID}-03-more\r\n\r\n`);
  await client.readResponse();
  assert.match(
    backend.requests[0]?.header('traceparent') ?? '',
    new RegExp(`^00-${TRACE_ID}-[0-9a-f]{16}-01$`),
  );
});

test('an HTTP/1.0 request without Host gets the backend’s own as Host', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend] });
  const client = await proxy.connect();
  client.write('GET /x HTTP/1.0\r\n\r\n');
  assert.equal((await client.readResponse()).body.toString(), 'GET /x');
  assert.deepEqual(backend.requests[0]?.all('host'), [`127.0.0.1:${backend.port}`]);
  assert.equal(backend.requests[0]?.header('x-forwarded-host'), null);
});
