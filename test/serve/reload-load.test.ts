/** Reloads while everything is in use that a reload must leave alone. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { WebSocket, WebSocketServer } from 'ws';
import { askJson, startNamed } from '../cluster/support.ts';
import { connectH2, requestH2 } from '../support/h2-client.ts';
import { startLoad } from '../support/load.ts';
import { startSluice } from '../support/sluice.ts';
import { waitFor } from '../support/wait.ts';

const RELOADS = 20;

async function startEcho(t: TestContext): Promise<string> {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
  await once(server, 'listening');
  server.on('connection', (socket) => socket.on('message', (data) => socket.send(data)));
  t.after(() => {
    for (const client of server.clients) client.terminate();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as { port: number }).port}`;
}

const descriptorCount = (pids: number[]) =>
  pids.reduce((sum, pid) => sum + readdirSync(`/proc/${pid}/fd`).length, 0);

test('B37: 20 reloads that change weights and backends fail nothing, keep sessions and tunnels, and leave no descriptor open', async (t) => {
  const [a, b, chat] = await Promise.all([startNamed('a'), startNamed('b'), startEcho(t)]);
  t.after(() => a.close());
  t.after(() => b.close());
  const configOf = (round: number) => ({
    workers: 2,
    listen: [{ address: '127.0.0.1:0', h2c: true }],
    pools: {
      app: {
        backends: [{ url: a.url, weight: 1 + (round % 3) }, ...(round % 2 === 0 ? [{ url: b.url }] : [])],
      },
      chat: { backends: [{ url: chat }] },
    },
    routes: [
      { name: 'chat', match: { path: '/chat/' }, pool: 'chat' },
      { name: 'app', pool: 'app' },
    ],
  });
  const sluice = await startSluice({ config: configOf(0) });
  t.after(() => sluice.stop());

  const socket = new WebSocket(`${sluice.proxyUrl.replace('http', 'ws')}/chat/room`);
  t.after(() => socket.terminate());
  await once(socket, 'open');
  let echoes = 0;
  let isTunnelCut = false;
  socket.on('message', () => echoes++).on('close', () => (isTunnelCut = true));
  const session = connectH2(t, sluice.proxyUrl);
  let isOver = false;
  const h2Statuses: number[] = [];
  const h2Load = (async () => {
    while (!isOver) h2Statuses.push((await requestH2(session, { ':path': '/' })).status);
  })();
  const load = startLoad({ url: sluice.proxyUrl, connections: 8, pauseMs: 2 });
  t.after(() => load.stop());
  await load.atLeast(100);

  const pids = [sluice.pid, ...sluice.workerPids()];
  const before = descriptorCount(pids);
  for (let round = 1; round <= RELOADS; round++) {
    sluice.configure(configOf(round));
    const { status } = await askJson(`${sluice.adminUrl}/api/v1/reload`, { method: 'POST' });
    assert.equal(status, 200);
    socket.send('x');
    await waitFor('the echo', () => echoes === round);
    await load.atLeast(20);
  }
  isOver = true;
  await h2Load;
  const { failures, statuses } = await load.stop();
  assert.deepEqual([failures, Object.keys(statuses)], [{}, ['200']]);
  assert.ok(h2Statuses.length >= RELOADS && h2Statuses.every((status) => status === 200));
  assert.deepEqual([session.closed, session.destroyed, isTunnelCut], [false, false, false]);
  assert.deepEqual([sluice.pid, ...sluice.workerPids()], pids);
  // The load has ended: what it had open is gone.
  await waitFor('the descriptors to be level', () => descriptorCount(pids) <= before);
});
