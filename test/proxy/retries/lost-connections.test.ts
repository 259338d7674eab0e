import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { test } from 'node:test';
import { healthCheckSettings, retrySettings } from '../../support/settings.ts';
import { waitFor } from '../../support/wait.ts';
import { ok, startCapturingBackend } from '../capturing-backend.ts';
import { startProxy } from '../support.ts';

/** Ports where nothing listens. All are taken before the first is given back, so that no two are the same. */
async function closedPorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map((server) => once(server, 'listening')));
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

const POST = 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc';

test('B8: refused connections go to up to two further backends, with any method and its body', async (t) => {
  const backend = await startCapturingBackend(t);
  const [one = 0, two = 0] = await closedPorts(2);
  const proxy = await startProxy(t, { backends: [{ port: one }, { port: two }, backend] });
  const client = await proxy.connect();
  for (let i = 0; i < 3; i++) {
    client.write(POST);
    assert.equal((await client.readResponse()).status, 200);
    assert.equal(backend.requests[i]?.body, 'abc');
  }
  assert.ok(proxy.failures.length >= 2);
  assert.ok(proxy.failures.every(({ pool, detail }) => pool === 'app' && detail.length > 0));
  assert.equal(proxy.metric('sluice_retries_total', 'app', 'connect'), proxy.failures.length);
  assert.equal(Math.max(...proxy.lines.map((line) => line.attempts)), 3);
});

test('B8: when three backends refuse, the answer is 502, even if there is a fourth', async (t) => {
  const ports = await closedPorts(4);
  const proxy = await startProxy(t, { backends: ports.map((port) => ({ port })) });
  const client = await proxy.connect();
  client.write(POST);
  const answer = await client.readResponse();
  assert.equal(answer.status, 502);
  assert.match(JSON.parse(answer.body.toString()).type, /\/connect_failed$/);
  assert.equal(proxy.failures.length, 3);
  assert.equal(proxy.lines[0]?.attempts, 3);
  assert.equal(proxy.metric('sluice_upstream_requests_total', '000'), 3);
});

test('without an available backend the answer is 503 with Retry-After', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend] });
  proxy.backend(`127.0.0.1:${backend.port}`).standing = 'off';
  const client = await proxy.connect();
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  const answer = await client.readResponse();
  assert.equal(answer.status, 503);
  assert.match(answer.header('retry-after') ?? '', /^[1-9]\d*$/);
  assert.equal(proxy.lines[0]?.reason, 'no_backend');
  assert.equal(proxy.lines[0]?.attempts, 0);
});

test('B6: a backend with a health check gets no requests before the primary reports it healthy', async (t) => {
  const backend = await startCapturingBackend(t);
  const healthCheck = healthCheckSettings({
    type: 'tcp',
    intervalMs: 1000,
    timeoutMs: 500,
    rise: 1,
    fall: 1,
  });
  const proxy = await startProxy(t, { backends: [backend], healthCheck });
  const client = await proxy.connect();
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  assert.equal((await client.readResponse()).status, 503);
  proxy.backend(`127.0.0.1:${backend.port}`).standing = 'up';
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  assert.equal((await client.readResponse()).status, 200);
});

/** Answers the first request of each connection and resets at the second. */
async function startForgetfulBackend(t: Parameters<typeof startCapturingBackend>[0]) {
  const served = new Map<number, number>();
  return startCapturingBackend(t, ({ connection, target }, socket) => {
    const count = (served.get(connection) ?? 0) + 1;
    served.set(connection, count);
    if (count === 1) return ok(`${connection} ${target}`);
    socket.resetAndDestroy();
    return null;
  });
}

test('B10: a reused connection that dies before a response byte is replaced once, and the backend is not blamed', async (t) => {
  const backend = await startForgetfulBackend(t);
  const proxy = await startProxy(t, { backends: [backend] });
  const client = await proxy.connect();
  client.write('GET /1 HTTP/1.1\r\nHost: a\r\n\r\n');
  assert.equal((await client.readResponse()).body.toString(), '0 /1');
  client.write('GET /2 HTTP/1.1\r\nHost: a\r\n\r\n');
  assert.equal((await client.readResponse()).body.toString(), '1 /2');
  assert.equal(proxy.metric('sluice_retries_total', 'app', 'reused_socket'), 1);
  assert.equal(proxy.failures.length, 0);
  assert.equal(proxy.lines[1]?.attempts, 2);
});

test('B10: a POST on a reused connection that dies is not sent again; a PUT is, with the body that was read', async (t) => {
  const backend = await startForgetfulBackend(t);
  const proxy = await startProxy(t, { backends: [backend] });
  const client = await proxy.connect();
  client.write('GET /1 HTTP/1.1\r\nHost: a\r\n\r\n');
  await client.readResponse();
  client.write(POST);
  assert.equal((await client.readResponse()).status, 502);
  assert.equal(proxy.lines[1]?.reason, 'upstream_reset');
  assert.equal(backend.requests.length, 2);
  await waitFor('the dead connection to be closed', () => backend.closedCount === 1);
  client.write('GET /2 HTTP/1.1\r\nHost: a\r\n\r\n');
  await client.readResponse();
  client.write(POST.replace('POST', 'PUT'));
  assert.equal((await client.readResponse()).status, 200);
  assert.deepEqual(
    backend.requests.map(({ method, body }) => [method, body]),
    [
      ['GET', ''],
      ['POST', 'abc'],
      ['GET', ''],
      ['PUT', 'abc'],
      ['PUT', 'abc'],
    ],
  );
});

test('without further attempts, a reset on a fresh connection makes a 502', async (t) => {
  const backend = await startCapturingBackend(t, (_request, socket) => {
    socket.resetAndDestroy();
    return null;
  });
  const proxy = await startProxy(t, { backends: [backend], app: { retry: retrySettings({ attempts: 0 }) } });
  const client = await proxy.connect();
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  assert.equal((await client.readResponse()).status, 502);
  assert.equal(backend.requests.length, 1);
  assert.equal(proxy.lines[0]?.reason, 'upstream_reset');
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  assert.equal((await client.readResponse()).status, 502);
});
