import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createConnection, type Socket } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { systemCodeOf } from '../../../src/contract/errors.ts';
import { startRawBackend } from '../../support/backend.ts';
import { makeTempFolder } from '../../support/temp-folder.ts';
import { waitFor } from '../../support/wait.ts';
import { ok, startCapturingBackend } from '../capturing-backend.ts';
import { startProxy, type TestProxy } from '../support.ts';

const WRITE_IDLE_MS = 400;
const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';
/** More than the kernel keeps for a TCP connection that nobody reads. */
const LARGE_BYTES = 64 * 1024 * 1024;
/** The largest body that leaves in one write with its head. */
const SMALL_BYTES = 16_384;

/** A backend that answers with LARGE_BYTES, as a known length or in chunks. */
async function startLargeBackend(t: TestContext, head: string, piece: Buffer) {
  const large = { port: 0, closedCount: 0 };
  const backend = await startRawBackend((socket) => {
    socket.on('close', () => {
      large.closedCount++;
    });
    socket.once('data', () => {
      let leftBytes = LARGE_BYTES;
      const pump = () => {
        while (leftBytes > 0 && !socket.destroyed) {
          leftBytes -= piece.length;
          if (!socket.write(piece)) return;
        }
      };
      socket.on('drain', pump);
      socket.write(head);
      pump();
    });
  });
  t.after(() => backend.close());
  large.port = backend.port;
  return large;
}

/** A connection that reads nothing until it is told to. */
async function connectMute(t: TestContext, target: { port: number } | { path: string }): Promise<Socket> {
  const socket = createConnection(target);
  t.after(() => socket.destroy());
  socket.on('error', () => socket.destroy());
  await once(socket, 'connect');
  socket.pause();
  return socket;
}

/** A Unix socket's buffers are small and do not grow: a reader that stops is felt at once. */
async function startUnixProxy(t: TestContext, backend: { port: number }) {
  const path = join(makeTempFolder(), 'front.sock');
  const timeouts = { writeIdleMs: WRITE_IDLE_MS };
  const proxy = await startProxy(t, { backends: [backend], timeouts, listen: { kind: 'unix', path } });
  return { path, proxy };
}

/** The line of the request that was given up, and that it was not given up early. */
async function assertGivenUp(proxy: TestProxy): Promise<void> {
  const line = await waitFor('the access line', () => proxy.lines.find(({ reason }) => reason !== 'ok'));
  assert.deepEqual([line.status, line.reason], [200, 'write_timeout']);
  assert.ok(line.totalMs >= WRITE_IDLE_MS, `${line.totalMs} ms`);
  await waitFor('the connection to be gone', () => proxy.server.connectionCount === 0);
  assert.equal(proxy.handler.requestsInFlight, 0);
  assert.equal(proxy.failures.length, 0);
}

const STREAMS: [title: string, head: string, piece: Buffer][] = [
  ['of a known length', `Content-Length: ${LARGE_BYTES}\r\n`, Buffer.alloc(65_536, 'z')],
  ['in chunks', 'Transfer-Encoding: chunked\r\n', Buffer.from(`8000\r\n${'z'.repeat(32_768)}\r\n`)],
];

for (const [title, fields, piece] of STREAMS) {
  test(`an answer ${title} whose client never reads is cut after writeIdle, and so is the backend’s connection`, async (t) => {
    const backend = await startLargeBackend(t, `HTTP/1.1 200 OK\r\n${fields}\r\n`, piece);
    const timeouts = { writeIdleMs: WRITE_IDLE_MS };
    const proxy = await startProxy(t, { backends: [backend], timeouts });
    const client = await connectMute(t, proxy);
    client.write(GET);
    await assertGivenUp(proxy);
    await waitFor('the backend’s connection to be closed', () => backend.closedCount === 1);
    assert.equal(proxy.metric('sluice_requests_total', 'default', '200'), 1);
    // By a reset, which frees what the kernel held for it.
    client.resume();
    await waitFor('the end to be seen', () => client.destroyed);
    assert.equal(systemCodeOf(client.errored), 'ECONNRESET');
  });
}

test('a client that asks on and on without reading is cut in the middle of its small answers', async (t) => {
  const backend = await startCapturingBackend(t, () => ok('x'.repeat(SMALL_BYTES)));
  const { path, proxy } = await startUnixProxy(t, backend);
  const client = await connectMute(t, { path });
  client.write(GET.repeat(60));
  await assertGivenUp(proxy);
  assert.ok(proxy.lines.length < 60, 'some answers fit into the kernel’s buffers, not all');
});

test('an answer that is complete at the backend, but whose end does not leave, is cut as well', async (t) => {
  const backend = await startCapturingBackend(t, () => ok('x'.repeat(300_000)));
  const { path, proxy } = await startUnixProxy(t, backend);
  const client = await connectMute(t, { path });
  client.write(GET);
  await assertGivenUp(proxy);
});

test('a client that sends while it does not read is not spared', async (t) => {
  const backend = await startCapturingBackend(t, () => ok('x'.repeat(300_000)));
  const { path, proxy } = await startUnixProxy(t, backend);
  const client = await connectMute(t, { path });
  client.write(GET);
  const talking = setInterval(() => client.write(GET), WRITE_IDLE_MS / 8);
  t.after(() => clearInterval(talking));
  await assertGivenUp(proxy);
});

test('a client that reads a little every now and then gets all of an answer that takes many times writeIdle', async (t) => {
  const bytes = 4_000_000;
  const backend = await startCapturingBackend(t, () => ok('x'.repeat(bytes)));
  const { path, proxy } = await startUnixProxy(t, backend);
  const client = await connectMute(t, { path });
  client.write(GET);
  let readBytes = 0;
  const startMs = performance.now();
  const reading = setInterval(() => {
    const chunk: Buffer | null = client.read(Math.min(40_000, client.readableLength));
    readBytes += chunk?.length ?? 0;
  }, WRITE_IDLE_MS / 20);
  t.after(() => clearInterval(reading));
  await waitFor('the whole answer', () => readBytes > bytes, { timeoutMs: 30_000 });
  const tookMs = performance.now() - startMs;
  assert.ok(tookMs > 3 * WRITE_IDLE_MS, `${tookMs} ms are no test`);
  assert.equal(proxy.lines[0]?.reason, 'ok');
});

test('a shorter writeIdle after a reload holds for answers under way', async (t) => {
  const backend = await startCapturingBackend(t, () => ok('x'.repeat(300_000)));
  const path = join(makeTempFolder(), 'front.sock');
  const options = { backends: [backend], listen: { kind: 'unix', path } as const };
  const proxy = await startProxy(t, { ...options, timeouts: { writeIdleMs: 8 * WRITE_IDLE_MS } });
  const client = await connectMute(t, { path });
  client.write(GET);
  await waitFor('the answer to be under way', () => proxy.handler.requestsInFlight === 1);
  proxy.reload({ ...options, timeouts: { writeIdleMs: WRITE_IDLE_MS } });
  await assertGivenUp(proxy);
  assert.ok((proxy.lines[0]?.totalMs ?? 0) < 8 * WRITE_IDLE_MS, `${proxy.lines[0]?.totalMs} ms`);
});
