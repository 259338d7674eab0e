/** Tunnels of the whole product: list, gauge, reloads, and a stop. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { type TestContext, test } from 'node:test';
import { WebSocket, WebSocketServer } from 'ws';
import { parse } from 'yaml';
import { askJson, metricOf, poolOf } from '../cluster/support.ts';
import { docExample } from '../support/doc-example.ts';
import { connectRaw } from '../support/raw-http.ts';
import { startSluice } from '../support/sluice.ts';
import { waitFor } from '../support/wait.ts';

interface Listed {
  items: { id: string; worker: number; bytesIn: number; path: string; protocol: string; route: string }[];
  next: string | null;
}

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

async function openMany(t: TestContext, proxyUrl: string, count: number): Promise<WebSocket[]> {
  const url = proxyUrl.replace('http', 'ws');
  const sockets = Array.from({ length: count }, (_, i) => new WebSocket(`${url}/chat/${i}?token=secret`));
  t.after(() => {
    for (const socket of sockets) socket.terminate();
  });
  await Promise.all(sockets.map((socket) => once(socket, 'open')));
  return sockets;
}

test('the admin port lists the tunnels of all workers in pages, and the gauge counts them', async (t) => {
  const url = await startEcho(t);
  const sluice = await startSluice({ config: { workers: 2, pools: poolOf([{ url }]) } });
  t.after(() => sluice.stop());
  const sockets = await openMany(t, sluice.proxyUrl, 25);
  sockets[0]?.send('hello');
  const found: Listed['items'] = [];
  for (let query = '?limit=10'; query !== ''; ) {
    const { status, body } = await askJson(`${sluice.adminUrl}/api/v1/tunnels${query}`);
    const page = body as unknown as Listed;
    assert.equal(status, 200, JSON.stringify(body));
    found.push(...page.items);
    query = page.next === null ? '' : `?limit=10&after=${page.next}`;
  }
  assert.deepEqual([new Set(found.map(({ id }) => id)).size, found.length], [25, 25]);
  assert.deepEqual(
    found.map(({ path }) => path).sort(),
    Array.from({ length: 25 }, (_, i) => `/chat/${i}`).sort(),
  );
  assert.ok(found.every(({ protocol, route }) => protocol === 'websocket' && route === 'default'));
  await waitFor('the gauge', async () => (await metricOf(sluice.adminUrl, 'sluice_tunnels_open')) === 25);
  for (const socket of sockets) socket.close();
  await waitFor(
    'the gauge to fall',
    async () => (await metricOf(sluice.adminUrl, 'sluice_tunnels_open')) === 0,
  );
  const list = await askJson(`${sluice.adminUrl}/api/v1/tunnels`);
  assert.deepEqual(list.body, { items: [], next: null });
});

test('B37: reloads one after the other leave every tunnel open, also when its route and pool are gone', async (t) => {
  const url = await startEcho(t);
  const configOf = (pool: string, port: string) => ({
    workers: 2,
    pools: { [pool]: { backends: [{ url: port }] } },
    routes: [{ name: pool, pool }],
  });
  const sluice = await startSluice({ config: configOf('first', url) });
  t.after(() => sluice.stop());
  const sockets = await openMany(t, sluice.proxyUrl, 50);
  let echoes = 0;
  let closes = 0;
  for (const socket of sockets) socket.on('message', () => echoes++).on('close', () => closes++);
  for (let i = 0; i < 10; i++) {
    sluice.configure(configOf(`other${i}`, 'http://127.0.0.1:9'));
    assert.equal((await askJson(`${sluice.adminUrl}/api/v1/reload`, { method: 'POST' })).status, 200);
    for (const socket of sockets) socket.send('x');
    await waitFor('every echo', () => echoes === (i + 1) * sockets.length);
  }
  assert.equal(closes, 0);
});

test('B38: a stop tells WebSockets 1001 after the grace, and the exit does not wait for the drain time', async (t) => {
  const url = await startEcho(t);
  const timeouts = { drainGrace: '1s', drain: '30s' };
  const sluice = await startSluice({ config: { pools: poolOf([{ url }]), timeouts } });
  t.after(() => sluice.stop());
  const sockets = await openMany(t, sluice.proxyUrl, 5);
  const codes: number[] = [];
  for (const socket of sockets) socket.on('close', (code) => codes.push(code));
  const startMs = performance.now();
  const stopped = sluice.stop('SIGTERM', 15_000);
  await waitFor('the closes', () => codes.length === 5);
  assert.ok(performance.now() - startMs >= 900, 'not before the grace is over');
  assert.deepEqual(codes, [1001, 1001, 1001, 1001, 1001]);
  const { code } = await stopped;
  assert.equal(code, 0);
  const lines = sluice.jsonLines((line) => line.protocol === 'websocket');
  assert.deepEqual(
    lines.map(({ status, reason }) => [status, reason]),
    Array.from({ length: 5 }, () => [101, 'shutdown']),
  );
});

test('the example of the page about protocols does what the page says', async (t) => {
  const seen: string[] = [];
  const backend = createServer((socket) => {
    socket.on('error', () => socket.destroy());
    socket.on('data', (chunk) => {
      const head = chunk.toString('latin1');
      const [, token = ''] = /^Upgrade: (.*)\r$/m.exec(head) ?? [];
      seen.push(token);
      if (token === 'tcp-shell')
        socket.write(
          'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: tcp-shell\r\n\r\n$ ',
        );
      else socket.end('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
    });
  });
  backend.listen(0, '127.0.0.1');
  await once(backend, 'listening');
  t.after(() => backend.close());
  const { port } = backend.address() as { port: number };
  const example: object = parse(docExample('protocols.md', 'WebSocket'));
  const config = { ...example, pools: poolOf([{ url: `http://127.0.0.1:${port}` }]) };
  const sluice = await startSluice({ config });
  t.after(() => sluice.stop());
  const answers: string[] = [];
  for (const path of ['/terminal/1', '/static/1', '/other']) {
    const client = await connectRaw(sluice.proxyUrl);
    t.after(() => client.close());
    client.write(`GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: tcp-shell\r\n\r\n`);
    const { status } = await client.readResponse();
    if (status === 101) await client.waitForBytes('$ ');
    answers.push(`${path} ${status}`);
  }
  assert.deepEqual(answers, ['/terminal/1 101', '/static/1 200', '/other 200']);
  assert.deepEqual(seen, ['tcp-shell', '', '']);
});

test('B38: a rolling replacement tells the WebSockets of each replaced worker 1001, and is over without the drain time', async (t) => {
  const url = await startEcho(t);
  const timeouts = { drainGrace: '0s', drain: '60s' };
  const sluice = await startSluice({ config: { workers: 1, pools: poolOf([{ url }]), timeouts } });
  t.after(() => sluice.stop());
  const before = sluice.workerPids();
  const sockets = await openMany(t, sluice.proxyUrl, 5);
  const codes: number[] = [];
  for (const socket of sockets) socket.on('close', (code) => codes.push(code));
  const restarted = await askJson(`${sluice.adminUrl}/api/v1/workers/restart`, { method: 'POST' });
  assert.deepEqual(restarted, { status: 202, body: { workers: 1 } });
  await waitFor('the closes', () => codes.length === 5);
  assert.deepEqual(codes, [1001, 1001, 1001, 1001, 1001]);
  await waitFor('the old worker to be gone', () => {
    const pids = sluice.workerPids();
    return pids.length === 1 && pids[0] !== before[0];
  });
  const [again] = await openMany(t, sluice.proxyUrl, 1);
  assert.equal(again?.readyState, WebSocket.OPEN, 'a client that comes again is served');
});
