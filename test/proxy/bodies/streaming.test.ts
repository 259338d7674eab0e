import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { startBackend, startRawBackend } from '../../support/backend.ts';
import { FakeTime } from '../../support/fake-time.ts';
import { waitFor } from '../../support/wait.ts';
import { ok, startCapturingBackend } from '../capturing-backend.ts';
import { startProxy } from '../support.ts';
import { bufferBytes } from './memory.ts';

const MIB = 1024 * 1024;

/** Sends a head and then as much as the connection accepts; `sentBytes` counts what the kernel or node has accepted. */
async function startFloodingBackend(t: TestContext, head: string) {
  const flood = { port: 0, sentBytes: 0, closedCount: 0 };
  const piece = Buffer.alloc(65_536, 'z');
  const backend = await startRawBackend((socket) => {
    const pump = () => {
      while (!socket.destroyed) {
        flood.sentBytes += piece.length;
        if (!socket.write(piece)) return;
      }
    };
    socket.on('close', () => {
      flood.closedCount++;
    });
    socket.on('drain', pump);
    socket.once('data', () => {
      socket.write(head);
      pump();
    });
  });
  t.after(() => backend.close());
  flood.port = backend.port;
  return flood;
}

/** Waits until a number has stopped growing. */
async function settled(description: string, read: () => number): Promise<number> {
  let last = -1;
  let sinceMs = performance.now();
  return waitFor(description, () => {
    const now = read();
    if (now !== last) {
      last = now;
      sinceMs = performance.now();
    }
    return performance.now() - sinceMs > 300 ? now : 0;
  });
}

for (const [framing, head] of [
  ['with a length', `HTTP/1.1 200 OK\r\nContent-Length: ${1024 * MIB}\r\n\r\n`],
  ['up to the end of the connection', 'HTTP/1.1 200 OK\r\n\r\n'],
] as const) {
  test(`B29: a client that does not read an answer ${framing} pauses the backend, and nothing is buffered without bound`, async (t) => {
    const backend = await startFloodingBackend(t, head);
    const proxy = await startProxy(t, { backends: [backend] });
    const client = await proxy.connect();
    client.socket.pause();
    const before = bufferBytes();
    client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    const sentBytes = await settled('the backend to be paused', () => backend.sentBytes);
    // The kernel's buffers of two connections, and one of ours.
    assert.ok(sentBytes < 32 * MIB, `${sentBytes} bytes were taken from the backend`);
    const grown = bufferBytes() - before;
    assert.ok(grown < 2 * MIB, `${grown} bytes of buffers`);
    client.reset();
    await waitFor('the backend connection to be closed', () => backend.closedCount === 1);
  });
}

test('B29: a slow backend pauses the client, and nothing is buffered without bound', async (t) => {
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    socket.pause();
    socket.on('error', () => socket.destroy());
    sockets.push(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const proxy = await startProxy(t, { backends: [{ port }], limits: { bodyBytes: 1024 * MIB } });
  const client = await proxy.connect();
  client.write(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${1024 * MIB}\r\n\r\n`);
  const piece = Buffer.alloc(65_536, 'u');
  let sentBytes = 0;
  const pump = () => {
    while (!client.socket.destroyed) {
      sentBytes += piece.length;
      if (!client.socket.write(piece)) return;
    }
  };
  client.socket.on('drain', pump);
  pump();
  const before = bufferBytes();
  const stoppedAt = await settled('the client to be paused', () => sentBytes);
  assert.ok(stoppedAt < 32 * MIB, `${stoppedAt} bytes were taken from the client`);
  const grown = bufferBytes() - before;
  assert.ok(grown < 4 * MIB, `${grown} bytes of buffers`);
});

test('B29: server-sent events leave within 50 ms of their arrival', async (t) => {
  const backend = await startCapturingBackend(
    t,
    () => 'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n',
  );
  const proxy = await startProxy(t, { backends: [backend] });
  const client = await proxy.connect();
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  await client.waitForBytes('text/event-stream');
  const tookMs: number[] = [];
  for (let i = 0; i < 10; i++) {
    const event = `data: ${i}\n\n`;
    const startMs = performance.now();
    backend.sockets[0]?.write(`${event.length.toString(16)}\r\n${event}\r\n`);
    await client.waitForBytes(event);
    tookMs.push(performance.now() - startMs);
  }
  // The fastest counts: other programs may delay some events, but a delay of the proxy would show in all.
  assert.ok(Math.min(...tookMs) < 50, `${tookMs} ms`);
});

test('large bodies arrive whole in both directions, with a length and in chunks', async (t) => {
  const body = Array.from({ length: 300_000 }, (_, i) => String.fromCharCode(33 + ((i * 7919) % 90))).join(
    '',
  );
  const chunk = (text: string) => `${text.length.toString(16)}\r\n${text}\r\n0\r\n\r\n`;
  const backend = await startCapturingBackend(t, (request) =>
    request.target === '/chunked'
      ? `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${chunk(request.body)}`
      : ok(request.body),
  );
  const proxy = await startProxy(t, { backends: [backend] });
  const client = await proxy.connect();
  const digest = (text: string | Buffer) => createHash('sha256').update(text).digest('hex');
  for (const target of ['/length', '/chunked']) {
    client.write(`PUT ${target} HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
    assert.equal(digest((await client.readResponse()).body), digest(body));
    client.write(`PUT ${target} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n${chunk(body)}`);
    assert.equal(digest((await client.readResponse()).body), digest(body));
  }
  assert.equal(backend.connectionCount, 1);
  assert.equal(proxy.metric('sluice_bytes_total', 'in'), 4 * body.length);
  assert.equal(proxy.metric('sluice_bytes_total', 'out'), 4 * body.length);
});

test('64 slow readers among fast ones get only their own bytes', async (t) => {
  const SLOW_BYTES = 3 * MIB;
  const FAST_BYTES = 2_000;
  /** Bytes depend on the target and repeat only after 251, so a shifted or foreign piece is noticed. */
  const bodyOf = (id: number, bytes: number) =>
    Buffer.alloc(bytes, Buffer.from(Array.from({ length: 251 }, (_, i) => (id + i) % 256)));
  const backend = await startRawBackend((socket) => {
    socket.on('data', (data: Buffer) => {
      const [, kind, id] = /^GET \/(slow|fast)\/(\d+)/.exec(data.toString('latin1')) ?? [];
      const bytes = kind === 'slow' ? SLOW_BYTES : FAST_BYTES;
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${bytes}\r\n\r\n`);
      socket.write(bodyOf(Number(id), bytes));
    });
  });
  t.after(() => backend.close());
  const proxy = await startProxy(t, { backends: [backend] });
  const clients = (count: number) => Promise.all(Array.from({ length: count }, () => proxy.connect()));
  const slow = await clients(64);
  for (const [id, client] of slow.entries()) {
    client.write(`GET /slow/${id} HTTP/1.1\r\nHost: a\r\n\r\n`);
    await client.waitForBytes('\r\n\r\n', 20_000);
    client.socket.pause();
  }
  const fast = await clients(24);
  for (let round = 0; round < 6; round++) {
    await Promise.all(
      fast.map(async (client, i) => {
        client.write(`GET /fast/${100 + i} HTTP/1.1\r\nHost: a\r\n\r\n`);
        const { body } = await client.readResponse();
        assert.ok(body.equals(bodyOf(100 + i, FAST_BYTES)));
      }),
    );
    for (const client of slow) client.socket.resume();
    await new Promise((resolve) => setImmediate(resolve));
    for (const client of slow) client.socket.pause();
  }
  for (const [id, client] of slow.entries()) {
    client.socket.resume();
    const { body } = await client.readResponse({ timeoutMs: 20_000 });
    assert.ok(body.equals(bodyOf(id, SLOW_BYTES)), `the body of ${id}`);
  }
});

test('once an answer has begun, the client may pause its body for longer than bodyIdle', async (t) => {
  const backend = await startBackend((request, response) => request.pipe(response));
  t.after(() => backend.close());
  const time = new FakeTime();
  const timeouts = { bodyIdleMs: 100 };
  const proxy = await startProxy(t, { backends: [backend], timeouts, clock: time.clock });
  const client = await proxy.connect();
  client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 15\r\n\r\n');
  for (const piece of ['first', 'later', 'final']) {
    client.write(piece);
    await client.waitForBytes(piece);
    // The pause under test: longer than bodyIdle.
    time.nowMs += 150;
    await time.ticks();
  }
  const answer = await client.readResponse();
  assert.equal(answer.body.toString(), 'firstlaterfinal');
  assert.equal(answer.header('connection'), 'close');
  await client.waitForClose();
  const line = await waitFor('the access line', () => proxy.lines[0]);
  assert.deepEqual([line.reason, line.bytesIn, line.bytesOut], ['ok', 15, 15]);
});

test('when the answer ends before the body, the rest is discarded and both connections end', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend] });
  const client = await proxy.connect();
  client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nabc');
  await waitFor('the bytes at the backend', () => backend.received[0]?.endsWith('abc'));
  backend.sockets[0]?.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n');
  await client.waitForBytes('one');
  client.write('def');
  await waitFor('more of the body', () => backend.received[0]?.endsWith('def'));
  backend.sockets[0]?.write('3\r\ntwo\r\n0\r\n\r\n');
  assert.equal((await client.readResponse()).body.toString(), 'onetwo');
  client.write('y'.repeat(50_000));
  await client.waitForClose();
  await waitFor('the backend connection to close', () => backend.closedCount === 1);
  assert.doesNotMatch(backend.received[0] ?? '', /y/);
});
