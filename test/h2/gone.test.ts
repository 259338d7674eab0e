/** Clients of HTTP/2 that leave. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startProxy } from '../proxy/support.ts';
import { rawBackend } from '../proxy/tunnels/support.ts';
import { waitFor } from '../support/wait.ts';
import { connectH2 } from './h2-client.ts';

test('B28: a client that closes its connection by a FIN ends its requests, without a frame', async (t) => {
  const backend = await rawBackend(t, () => undefined);
  const proxy = await startProxy(t, { backends: [{ port: backend.port }], h2c: true });
  const session = connectH2(t, proxy.url);
  session.request({ ':path': '/' }).on('error', () => undefined);
  await waitFor('the request at the backend', () => backend.heads.length === 1);
  session.destroy();
  await waitFor('the access line', () => proxy.lines[0]);
  assert.equal(proxy.lines[0]?.reason, 'client_abort');
  await waitFor('the end at the backend', () => backend.sockets[0]?.destroyed);
  assert.equal(proxy.server.connectionCount, 0);
});
