import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { ClientHttp2Session, ServerHttp2Stream } from 'node:http2';
import { test } from 'node:test';
import { startBackend, startRawBackend } from '../../support/backend.ts';
import { startH2Backend } from '../../support/h2-backends.ts';
import { connectH2, requestH2 } from '../../support/h2-client.ts';
import {
  CODES,
  connectFrames,
  data,
  FLAGS,
  type FrameClient,
  frame,
  headers,
  number32,
  request,
  settings,
  TYPES,
  webSocket,
} from '../../support/h2-frames.ts';
import { untilStill, waitFor } from '../../support/wait.ts';
import { startCapturingBackend } from '../capturing-backend.ts';
import { accessLineOf, policy, pool, route, startProxy } from '../support.ts';
import { accepting, upgradeBackend } from '../tunnels/support.ts';

const LARGE = Buffer.alloc(8 << 20, 'large answer ');

test('a stream that is not read stops its backend, and nobody else', async (t) => {
  let sentBytes = 0;
  const backend = await startBackend((incoming, response) => {
    if (incoming.url !== '/large') {
      response.end(incoming.url);
      return;
    }
    const piece = LARGE.subarray(0, 65_536);
    const send = (): void => {
      for (let takes = true; takes && sentBytes < LARGE.length * 4; sentBytes += piece.length) {
        takes = response.write(piece);
      }
    };
    response.on('drain', send);
    send();
  });
  t.after(() => backend.close());
  const proxy = await startProxy(t, { backends: [backend], h2c: true });
  const session = connectH2(t, proxy.url);
  const stopped = session.request({ ':path': '/large' });
  stopped.on('error', () => undefined);
  await once(stopped, 'response');
  // Nobody reads it: the window of the stream closes after 64 KiB.
  await untilStill('the bytes of the backend', () => sentBytes);
  assert.ok(sentBytes < LARGE.length, `${sentBytes} bytes were taken from the backend`);
  for (let i = 0; i < 20; i++) {
    assert.equal((await requestH2(session, { ':path': `/${i}` })).body, `/${i}`);
  }
  stopped.close(CODES.CANCEL);
  await accessLineOf(proxy, ({ path, reason }) => path === '/large' && reason === 'client_abort');
});

test('a large answer arrives whole over small windows', async (t) => {
  const backend = await startBackend((_incoming, response) => response.end(LARGE));
  t.after(() => backend.close());
  const proxy = await startProxy(t, { backends: [backend], h2c: true });
  const session = connectH2(t, proxy.url, { settings: { initialWindowSize: 1_000 } });
  const answers = await Promise.all([1, 2, 3].map(() => requestH2(session, { ':path': '/' })));
  for (const { body, headers: fields } of answers) {
    assert.equal(fields['content-length'], String(LARGE.length));
    assert.ok(Buffer.from(body, 'latin1').equals(LARGE));
  }
});

test('many large answers at once keep their bytes apart, whoever leaves', async (t) => {
  const letters = 'abcdefghijklmnop';
  const backend = await startBackend((incoming, response) => {
    response.end(Buffer.alloc(1 << 20, incoming.url?.at(1)));
  });
  t.after(() => backend.close());
  const proxy = await startProxy(t, { backends: [backend], h2c: true });
  const session = connectH2(t, proxy.url);
  const rounds = Array.from({ length: 4 }, () => [...letters]).flat();
  await Promise.all(
    rounds.map(async (letter, i) => {
      if (i % 3 === 0) {
        const leaving = session.request({ ':path': `/${letter}` });
        leaving.on('error', () => undefined);
        await once(leaving, 'data');
        leaving.close(CODES.CANCEL);
        return;
      }
      const { body } = await requestH2(session, { ':path': `/${letter}` });
      assert.equal(body.length, 1 << 20);
      assert.equal(body, letter.repeat(1 << 20), 'bytes of another answer');
    }),
  );
});

test('a body is read as its backend takes it, and other streams go on', async (t) => {
  const backend = await startRawBackend((socket) => {
    // Takes the head and no more.
    socket.once('data', () => socket.pause());
  });
  const other = await startCapturingBackend(t);
  t.after(() => backend.close());
  const proxy = await startProxy(t, {
    pools: [pool('app', [backend.port]), pool('other', [other.port])],
    routes: [route('other', { path: '/other' }, { pool: 'other' }), route('app')],
    h2c: true,
    limits: { bodyBytes: 64 << 20 },
  });
  const client = await connectFrames(proxy.url);
  t.after(() => client.close());
  client.send(headers(1, request([], { method: 'POST' }), { ends: false }));
  const piece = Buffer.alloc(16_384);
  let windowBytes = 65_535;
  let sessionBytes = 65_535;
  let sentBytes = 0;
  const update = () => {
    const sum = (stream: number) =>
      client.all(TYPES.window, stream).reduce((total, { payload }) => total + payload.readUInt32BE(0), 0);
    windowBytes = 65_535 + sum(1) - sentBytes;
    sessionBytes = 65_535 + sum(0) - sentBytes;
  };
  const send = () => {
    update();
    while (windowBytes >= piece.length && sessionBytes >= piece.length) {
      client.send(data(1, piece));
      sentBytes += piece.length;
      update();
    }
    return sentBytes;
  };
  await untilStill('the window of the stream', send, { quietMs: 1_000, timeoutMs: 20_000 });
  // The kernels on both sides of the backend's connection take some megabytes.
  assert.ok(sentBytes < 16 << 20, `${sentBytes} bytes were taken`);
  assert.ok(sessionBytes > 65_535, 'the session has room for other streams');
  // More than a session has from the start.
  const POSTS = 3;
  for (let i = 0; i < POSTS; i++) {
    const stream = 2 * i + 3;
    const head = headers(stream, request([], { method: 'POST', path: '/other' }), { ends: false });
    client.send(head, data(stream, piece), data(stream, piece), data(stream, piece, { ends: true }));
    assert.equal(await client.status(stream), 200);
  }
  const bodyBytes = other.requests.map(({ body }) => body.length);
  assert.deepEqual(bodyBytes, Array(POSTS).fill(3 * piece.length));
  update();
  assert.ok(windowBytes < piece.length, 'the first stream still waits');
});

test('an answer that comes before its request is over is sent whole, and then the stream is reset with NO_ERROR', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend], h2c: true, limits: { bodyBytes: 100_000 } });
  const client = await connectFrames(proxy.url);
  t.after(() => client.close());
  client.send(headers(1, request([['content-length', '200000']], { method: 'POST' }), { ends: false }));
  assert.equal(await client.status(1), 413);
  assert.equal(await client.resetCode(1), CODES.NO_ERROR);
  const [end] = client.all(TYPES.data, 1).filter(({ flags }) => (flags & FLAGS.endStream) !== 0);
  assert.ok(end, 'the answer ends before the reset');
  assert.match(client.body(1), /body_too_large/);
  // What was on its way is dropped.
  client.send(data(1, Buffer.alloc(1_000)), headers(3, request()));
  assert.equal(await client.status(3), 200);
  await waitFor('the lines', () => proxy.lines.length === 2);
  assert.deepEqual(
    proxy.lines.map(({ status, reason }) => `${status} ${reason}`),
    ['413 body_too_large', '200 ok'],
  );
});

test('a body that stalls gets 408, and an answer that nobody takes is cut, each alone', async (t) => {
  const backend = await startBackend((incoming, response) => {
    incoming.resume();
    incoming.on('end', () => response.end(LARGE.subarray(0, 100_000)));
    incoming.on('error', () => response.destroy());
  });
  t.after(() => backend.close());
  const proxy = await startProxy(t, {
    backends: [backend],
    h2c: true,
    timeouts: { bodyIdleMs: 200, writeIdleMs: 400 },
  });
  const client = await connectFrames(proxy.url, settings([4, 10]));
  t.after(() => client.close());
  client.send(headers(1, request([], { method: 'POST' }), { ends: false }), data(1, 'abc'));
  client.send(frame(TYPES.window, 0, 1, number32(1_000)), headers(3, request()));
  // What leaves otherwise is no progress of an answer.
  const pinging = setInterval(() => client.send(frame(TYPES.ping, 0, 0, Buffer.alloc(8))), 50);
  t.after(() => clearInterval(pinging));
  assert.equal(await client.status(1), 408);
  assert.equal(await client.status(3), 200);
  await client.resetCode(3);
  await accessLineOf(proxy, ({ reason }) => reason === 'write_timeout');
  await accessLineOf(proxy, ({ reason }) => reason === 'body_timeout');
  client.send(frame(TYPES.window, 0, 0, number32(1_000)), frame(TYPES.ping, 0, 0, Buffer.alloc(8, 1)));
  await client.wait('the session to live', ({ type, payload }) => type === TYPES.ping && payload[0] === 1);
});

test('a client whose connection takes nothing is cut after timeouts.writeIdle, whatever its answers are', async (t) => {
  const backend = await startBackend((incoming, response) => {
    if (incoming.url === '/large') response.end(LARGE);
    else response.writeHead(204).end();
  });
  t.after(() => backend.close());
  const timeouts = { writeIdleMs: 400, keepAliveMs: 400 };
  const proxy = await startProxy(t, { backends: [backend], h2c: true, timeouts });
  const client = await connectFrames(proxy.url, settings([4, 2 ** 31 - 1]));
  t.after(() => client.close());
  client.send(frame(TYPES.window, 0, 0, number32(2 ** 30)));
  client.raw.socket.pause();
  for (let i = 0; i < 5; i++) client.send(headers(2 * i + 1, request([], { path: '/large' })));
  await waitFor('the requests', () => backend.requestCount === 5);
  for (let i = 5; i < 10; i++) client.send(headers(2 * i + 1, request()));
  await waitFor('the lines', () => proxy.lines.length === 10);
  const large = proxy.lines.filter(({ path }) => path === '/large');
  assert.deepEqual(new Set(large.map(({ reason }) => reason)), new Set(['write_timeout']));
  await waitFor('the end of the connection', () => proxy.server.connectionCount === 0);
});

test('a tunnel that is over goes with its connection, if that takes nothing', async (t) => {
  const backend = await upgradeBackend(t, (head, socket) => {
    if (!head.startsWith('GET /large ')) accepting(head, socket);
    else
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${LARGE.length}\r\n\r\n`, () => socket.write(LARGE));
  });
  // Node.js 24 does not read from a connection that takes nothing: there the silence ends the tunnel.
  const timeouts = { writeIdleMs: 400, keepAliveMs: 400, tunnelIdleMs: 5_000 };
  const proxy = await startProxy(t, { backends: [backend], h2c: true, timeouts });
  const client = await connectFrames(proxy.url, settings([4, 2 ** 31 - 1]));
  t.after(() => client.close());
  client.send(frame(TYPES.window, 0, 0, number32(2 ** 30)), headers(1, webSocket(), { ends: false }));
  assert.equal(await client.status(1), 200);
  client.raw.socket.pause();
  for (let i = 1; i < 5; i++) client.send(headers(2 * i + 1, request([], { path: '/large' })));
  await waitFor('the answers to be cut', () => proxy.lines.length === 4);
  client.send(data(1, '', { ends: true }));
  await waitFor('the end of the tunnel', () => proxy.handler.tunnels.openCount === 0);
  await waitFor('the end of the connection', () => proxy.server.connectionCount === 0);
});

test('bodies that wait in all connections of a worker are bounded together: the oldest holder is cut', async (t) => {
  // Nobody reads a body before the limiter has decided.
  const limiter = {
    take: () => new Promise<never>(() => undefined),
    refusalOf: () => assert.fail('refused'),
    peek: () => assert.fail('peeked'),
    leased: () => assert.fail('explained'),
    alone: () => assert.fail('explained'),
    giveBack: () => undefined,
  };
  const rateLimit = { policies: ['default'], cost: 1 };
  const proxy = await startProxy(t, {
    backends: [],
    h2c: true,
    limiter,
    policies: [policy('default', 1, 1)],
    routes: [route('default', {}, { rateLimit })],
  });
  const body = Buffer.alloc(65_535);
  const sessions: ClientHttp2Session[] = [];
  for (let i = 0; i < 9; i++) {
    const session = connectH2(t, proxy.url);
    sessions.push(session);
    if (i === 0) await once(session, 'remoteSettings');
    for (let k = 0; k < 128; k++) {
      const stream = session.request({ ':path': '/', ':method': 'POST' });
      stream.on('error', () => undefined);
      stream.write(body);
    }
  }
  await waitFor('one to be cut', () => proxy.metric('sluice_shed_total', 'overload') > 0);
  await waitFor('the end of the oldest', () => sessions[0]?.closed);
  assert.equal(sessions.at(-1)?.closed, false, 'the youngest goes on');
  assert.ok(proxy.server.connectionCount >= 6, 'the others go on');
});

test('answers that wait in all connections of a worker are bounded together: those of which nothing leaves end first', async (t) => {
  const backend = await startRawBackend((socket) => {
    socket.once('data', (head) => {
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${LARGE.length}\r\n\r\n`);
      // More would wait in the kernel.
      socket.write(head.toString().startsWith('GET /slow ') ? LARGE : LARGE.subarray(0, 70_000));
    });
  });
  t.after(() => backend.close());
  const access = { enabled: false, sample: 1 };
  const proxy = await startProxy(t, { backends: [backend], h2c: true, access });
  const ids = Array.from({ length: 128 }, (_, i) => 2 * i + 1);
  const connect = async (streams: number[], path = '/') => {
    const client = await connectFrames(proxy.url, settings([4, 0]));
    t.after(() => client.close());
    client.send(...streams.map((id) => headers(id, request([], { path }))));
    return client;
  };
  // The oldest connection of all, which takes some of each answer.
  const slowIds = ids.slice(0, 4);
  const slow = await connect(slowIds, '/slow');
  const resets = (of: FrameClient) => ids.filter((id) => of.all(TYPES.reset, id).length > 0).length;
  let slowResets = 0;
  let slowBytes = 0;
  const reading = setInterval(() => {
    slow.send(...slowIds.map((id) => frame(TYPES.window, 0, id, number32(66_000))));
    slow.send(frame(TYPES.window, 0, 0, number32(4 * 66_000)));
    slowResets += resets(slow);
    for (const { type, payload } of slow.frames) if (type === TYPES.data) slowBytes += payload.length;
    slow.frames.length = 0;
  }, 400);
  t.after(() => clearInterval(reading));
  const shed = () => proxy.metric('sluice_shed_total', 'overload');
  const clients: FrameClient[] = [];
  while (clients.length < 25 && shed() === 0) {
    const client = await connect(ids);
    clients.push(client);
    await client.wait('the last answer', ({ stream }) => stream === ids.at(-1), 20_000);
    if (clients.length !== 8) continue;
    // Progress is seen once a second: two looks, or more, must see it before the bound is passed.
    const seenBytes = slowBytes;
    await waitFor('progress of the slow one', () => slowBytes > seenBytes + 8 * 4 * 66_000, {
      timeoutMs: 60_000,
    });
  }
  await waitFor('answers to end', () => shed() > 0);
  assert.ok(clients.length > 12, `after ${clients.length} connections`);
  await waitFor('the resets', () => clients.some((client) => resets(client) > 0));
  assert.equal(slowResets + resets(slow), 0, 'a client that reads slowly keeps its answers');
  assert.equal(proxy.server.connectionCount, clients.length + 1, 'the connections go on');
});

test('what waits of an answer in the HTTP/2 connection of its backend is counted too', async (t) => {
  const body = LARGE.subarray(0, 400_000);
  const answer = (stream: ServerHttp2Stream): void => {
    stream.respond({ ':status': 200 });
    stream.end(body);
  };
  const backend = await startH2Backend(t, answer, { maxSessionMemory: 1_000 });
  const pools = [pool('app', [backend.port], { protocol: 'h2' })];
  const proxy = await startProxy(t, { pools, h2c: true });
  const ids = Array.from({ length: 128 }, (_, i) => 2 * i + 1);
  const shed = () => proxy.metric('sluice_shed_total', 'overload');
  // 16 KiB of each wait for the client, of which the proxy alone would take 32 MiB, and 64 KiB to 80 KiB behind them.
  for (let i = 0; i < 16; i++) {
    const client = await connectFrames(proxy.url, settings([4, 0]));
    t.after(() => client.close());
    client.send(...ids.map((id) => headers(id, request())));
    await client.wait('the last answer', ({ stream }) => stream === ids.at(-1), 20_000);
  }
  await waitFor('answers to end', () => shed() > 0 && proxy.lines.length > 0);
  assert.deepEqual(
    new Set(proxy.lines.map(({ status, reason }) => `${status} ${reason}`)),
    new Set(['200 write_timeout']),
  );
  assert.equal(proxy.server.connectionCount, 16, 'the connections go on');
});

test('bodies that nobody wants are no flood', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, {
    backends: [backend],
    h2c: true,
    limits: { bodyBytes: 10 },
    timeouts: { headersMs: 400, writeIdleMs: 400 },
  });
  const session = connectH2(t, proxy.url);
  for (let i = 0; i < 40; i++) {
    const answer = await requestH2(session, { ':path': '/', ':method': 'POST' }, Buffer.alloc(200_000));
    assert.equal(answer.status, 413);
  }
  await waitFor('the lines', () => proxy.lines.length === 40);
  assert.equal(proxy.metric('sluice_http2_floods_total'), 0);
  assert.equal((await requestH2(session, { ':path': '/' })).status, 200);
});
