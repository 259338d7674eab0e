import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createConnection, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { systemCodeOf } from '../../../src/contract/errors.ts';
import { startRawBackend } from '../../support/backend.ts';
import { waitFor } from '../../support/wait.ts';
import { ok, startCapturingBackend } from '../capturing-backend.ts';
import { startProxy, startUnixProxy, type TestProxy } from '../support.ts';

const WRITE_IDLE_MS = 400;
const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';
/** More than the kernel buffers for a TCP connection that nobody reads. */
const LARGE_BYTES = 64 * 1024 * 1024;
/** The largest body that is written together with its head. */
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

/** Opens a connection that reads nothing until resume(). */
async function connectMute(t: TestContext, target: { port: number } | { path: string }): Promise<Socket> {
  const socket = createConnection(target);
  t.after(() => socket.destroy());
  socket.on('error', () => socket.destroy());
  await once(socket, 'connect');
  socket.pause();
  return socket;
}

/** The request ended with write_timeout, and not before the deadline. */
async function assertGivenUp(proxy: TestProxy): Promise<void> {
  const line = await waitFor('the access line', () => proxy.lines.find(({ reason }) => reason !== 'ok'));
  assert.deepEqual([line.status, line.reason], [200, 'write_timeout']);
  assert.ok(line.totalMs >= WRITE_IDLE_MS, `${line.totalMs} ms`);
  await waitFor('the connection to be gone', () => proxy.server.connectionCount === 0);
  assert.equal(proxy.handler.traffic.inFlight, 0);
  assert.equal(proxy.failures.length, 0);
}

const STREAMS: [title: string, head: string, piece: Buffer][] = [
  ['with a Content-Length', `Content-Length: ${LARGE_BYTES}\r\n`, Buffer.alloc(65_536, 'z')],
  ['in chunks', 'Transfer-Encoding: chunked\r\n', Buffer.from(`8000\r\n${'z'.repeat(32_768)}\r\n`)],
];

for (const [title, fields, piece] of STREAMS) {
  test(`an answer ${title} to a client that never reads is cut after writeIdle, with the backend’s connection`, async (t) => {
    const backend = await startLargeBackend(t, `HTTP/1.1 200 OK\r\n${fields}\r\n`, piece);
    const timeouts = { writeIdleMs: WRITE_IDLE_MS };
    const proxy = await startProxy(t, { backends: [backend], timeouts });
    const client = await connectMute(t, proxy);
    client.write(GET);
    await assertGivenUp(proxy);
    await waitFor('the backend’s connection to be closed', () => backend.closedCount === 1);
    assert.equal(proxy.metric('sluice_requests_total', 'default', '200'), 1);
    // A reset, so that the kernel frees the unread bytes.
    client.resume();
    await waitFor('the end to be seen', () => client.destroyed);
    assert.equal(systemCodeOf(client.errored), 'ECONNRESET');
  });
}

test('a client that pipelines small requests and never reads is cut after writeIdle', async (t) => {
  const backend = await startCapturingBackend(t, () => ok('x'.repeat(SMALL_BYTES)));
  const { path, proxy } = await startUnixProxy(t, {
    backends: [backend],
    timeouts: { writeIdleMs: WRITE_IDLE_MS },
  });
  const client = await connectMute(t, { path });
  client.write(GET.repeat(60));
  await assertGivenUp(proxy);
  assert.ok(proxy.lines.length < 60, 'not all answers may fit into the kernel’s buffers');
});

/** A client that has asked for 300 KB and reads nothing. */
async function muteClient(t: TestContext) {
  const backend = await startCapturingBackend(t, () => ok('x'.repeat(300_000)));
  const { path, proxy } = await startUnixProxy(t, {
    backends: [backend],
    timeouts: { writeIdleMs: WRITE_IDLE_MS },
  });
  const client = await connectMute(t, { path });
  client.write(GET);
  return { client, proxy };
}

test('an answer that the backend has completed is cut too when the client does not read its end', async (t) => {
  const { proxy } = await muteClient(t);
  await assertGivenUp(proxy);
});

test('a client that keeps sending but never reads is cut after writeIdle', async (t) => {
  const { client, proxy } = await muteClient(t);
  const talking = setInterval(() => client.write(GET), WRITE_IDLE_MS / 8);
  t.after(() => clearInterval(talking));
  await assertGivenUp(proxy);
});

test('a client that keeps reading slowly gets the whole answer, however many times writeIdle it takes', async (t) => {
  const bytes = 6_000_000;
  // Longer than a busy machine keeps this process waiting: client and proxy stand still together then.
  const writeIdleMs = 2 * WRITE_IDLE_MS;
  const backend = await startCapturingBackend(t, () => ok('x'.repeat(bytes)));
  const { path, proxy } = await startUnixProxy(t, { backends: [backend], timeouts: { writeIdleMs } });
  const client = await connectMute(t, { path });
  client.write(GET);
  let readBytes = 0;
  const startMs = performance.now();
  const reading = setInterval(() => {
    const chunk: Buffer | null = client.read(Math.min(40_000, client.readableLength));
    readBytes += chunk?.length ?? 0;
  }, writeIdleMs / 40);
  t.after(() => clearInterval(reading));
  const isWhole = (): boolean => {
    assert.ok(
      readBytes > bytes,
      `${readBytes} bytes have come, ${proxy.lines[0]?.reason ?? 'and it goes on'}`,
    );
    return true;
  };
  await waitFor('the whole answer', isWhole, { timeoutMs: 50_000 });
  const tookMs = performance.now() - startMs;
  assert.ok(tookMs > 3 * writeIdleMs, `${tookMs} ms is too short to test writeIdle`);
  assert.equal(proxy.lines[0]?.reason, 'ok');
});

test('a shorter writeIdle after a reload applies to answers under way', async (t) => {
  const backend = await startCapturingBackend(t, () => ok('x'.repeat(300_000)));
  const backends = [backend];
  const { path, proxy } = await startUnixProxy(t, { backends, timeouts: { writeIdleMs: 8 * WRITE_IDLE_MS } });
  const client = await connectMute(t, { path });
  client.write(GET);
  await waitFor('the answer to be under way', () => proxy.handler.traffic.inFlight === 1);
  proxy.reload({ backends, timeouts: { writeIdleMs: WRITE_IDLE_MS } });
  await assertGivenUp(proxy);
  assert.ok((proxy.lines[0]?.totalMs ?? 0) < 8 * WRITE_IDLE_MS, `${proxy.lines[0]?.totalMs} ms`);
});
