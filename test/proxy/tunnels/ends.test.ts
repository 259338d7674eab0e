/** How tunnels end, and what they hold while one side does not read (B17). */
import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { processBodyBuffers } from '../../../src/memory/body-buffers.ts';
import { FakeTime } from '../../support/fake-time.ts';
import { bodyOf } from '../../support/pattern.ts';
import { type RawClient, writeUntilStuck } from '../../support/raw-http.ts';
import { untilStill, waitFor } from '../../support/wait.ts';
import { accessLineOf, type ProxyOptions, pool, route, startProxy, type TestProxy } from '../support.ts';
import { accepting, switching, switchOn, upgradeBackend } from './support.ts';

interface Tunnel {
  proxy: TestProxy;
  client: RawClient;
  /** The backend's end, on which everything is left to the test. */
  backend: Socket;
  got: { text: string; ended: boolean; error: string | null };
}

async function openTunnel(t: TestContext, options: Partial<ProxyOptions> = {}): Promise<Tunnel> {
  const got: Tunnel['got'] = { text: '', ended: false, error: null };
  const raw = await upgradeBackend(t, (head, socket) => {
    socket.write(switching(head));
    socket.on('data', (chunk) => {
      got.text += chunk.toString('latin1');
    });
    socket.on('end', () => {
      got.ended = true;
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      got.error = error.code ?? '';
    });
  });
  const proxy = await startProxy(t, { backends: [{ port: raw.port }], ...options });
  const client = await proxy.connect();
  await switchOn(client);
  const [backend] = raw.sockets;
  assert.ok(backend);
  return { proxy, client, backend, got };
}

test('B17: a FIN of the client is passed on, and the other direction flows until it ends', async (t) => {
  const { proxy, client, backend, got } = await openTunnel(t);
  client.write('last words');
  client.end();
  await waitFor('the FIN at the backend', () => got.ended);
  assert.equal(got.text, 'last words');
  backend.write('answer');
  await client.waitForBytes('answer');
  assert.deepEqual([client.ended, proxy.lines.length], [false, 0]);
  backend.end('end');
  await client.waitForBytes('end');
  await waitFor('the FIN at the client', () => client.ended);
  const line = await accessLineOf(proxy, () => true);
  assert.deepEqual([line.reason, line.bytesIn, line.bytesOut], ['ok', 10, 9]);
});

test('B17: a FIN of the backend is passed on, and the other direction flows until it ends', async (t) => {
  const { proxy, client, backend, got } = await openTunnel(t);
  backend.end('bye');
  await waitFor('the FIN at the client', () => client.ended);
  client.write('more');
  await waitFor('more', () => got.text === 'more');
  client.end();
  await waitFor('the FIN at the backend', () => got.ended);
  assert.equal((await accessLineOf(proxy, () => true)).reason, 'ok');
});

test('B17: a reset of the client resets the backend', async (t) => {
  const { proxy, client, got } = await openTunnel(t);
  client.reset();
  await waitFor('the reset at the backend', () => got.error);
  assert.equal(got.error, 'ECONNRESET');
  const line = await accessLineOf(proxy, () => true);
  assert.deepEqual([line.status, line.reason], [101, 'client_abort']);
});

test('B17: a reset of the backend resets the client', async (t) => {
  const { proxy, client, backend } = await openTunnel(t);
  backend.resetAndDestroy();
  await waitFor('the reset at the client', () => client.error);
  assert.equal(client.error?.code, 'ECONNRESET');
  const line = await accessLineOf(proxy, () => true);
  assert.deepEqual([line.status, line.reason], [101, 'upstream_reset']);
});

test('B17: silence in both directions closes a tunnel, and a byte in either keeps it open', async (t) => {
  const time = new FakeTime();
  const timeouts = { tunnelIdleMs: 600 };
  const { proxy, client, backend, got } = await openTunnel(t, { timeouts, clock: time.clock });
  const pass = async (ms: number) => {
    time.nowMs += ms;
    await time.ticks();
    assert.deepEqual([got.ended, client.ended, proxy.lines], [false, false, []]);
  };
  for (let i = 1; i <= 6; i++) {
    if (i % 2 === 0) client.write('x');
    else backend.write('y');
    await waitFor('the byte', () => got.text.length + client.received.length === i);
    await pass(590);
  }
  await pass(590);
  // It is looked at each tenth of the time.
  time.nowMs += 60;
  await waitFor('the end of the client', () => client.ended);
  assert.equal((await accessLineOf(proxy, () => true)).reason, 'tunnel_idle');
  await waitFor('the end of the backend', () => got.ended);
});

for (const stopped of ['client', 'backend'] as const) {
  test(`a ${stopped} that stops reading stops the other side, and then gets every byte`, async (t) => {
    const { client, backend, got } = await openTunnel(t);
    const [reader, writer] = stopped === 'client' ? [client.socket, backend] : [backend, client.socket];
    reader.pause();
    const piece = bodyOf(1, 65_536);
    const sentBytes = await writeUntilStuck(writer, piece);
    const readBytes = () => (stopped === 'client' ? client.received.length : got.text.length);
    reader.resume();
    await waitFor('every byte', () => readBytes() === sentBytes);
    const bytes = stopped === 'client' ? client.received : Buffer.from(got.text, 'latin1');
    for (let at = 0; at < sentBytes; at += piece.length)
      assert.ok(bytes.subarray(at, at + piece.length).equals(piece), `bytes from ${at} on`);
    client.reset();
  });
}

test('a stopped side holds one buffer at most, and a tunnel gives its buffers back when it is quiet again', async (t) => {
  const { client, backend, got } = await openTunnel(t);
  const lent = Array.from({ length: 4 }, () => processBodyBuffers.take());
  for (const buffer of lent) processBodyBuffers.give(buffer);
  const pooled = processBodyBuffers.pooledCount;
  backend.pause();
  const body = bodyOf(2, 12 << 20);
  client.write(body);
  await untilStill('the flood', () => client.socket.bytesWritten - client.socket.writableLength);
  assert.ok(processBodyBuffers.pooledCount >= pooled - 1, `of ${pooled}: ${processBodyBuffers.pooledCount}`);
  assert.equal(processBodyBuffers.largeLiveCount, 0);
  backend.resume();
  await waitFor('the body', () => got.text.length === body.length);
  assert.ok(Buffer.from(got.text, 'latin1').equals(body));
  client.write('x');
  await waitFor('a last small piece', () => got.text.length === body.length + 1);
  assert.equal(processBodyBuffers.pooledCount, pooled, 'the buffer is in the pool again');
  client.reset();
});

test('a reset is seen on a side that is not read', async (t) => {
  const { proxy, client, backend, got } = await openTunnel(t, { timeouts: { tunnelIdleMs: 2_000 } });
  // The client reads nothing, so that the backend is not read either.
  client.socket.pause();
  await writeUntilStuck(backend, bodyOf(3, 65_536));
  backend.resetAndDestroy();
  const line = await accessLineOf(proxy, () => true);
  assert.deepEqual([line.reason, got.error], ['upstream_reset', null]);
});

test('a reload that takes route, pool and backend away leaves a tunnel open and keeps nothing else', async (t) => {
  const other = await upgradeBackend(t, accepting);
  const { proxy, client, backend, got } = await openTunnel(t);
  const before = proxy.plan();
  proxy.reload({ pools: [pool('other', [other.port])], routes: [route('other', {}, { pool: 'other' })] });
  assert.equal(before.isOver, true, 'no request of the old plan is left');
  assert.deepEqual(
    [...before.backends()].map(({ connections }) => connections.openCount),
    [0],
  );
  client.write('still');
  backend.write('here');
  await client.waitForBytes('here');
  await waitFor('the bytes', () => got.text === 'still');
  proxy.reload({
    pools: [pool('other', [other.port])],
    routes: [route('other', {}, { pool: 'other' })],
    timeouts: { tunnelIdleMs: 300 },
  });
  const line = await accessLineOf(proxy, () => true);
  assert.deepEqual([line.reason, line.route], ['tunnel_idle', 'default']);
});
