/** `make bench-accept` counts connections correctly. Nothing here judges a spread. */
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { connect } from 'node:net';
import { test } from 'node:test';
import { measureSpread } from '../../bench/accept-spread.ts';
import { connectionsOf } from '../../bench/rig/worker-sockets.ts';
import { listen } from '../../test_backs/server.ts';
import { waitFor } from '../support/wait.ts';

test('connections are counted for the process that accepted them, and no others', async (t) => {
  const backend = await listen(createServer());
  t.after(() => backend.close());
  const clients = [1, 2, 3].map(() => connect(backend.port, '127.0.0.1'));
  t.after(() => {
    for (const client of clients) client.destroy();
  });
  await waitFor('three connections', () => backend.sockets.size === 3);
  const [client] = clients;
  assert.deepEqual(connectionsOf([process.pid, process.ppid, 0], backend.port), [3, 0, 0]);
  assert.deepEqual(connectionsOf([process.pid], client!.localPort!), [1]);
  client!.destroy();
  await waitFor('two to be left', () => connectionsOf([process.pid], backend.port)[0] === 2);
});

test('the spread is measured when all are open and after a load, and closed clients reconnect', async (t) => {
  let asked = 0;
  const server = createServer((_request, response) => {
    asked += 1;
    if (asked > 21 && asked % 7 === 0) response.setHeader('Connection', 'close');
    response.setHeader('Content-Length', 4);
    response.end('tiny');
  });
  const backend = await listen(server);
  t.after(() => backend.close());
  // Two workers, one of which has nothing.
  const instance = { proxyUrl: backend.url, workerPids: () => [process.ppid, process.pid] };
  const spread = await measureSpread(instance, 21, { perSec: 200, seconds: 0.5 });
  assert.deepEqual(spread, { opened: 2, loaded: 2, failed: 0 });
  assert.ok(asked > 21 + 50, `${asked} requests`);
  assert.ok(backend.connectionCount > 21 + 5, `${backend.connectionCount} connections`);
  assert.deepEqual(connectionsOf([process.pid], backend.port), [0]);
});

test('requests with a bad answer or none are counted', async (t) => {
  let asked = 0;
  const server = createServer((request, response) => {
    asked += 1;
    if (asked > 21 && asked % 7 === 0) request.socket.destroy();
    else response.writeHead(asked > 21 && asked % 7 === 1 ? 503 : 200, { 'Content-Length': 0 }).end();
  });
  const backend = await listen(server);
  t.after(() => backend.close());
  const instance = { proxyUrl: backend.url, workerPids: () => [process.pid] };
  const { failed } = await measureSpread(instance, 21, { perSec: 200, seconds: 0.5 });
  const bad = Array.from({ length: asked - 21 }, (_, index) => (index + 22) % 7).filter((rest) => rest < 2);
  assert.equal(failed, bad.length);
});
