/** Clients that read slowly, when their connection ends: the last answer waits in the kernel by then. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { connect as connectTls } from 'node:tls';
import { startBackend } from '../../support/backend.ts';
import { FakeTime } from '../../support/fake-time.ts';
import {
  FrameClient,
  frame,
  headers,
  number32,
  PREFACE,
  request,
  settings,
  TYPES,
} from '../../support/h2-frames.ts';
import { connectRaw, RawClient } from '../../support/raw-http.ts';
import { localTls } from '../../support/tls.ts';
import { waitFor } from '../../support/wait.ts';
import { startProxy, type TestProxy } from '../support.ts';

/** More than the client's kernel takes before it reads, and less than both kernels. */
const ANSWER_BYTES = 1_000_000;
const WINDOW_BYTES = 1 << 24;

async function connectOver(
  t: TestContext,
  { port, url }: TestProxy,
  isSecure: boolean,
): Promise<FrameClient> {
  if (!isSecure) return new FrameClient(await connectRaw(url, { allowHalfOpen: false }));
  const socket = connectTls({ port, host: '127.0.0.1', ALPNProtocols: ['h2'], rejectUnauthorized: false });
  t.after(() => socket.destroy());
  await once(socket, 'secureConnect');
  return new FrameClient(new RawClient(socket));
}

/** Reads some 1 MB/s, as a slow link would bring it, and gives back the windows as clients do. It answers no PING. */
async function readSlowly(client: FrameClient): Promise<void> {
  const { socket } = client.raw;
  let byteCount = 0;
  socket.on('data', ({ length }: Buffer) => {
    socket.pause();
    byteCount += length;
    if (socket.writable) client.send(frame(TYPES.window, 0, 0, number32(length)));
  });
  for (const startMs = performance.now(); !client.closed; ) {
    await delay(10);
    if (byteCount <= 1_000 * (performance.now() - startMs)) socket.resume();
  }
}

for (const isSecure of [false, true]) {
  test(`B38: a drain leaves an answer that has left the worker, and not arrived, its time ${isSecure ? '(TLS)' : ''}`, async (t) => {
    const backend = await startBackend((_request, response) => response.end(Buffer.alloc(ANSWER_BYTES)));
    t.after(() => backend.close());
    const proxy = await startProxy(t, {
      backends: [backend],
      // How long it waits for the answer to the PING.
      timeouts: { headersMs: 1_000 },
      ...(isSecure ? { tls: localTls().tls } : { h2c: true }),
    });
    const client = await connectOver(t, proxy, isSecure);
    t.after(() => client.close());
    client.raw.socket.pause();
    client.send(PREFACE, settings([4, WINDOW_BYTES]), frame(TYPES.window, 0, 0, number32(WINDOW_BYTES)));
    client.send(headers(1, request()));
    await waitFor('the answer to leave the worker', () => proxy.lines.length === 1);
    const drained = proxy.server.drain({ graceMs: 0, drainMs: 20_000 });
    await readSlowly(client);
    assert.equal(client.body(1).length, ANSWER_BYTES);
    assert.deepEqual([client.raw.error, proxy.lines[0]?.reason], [null, 'ok']);
    await drained;
  });
}

test('B38: a drain leaves all of its time to a client that reads on, and gives back its window every 4 s only', async (t) => {
  const backend = await startBackend((_request, response) => response.end(Buffer.alloc(ANSWER_BYTES)));
  t.after(() => backend.close());
  const time = new FakeTime();
  const proxy = await startProxy(t, {
    backends: [backend],
    h2c: true,
    clock: time.clock,
    timeouts: { drainMs: 60_000 },
  });
  const client = await connectOver(t, proxy, false);
  t.after(() => client.close());
  const { socket } = client.raw;
  socket.pause();
  socket.on('data', () => socket.pause());
  client.send(PREFACE, settings([4, WINDOW_BYTES]), frame(TYPES.window, 0, 0, number32(WINDOW_BYTES)));
  client.send(headers(1, request()));
  await waitFor('the answer to leave the worker', () => proxy.lines.length === 1);
  const drained = proxy.server.drain({ graceMs: 0, drainMs: 60_000 });
  for (let endMs = 4_000; endMs <= 48_000; endMs += 4_000) {
    for (; time.nowMs < endMs; time.nowMs += 1_000) await time.ticks();
    // One piece.
    socket.resume();
    await waitFor('the piece', () => socket.isPaused() || client.closed, { everyMs: 1 });
    if (socket.writable) client.send(frame(TYPES.window, 0, 0, number32(10_000)));
  }
  socket.on('data', () => socket.resume());
  socket.resume();
  await client.raw.waitForClose();
  assert.equal(client.body(1).length, ANSWER_BYTES);
  assert.deepEqual([client.raw.error, proxy.lines[0]?.reason], [null, 'ok']);
  await drained;
});
