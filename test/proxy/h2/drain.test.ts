import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { FakeTime } from '../../support/fake-time.ts';
import { connectH2, requestH2 } from '../../support/h2-client.ts';
import {
  CODES,
  connectFrames,
  data,
  frame,
  headers,
  number32,
  request,
  settings,
  TYPES,
} from '../../support/h2-frames.ts';
import { localTls } from '../../support/tls.ts';
import { waitFor } from '../../support/wait.ts';
import { ok, startCapturingBackend } from '../capturing-backend.ts';
import { startProxy } from '../support.ts';

const ASKED = [2 ** 31 - 1, CODES.NO_ERROR];

test('B38: a drain asks clients for no more streams, serves those on their way, tells the last one, and closes', async (t) => {
  const backend = await startCapturingBackend(t, ({ target }) => (target === '/first' ? ok('') : null));
  const proxy = await startProxy(t, { backends: [backend], h2c: true });
  const client = await connectFrames(proxy.url);
  const idle = await connectFrames(proxy.url);
  t.after(() => [client, idle].forEach((each) => void each.close()));
  idle.send(headers(1, request([], { path: '/first' })));
  assert.equal(await idle.status(1), 200);
  client.send(headers(1, request()), headers(3, request()));
  await waitFor('all requests', () => backend.requests.length === 3);
  const drained = proxy.server.drain({ graceMs: 0, drainMs: 5_000 });
  // On its way when the client hears of it.
  client.send(headers(5, request([], { path: '/first' })));
  await client.pong();
  await waitFor('the last id', () => client.goaways().length === 2);
  // The client must send it again on a new connection.
  client.send(headers(7, request([], { path: '/too-late' })));
  await idle.pong();
  await idle.raw.waitForClose();
  for (const socket of backend.sockets) if (!socket.destroyed) socket.write(ok('late'));
  assert.equal(await client.status(1), 200);
  assert.equal(await client.status(3), 200);
  assert.equal(await client.status(5), 200);
  await client.raw.waitForClose();
  assert.deepEqual(client.goaways(), [ASKED, [5, CODES.NO_ERROR]]);
  assert.deepEqual(idle.goaways(), [ASKED, [1, CODES.NO_ERROR]]);
  await drained;
  assert.equal(proxy.server.connectionCount, 0);
  assert.equal(backend.requests.length, 4);
  assert.deepEqual(new Set(proxy.lines.map(({ reason }) => reason)), new Set(['ok']));
});

for (const [how, answerBytes] of [
  ['that has left the worker', 1_000_000],
  ['that is under way', 16_000_000],
] as const) {
  test(`B38: requests are served in a drain while the PING waits behind an answer ${how}`, async (t) => {
    const large = ok('x'.repeat(answerBytes));
    const backend = await startCapturingBackend(t, ({ target }) => (target === '/large' ? large : ok('')));
    const time = new FakeTime();
    const proxy = await startProxy(t, { backends: [backend], h2c: true, clock: time.clock });
    const client = await connectFrames(proxy.url, settings([4, 1 << 24]));
    t.after(() => client.close());
    client.raw.socket.pause();
    client.send(frame(TYPES.window, 0, 0, number32(1 << 24)), headers(1, request([], { path: '/large' })));
    await waitFor('the answer', () => backend.requests.length === 1);
    if (answerBytes < 2_000_000) await waitFor('its end', () => proxy.lines.length === 1);
    const drained = proxy.server.drain({ graceMs: 0, drainMs: 20_000 });
    for (let id = 3; id <= 9; id += 2) {
      time.nowMs += 600;
      await time.ticks();
      client.send(headers(id, request()));
      await waitFor(`request ${id}`, () => backend.requests.length === (id + 1) / 2);
    }
    client.raw.socket.resume();
    await client.pong();
    for (const id of [1, 3, 5, 7, 9]) assert.equal(await client.status(id), 200);
    await client.raw.waitForClose();
    assert.deepEqual(client.goaways(), [ASKED, [9, CODES.NO_ERROR]]);
    client.close();
    await drained;
  });
}

test('uploads that were on their way when a drain began are dropped, and end no stream that is served', async (t) => {
  const backend = await startCapturingBackend(t, () => null);
  const time = new FakeTime();
  const proxy = await startProxy(t, { backends: [backend], h2c: true, clock: time.clock });
  const client = await connectFrames(proxy.url);
  t.after(() => client.close());
  client.send(headers(1, request()));
  await waitFor('the request', () => backend.requests.length === 1);
  const drained = proxy.server.drain({ graceMs: 0, drainMs: 5_000 });
  await client.pong();
  await waitFor('the last id', () => client.goaways().length === 2);
  for (let id = 3; id < 3 + 2 * 40; id += 2) {
    client.send(headers(id, request([], { method: 'POST' }), { ends: false }));
    for (let i = 0; i < 4; i++) client.send(data(id, Buffer.alloc(16_000)));
  }
  client.send(frame(TYPES.ping, 0, 0, Buffer.alloc(8)));
  await client.wait('the uploads to be read', ({ type }) => type === TYPES.ping);
  // The connection looks at what it has read.
  time.nowMs += 1_100;
  await time.ticks();
  backend.sockets[0]?.write(ok('served'));
  assert.equal(await client.status(1), 200);
  assert.deepEqual(client.goaways(), [ASKED, [1, CODES.NO_ERROR]]);
  client.close();
  await drained;
});

for (const isSecure of [false, true]) {
  test(`B38: the first request of a connection is served in a drain that begins before it ${isSecure ? '(TLS)' : ''}`, async (t) => {
    const backend = await startCapturingBackend(t);
    const tls = isSecure ? { tls: localTls().tls } : { h2c: true };
    const proxy = await startProxy(t, { backends: [backend], ...tls });
    const socket = connect(proxy.port, '127.0.0.1');
    await waitFor('the connection', () => proxy.server.connectionCount === 1);
    const drained = proxy.server.drain({ graceMs: 0, drainMs: 5_000 });
    const createConnection = () =>
      isSecure ? connectTls({ socket, ALPNProtocols: ['h2'], rejectUnauthorized: false }) : socket;
    const session = connectH2(t, isSecure ? 'https://a' : 'http://a', { createConnection });
    assert.equal((await requestH2(session, { ':path': '/x' })).body, 'GET /x');
    await Promise.all([drained, waitFor('the end', () => session.destroyed)]);
  });
}

test('B38: a connection that is open and unused when a drain begins may send its first request', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend], h2c: true });
  const sessions = [connectH2(t, proxy.url), connectH2(t, proxy.url)] as const;
  await waitFor('the connections', () => proxy.server.connectionsByProtocol().h2 === 2);
  const drained = proxy.server.drain({ graceMs: 0, drainMs: 5_000 });
  assert.equal((await requestH2(sessions[0], { ':path': '/x' })).body, 'GET /x');
  await drained;
  assert.deepEqual(
    sessions.map(({ closed }) => closed),
    [true, true],
  );
});

test('B38: a client that answers no PING, and one that never closes, delay the end of a drain by little', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend], h2c: true });
  const clients = [await connectFrames(proxy.url), await connectFrames(proxy.url)] as const;
  t.after(() => clients.forEach((each) => void each.close()));
  for (const client of clients) {
    client.send(headers(1, request()));
    assert.equal(await client.status(1), 200);
  }
  const startMs = performance.now();
  const drained = proxy.server.drain({ graceMs: 0, drainMs: 30_000 });
  await clients[0].pong();
  await drained;
  assert.ok(performance.now() - startMs < 6_000, 'within 1 s for the PING and 2 s after the FIN');
});

test('what is under way after the drain time is cut, and logged as shutdown', async (t) => {
  const backend = await startCapturingBackend(t, () => null);
  const proxy = await startProxy(t, { backends: [backend], h2c: true });
  const client = await connectFrames(proxy.url);
  t.after(() => client.close());
  client.send(headers(1, request()));
  await waitFor('the request', () => backend.requests.length === 1);
  await proxy.server.drain({ graceMs: 0, drainMs: 500 });
  await client.raw.waitForClose();
  assert.equal(proxy.lines[0]?.reason, 'shutdown');
});

test('a crowded worker ends connections by GOAWAY with an answer, without losing one', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend], h2c: true });
  const clients = await Promise.all(Array.from({ length: 140 }, () => connectFrames(proxy.url)));
  t.after(() => {
    for (const client of clients) client.close();
  });
  await waitFor('all connections', () => proxy.server.connectionCount === 140);
  proxy.server.shareConnections(100);
  for (const client of clients) client.send(headers(1, request()));
  for (const client of clients) assert.equal(await client.status(1), 200);
  await waitFor('the surplus to go', () => proxy.server.connectionCount === 100);
  const ended = clients.filter((client) => client.goaways().length > 0);
  assert.equal(ended.length, 40);
  assert.equal(proxy.lines.length, 140);
});

test('streams of a plan that a reload replaces go on, and new ones have the new plan', async (t) => {
  const old = await startCapturingBackend(t, () => null);
  const fresh = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [old], h2c: true });
  const session = connectH2(t, proxy.url);
  const waiting = requestH2(session, { ':path': '/old' });
  await waitFor('the request', () => old.requests.length === 1);
  proxy.reload({ backends: [fresh], h2c: true });
  assert.equal((await requestH2(session, { ':path': '/new' })).body, 'GET /new');
  old.sockets[0]?.write(ok('from the old plan'));
  assert.equal((await waiting).body, 'from the old plan');
});

test('caps of connections hold, and connections count by protocol', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend], h2c: true, limits: { connectionsPerIp: 3 } });
  const session = connectH2(t, proxy.url);
  assert.equal((await requestH2(session, { ':path': '/' })).status, 200);
  const raw = await proxy.connect();
  raw.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  assert.equal((await raw.readResponse()).status, 200);
  const silent = await proxy.connect();
  await waitFor('all', () => proxy.server.connectionCount === 3);
  assert.deepEqual(proxy.server.connectionsByProtocol(), { pending: 1, http1: 1, h2: 1 });
  const refused = await proxy.connect();
  await refused.waitForClose();
  assert.equal(proxy.metric('sluice_shed_total', 'connections_per_ip'), 1);
  silent.close();
  await waitFor('the place', () => proxy.server.connectionCount === 2);
  assert.equal((await requestH2(connectH2(t, proxy.url), { ':path': '/' })).status, 200);
});
