/** A reload that changes `listen`: what stays must not notice, what is new must serve, what goes must end gently. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { WebSocket, WebSocketServer } from 'ws';
import { ask, askJson, startNamed } from '../cluster/support.ts';
import { Authority } from '../support/certificates.ts';
import { freePort } from '../support/free-port.ts';
import { connectH2, requestH2 } from '../support/h2-client.ts';
import { startLoad } from '../support/load.ts';
import { connectRaw } from '../support/raw-http.ts';
import { type SluiceProcess, startSluice } from '../support/sluice.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { waitFor } from '../support/wait.ts';

const urlOf = (port: number) => `http://127.0.0.1:${port}`;

/** Two workers, listening at a port that every change keeps. */
async function scene(t: TestContext, more: object = {}) {
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const chat = new WebSocketServer({ port: 0, host: '127.0.0.1' });
  await once(chat, 'listening');
  chat.on('connection', (socket) => socket.on('message', (data) => socket.send(data)));
  t.after(() => {
    for (const client of chat.clients) client.terminate();
    chat.close();
  });
  const kept = await freePort();
  const configOf = (others: object[]) => ({
    workers: 2,
    listen: [...others, { address: `127.0.0.1:${kept}`, h2c: true }],
    pools: {
      app: { backends: [{ url: backend.url }] },
      chat: { backends: [{ url: urlOf((chat.address() as { port: number }).port) }] },
    },
    routes: [
      { name: 'chat', match: { path: '/chat/' }, pool: 'chat' },
      { name: 'app', pool: 'app' },
    ],
    ...more,
  });
  const folder = tempFolder(t);
  const start = async (others: object[] = []) => {
    const sluice = await startSluice({ config: configOf(others), folder });
    t.after(() => sluice.child.kill());
    return sluice;
  };
  const reload = (sluice: SluiceProcess, others: object[]) => {
    sluice.configure(configOf(others));
    return askJson(`${sluice.adminUrl}/api/v1/reload`, { method: 'POST' });
  };
  return { start, reload, kept };
}

const isRefused = (url: string) =>
  ask(url).then(
    () => false,
    ({ code }: NodeJS.ErrnoException) => code === 'ECONNREFUSED',
  );

const descriptorCount = (pids: number[]) =>
  pids.reduce((sum, pid) => sum + readdirSync(`/proc/${pid}/fd`).length, 0);

for (const [accept, changes] of [
  ['shared', 20],
  ['reuse_port', 6],
  ['round_robin', 6],
] as const) {
  test(`B37: ${changes} reloads under load that add and remove addresses fail nothing, keep what is open, and leave no descriptor (accept: ${accept})`, async (t) => {
    const { start, reload, kept } = await scene(t, { accept });
    const sluice = await start();
    const socket = new WebSocket(`ws://127.0.0.1:${kept}/chat/room`);
    t.after(() => socket.terminate());
    await once(socket, 'open');
    let echoes = 0;
    socket.on('message', () => echoes++);
    const session = connectH2(t, urlOf(kept));
    const load = startLoad({ url: urlOf(kept), connections: 8, pauseMs: 5 });
    t.after(() => load.stop());
    const fresh = startLoad({
      url: urlOf(kept),
      connections: 2,
      pauseMs: 5,
      headers: { connection: 'close' },
    });
    t.after(() => fresh.stop());
    assert.equal((await requestH2(session, { ':path': '/' })).status, 200);
    const pids = [sluice.pid, ...sluice.workerPids()];
    // With all connections of the load and to the backends open: some of these are still parked in the end.
    for (const each of [load, fresh]) await each.atLeast(50);
    const before = descriptorCount(pids);
    const port = await freePort();
    for (let change = 1; change <= changes; change++) {
      const isThere = change % 2 === 1;
      const { status, body } = await reload(sluice, isThere ? [{ address: `127.0.0.1:${port}` }] : []);
      assert.deepEqual([status, body.pendingWorkers], [200, []]);
      if (isThere) assert.equal((await ask(urlOf(port))).text, 'a');
      else assert.ok(await isRefused(urlOf(port)), 'an address that is gone');
      assert.equal((await requestH2(session, { ':path': '/' })).status, 200);
      socket.send('x');
      await waitFor('the echo', () => echoes === change);
    }
    for (const { failures, statuses } of [await load.stop(), await fresh.stop()])
      assert.deepEqual([failures, Object.keys(statuses)], [{}, ['200']]);
    assert.deepEqual([session.closed, socket.readyState], [false, WebSocket.OPEN]);
    assert.deepEqual([sluice.pid, ...sluice.workerPids()], pids);
    await waitFor('the descriptors to be level', () => descriptorCount(pids) <= before);
    assert.deepEqual(await sluice.stop(), { code: 0, signal: null });
  });
}

test('B37: a connection to an address that a reload removes ends with its next answer', async (t) => {
  const { start, reload } = await scene(t);
  const port = await freePort();
  const sluice = await start([{ address: `127.0.0.1:${port}` }]);
  const client = await connectRaw({ port });
  t.after(() => client.close());
  const get = async () => {
    client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    return (await client.readResponse()).header('connection');
  };
  assert.notEqual(await get(), 'close');
  assert.equal((await reload(sluice, [])).status, 200);
  assert.equal(await get(), 'close');
});

test('B37: a reload with an address that cannot be bound is refused, names it, and opens none of the others', async (t) => {
  const { start, reload, kept } = await scene(t);
  const sluice = await start();
  const other = createServer();
  other.listen(0, '127.0.0.1');
  await once(other, 'listening');
  t.after(() => other.close());
  const busy = `127.0.0.1:${(other.address() as { port: number }).port}`;
  const port = await freePort();
  const path = join(tempFolder(t), 's');
  const refused = await reload(sluice, [
    { address: `127.0.0.1:${port}` },
    { address: `unix:${path}` },
    { address: busy },
  ]);
  assert.equal(refused.status, 422);
  assert.match(JSON.stringify(refused.body), new RegExp(`cannot listen on ${busy}: EADDRINUSE`));
  assert.ok(await isRefused(urlOf(port)));
  assert.equal((await ask(urlOf(kept))).text, 'a');
  const accepted = await reload(sluice, [{ address: `127.0.0.1:${port}` }, { address: `unix:${path}` }]);
  assert.equal(accepted.status, 200);
  assert.equal((await ask(urlOf(port))).text, 'a');
  assert.equal((await ask('http://a/', { socketPath: path })).text, 'a');
});

test('B37: TLS and HTTP/2 of an address change for new connections, and those that are open go on', async (t) => {
  const { start, reload } = await scene(t);
  const port = await freePort();
  const address = `127.0.0.1:${port}`;
  const { certPath: cert, keyPath: key } = new Authority().issue(['localhost']);
  const sluice = await start([{ address }]);
  const client = await connectRaw({ port });
  t.after(() => client.close());
  const secure = { address, tls: { certificates: [{ cert, key }] } };
  assert.equal((await reload(sluice, [secure])).status, 200);
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  assert.equal((await client.readResponse()).status, 200);
  const session = connectH2(t, `https://127.0.0.1:${port}`, { rejectUnauthorized: false });
  assert.equal((await requestH2(session, { ':path': '/' })).status, 200);
  assert.equal((await reload(sluice, [{ address }])).status, 200);
  assert.equal((await ask(urlOf(port))).text, 'a');
  assert.equal((await requestH2(session, { ':path': '/' })).status, 200);
});

test('B37: a worker and a primary that replace killed ones after a reload serve the new addresses', async (t) => {
  const { start, reload } = await scene(t);
  const port = await freePort();
  const first = await start();
  assert.equal((await reload(first, [{ address: `127.0.0.1:${port}` }])).status, 200);
  const killed = first.workerPids();
  for (const pid of killed) process.kill(pid, 'SIGKILL');
  assert.equal((await ask(urlOf(port))).text, 'a');
  await waitFor('two other workers', () => {
    const pids = first.workerPids();
    return pids.length === 2 && !pids.some((pid) => killed.includes(pid));
  });
  const load = startLoad({ url: urlOf(port), connections: 2, pauseMs: 10, headers: { connection: 'close' } });
  t.after(() => load.stop());
  await load.atLeast(10);
  process.kill(first.pid, 'SIGKILL');
  await load.atLeast(10);
  const second = await start([{ address: `127.0.0.1:${port}` }]);
  await waitFor('the old workers to be gone', () => first.workerPids().length === 0);
  await load.atLeast(10);
  const { failures, statuses } = await load.stop();
  assert.deepEqual([failures, Object.keys(statuses)], [{}, ['200']]);
  assert.deepEqual(await second.stop(), { code: 0, signal: null });
});
