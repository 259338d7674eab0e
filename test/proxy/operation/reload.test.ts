import assert from 'node:assert/strict';
import { test } from 'node:test';
import { waitFor } from '../../support/wait.ts';
import { ok, startCapturingBackend } from '../capturing-backend.ts';
import { pool, route, startProxy } from '../support.ts';

const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';

test('a new plan keeps backends, their state and their connections', async (t) => {
  const backend = await startCapturingBackend(t);
  const options = { backends: [{ port: backend.port, id: 'b1' }] };
  const proxy = await startProxy(t, options);
  const client = await proxy.connect();
  client.write(GET);
  await client.readResponse();
  const before = proxy.backend('b1');
  proxy.reload({ backends: [{ port: backend.port, id: 'b1', weight: 5 }] });
  assert.equal(proxy.backend('b1'), before);
  assert.equal(before.weight, 5);
  client.write(GET);
  await client.readResponse();
  assert.equal(backend.connectionCount, 1);
});

test('a request keeps the plan that it began with; a removed backend’s connections close after its last request', async (t) => {
  const old = await startCapturingBackend(t, () => null);
  const fresh = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [{ port: old.port, id: 'old' }] });
  const client = await proxy.connect();
  client.write(GET);
  await waitFor('the request at the old backend', () => old.requests.length === 1);
  const oldBackend = proxy.backend('old');
  proxy.reload({ backends: [{ port: fresh.port, id: 'new' }] });
  const other = await proxy.connect();
  other.write(GET);
  assert.equal((await other.readResponse()).status, 200);
  assert.equal(fresh.requests.length, 1);
  assert.equal(old.closedCount, 0);
  old.sockets[0]?.write(ok('late'));
  assert.equal((await client.readResponse()).body.toString(), 'late');
  await waitFor('the connection to the removed backend to close', () => old.closedCount === 1);
  assert.equal(oldBackend.inFlight, 0);
});

test('a reload that changes no backend goes on with the round', async (t) => {
  const backends = [await startCapturingBackend(t), await startCapturingBackend(t)];
  const proxy = await startProxy(t, { backends });
  const client = await proxy.connect();
  for (let i = 0; i < 6; i++) {
    client.write(GET);
    await client.readResponse();
    proxy.reload({ backends, poolTimeouts: { responseMs: 1_000 + i } });
  }
  assert.deepEqual(
    backends.map(({ requests }) => requests.length),
    [3, 3],
  );
});

test('changed timeouts of a pool apply at once to new connections', async (t) => {
  const backend = await startCapturingBackend(t, () => null);
  const options = { backends: [{ port: backend.port, id: 'b1' }] };
  const proxy = await startProxy(t, options);
  proxy.reload({ ...options, poolTimeouts: { responseMs: 150 } });
  const client = await proxy.connect();
  client.write(GET);
  assert.equal((await client.readResponse()).status, 504);
});

test('routes, limits and trusted proxies change with the plan, also on open connections', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend] });
  const client = await proxy.connect();
  const send = async () => {
    client.write('POST /a HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 198.51.100.1\r\nContent-Length: 0\r\n\r\n');
    return (await client.readResponse()).status;
  };
  assert.equal(await send(), 200);
  proxy.reload({
    backends: [backend],
    trustedProxies: ['127.0.0.1'],
    routes: [route('only', { path: '/a' })],
  });
  assert.equal(await send(), 200);
  assert.deepEqual(
    backend.requests.map((request) => request.header('x-real-ip')),
    ['127.0.0.1', '198.51.100.1'],
  );
  proxy.reload({ pools: [pool('app', [backend.port])], routes: [route('b', { path: '/b' })] });
  assert.equal(await send(), 404);
  proxy.reload({ backends: [backend], limits: { bodyBytes: 1 } });
  client.write('POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab');
  assert.equal((await client.readResponse()).status, 413);
});
