import assert from 'node:assert/strict';
import { test } from 'node:test';
import { waitFor } from '../../support/wait.ts';
import { startCapturingBackend } from '../capturing-backend.ts';
import { accessLineOf, startProxy } from '../support.ts';

test('B36: an access line has client, request, backend and times, and no secrets', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [{ port: backend.port, id: 'b1' }] });
  const client = await proxy.connect();
  client.write(
    'POST /a/b?token=s3cret HTTP/1.1\r\nHost: Shop.example:80\r\nUser-Agent: test "1"\r\nAuthorization: Bearer s3cret\r\n' +
      'Cookie: s3cret\r\nContent-Length: 3\r\n\r\nabc',
  );
  const answer = await client.readResponse();
  const line = await accessLineOf(proxy, () => true);
  const { time, totalMs, upstreamMs, traceId, ...rest } = line;
  assert.deepEqual(rest, {
    requestId: answer.header('x-request-id'),
    clientIp: '127.0.0.1',
    clientId: null,
    method: 'POST',
    protocol: 'http/1.1',
    host: 'Shop.example:80',
    path: '/a/b',
    status: 200,
    reason: 'ok',
    bytesIn: 3,
    bytesOut: answer.body.length,
    grpcStatus: null,
    queueMs: 0,
    limiterMs: null,
    backend: 'b1',
    attempts: 1,
    route: 'default',
    policies: null,
    userAgent: 'test "1"',
  });
  assert.match(time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  assert.ok(Math.abs(Date.parse(time) - Date.now()) < 5_000);
  assert.ok(totalMs > 0 && upstreamMs !== null && upstreamMs <= totalMs);
  assert.equal(backend.requests[0]?.header('traceparent')?.slice(3, 35), traceId);
  assert.doesNotMatch(JSON.stringify(line), /s3cret/);
});

test('B36: a request that the parser refuses has an access line and a request id too', async (t) => {
  const proxy = await startProxy(t, { backends: [{ port: 1 }] });
  const client = await proxy.connect();
  client.write('NONSENSE\r\n\r\n');
  const answer = await client.readResponse();
  const line = await accessLineOf(proxy, () => true);
  assert.equal(line.status, 400);
  assert.equal(line.reason, 'bad_request');
  assert.equal(line.method, null);
  assert.equal(line.path, null);
  assert.equal(line.bytesOut, answer.body.length);
  assert.equal(line.requestId, answer.header('x-request-id'));
  assert.equal(line.requestId, JSON.parse(answer.body.toString()).requestId);
  assert.equal(proxy.metric('sluice_requests_total', '_none', '_other', '400'), 1);
});

test('B36: the password in a refused absolute target is not logged', async (t) => {
  const proxy = await startProxy(t, { backends: [{ port: 1 }] });
  const client = await proxy.connect();
  client.write('GET http://user:s3cret@a/x HTTP/1.1\r\nHost: a\r\n\r\n');
  assert.equal((await client.readResponse()).status, 400);
  assert.equal((await accessLineOf(proxy, () => true)).path, null);
});

test('B36: access lines can be switched off and sampled', async (t) => {
  const backend = await startCapturingBackend(t);
  for (const access of [
    { enabled: false, sample: 1 },
    { enabled: true, sample: 0 },
  ]) {
    const proxy = await startProxy(t, { backends: [backend], access });
    const client = await proxy.connect();
    client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    await client.readResponse();
    client.write('BAD\r\n\r\n');
    await client.readResponse();
    await waitFor('both requests to end', () => proxy.handler.traffic.inFlight === 0);
    assert.equal(proxy.lines.length, 0);
  }
});

test('B34: every final answer carries its own request id', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend] });
  const ids = new Set<string | null>();
  for (let i = 0; i < 3; i++) {
    const client = await proxy.connect();
    client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    ids.add((await client.readResponse()).header('x-request-id'));
    client.write('GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n');
    ids.add((await client.readResponse()).header('x-request-id'));
  }
  assert.equal(ids.size, 6);
  assert.ok(!ids.has(null));
});

test('B35: requests, durations, bytes and requests in flight are counted by labels of the configuration', async (t) => {
  const backend = await startCapturingBackend(t, ({ target }) =>
    target === '/hang' ? null : 'HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok',
  );
  const proxy = await startProxy(t, { backends: [{ port: backend.port, id: 'b1' }] });
  const client = await proxy.connect();
  for (const method of ['GET', 'POST', 'PROPFIND']) {
    client.write(`${method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n`);
    await client.readResponse();
  }
  await waitFor('three requests to end', () => proxy.handler.traffic.inFlight === 0);
  assert.equal(proxy.metric('sluice_requests_total', 'default', 'GET', '201'), 1);
  assert.equal(proxy.metric('sluice_requests_total', 'default', '_other', '201'), 1);
  assert.equal(proxy.metric('sluice_upstream_requests_total', 'app', 'b1', '201'), 3);
  assert.equal(proxy.metric('sluice_bytes_total', 'out'), 6);
  assert.equal(proxy.handler.traffic.total, 3);
  client.write('GET /hang HTTP/1.1\r\nHost: a\r\n\r\n');
  await waitFor('the request at the backend', () => backend.requests.length === 4);
  assert.equal(proxy.handler.traffic.inFlight, 1);
  assert.equal(proxy.backend('b1').inFlight, 1);
  client.reset();
  await waitFor('it to end', () => proxy.backend('b1').inFlight === 0);
  assert.equal(proxy.handler.traffic.inFlight, 0);
});
