/** How much of a pipelining client the proxy reads ahead, and that all requests are answered in the end. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { waitFor } from '../../support/wait.ts';
import { keptByKernel, takenBytes, usedBytes } from '../bodies/memory.ts';
import { type CapturedRequest, ok, startCapturingBackend } from '../capturing-backend.ts';
import { dataPath, route, startProxy, startUnixProxy, type TestProxy } from '../support.ts';

const TINY = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';
const FAT_BYTES = 15_000;
const fat = (target: string) => `GET ${target} HTTP/1.1\r\nHost: a\r\nX: ${'v'.repeat(FAT_BYTES)}\r\n\r\n`;
/**
 * The proxy reads ahead, to notice a FIN, until 256 KiB of a client wait. Up to 4 reads of 64 KiB come on top: the read under
 * way, one that a SocketWire holds, and what takenBytes counts late in both measurements.
 */
const AHEAD_MAX_BYTES = 262_144 + 4 * 65_536;
/** Memory of the proxy for one client that is too far ahead. */
const MEMORY_MAX_BYTES = 2 * 1_048_576;

/** Makes round trips of other clients. After them, the proxy has read what was readable before. */
async function lookElsewhere(proxy: TestProxy, times: number): Promise<void> {
  for (let i = 0; i < times; i++) {
    const other = await proxy.connect();
    other.write('GET /elsewhere HTTP/1.1\r\nHost: a\r\n\r\n');
    await other.readResponse();
    other.close();
  }
}

test('at most 256 KiB and two reads of a pipeline are read ahead, and all its requests are answered later', async (t) => {
  const held: (() => void)[] = [];
  const backend = await startCapturingBackend(t, (request: CapturedRequest, socket) => {
    if (request.target !== '/first') return ok(request.target);
    held.push(() => socket.write(ok('/first')));
    return null;
  });
  // The buffers of a Unix socket are small and do not grow: bytes that are not in them were read.
  const { proxy } = await startUnixProxy(t, { backends: [backend] });
  const piece = Buffer.from(fat('/next'));
  const kept = await keptByKernel(piece);
  const client = await proxy.connect();
  const first = TINY.replace('/', '/first');
  client.write(first);
  await waitFor('the first request at the backend', () => held.length === 1);
  await lookElsewhere(proxy, 3);
  const before = usedBytes();
  await client.writeUntilStuck(piece);
  const grown = usedBytes() - before;
  const count = (client.socket.bytesWritten - first.length) / piece.length;
  const taken = takenBytes(client);
  assert.ok(taken - kept <= AHEAD_MAX_BYTES, `${taken} bytes were taken, of which the kernel keeps ${kept}`);
  assert.ok(grown <= MEMORY_MAX_BYTES, `${grown} bytes of memory`);
  await lookElsewhere(proxy, 20);
  assert.equal(takenBytes(client), taken, 'the proxy must not read on');
  held[0]?.();
  assert.equal((await client.readResponse()).body.toString(), '/first');
  for (let i = 0; i < count; i++) assert.equal((await client.readResponse()).body.toString(), '/next');
});

test('clients that pipeline thousands of requests do not harm another client, nor take unbounded memory', async (t) => {
  const held: (() => void)[] = [];
  const backend = await startCapturingBackend(t, (_request, socket) => {
    held.push(() => socket.writable && socket.write(ok('late')));
    return null;
  });
  const proxy = await startProxy(t, { backends: [backend] });
  const modest = await proxy.connect();
  modest.write(TINY.repeat(40));
  await waitFor('the modest one’s first request', () => held.length === 1);
  const greedy = await Promise.all(Array.from({ length: 12 }, () => proxy.connect()));
  for (const client of greedy) client.write(TINY.repeat(2_000));
  if (dataPath.engine === 'node') {
    // node parses everything in a read. When there are too many requests in all, clients with very many are cut.
    await waitFor('a greedy client to be cut', () => greedy.some((client) => client.closed || client.ended));
    assert.ok(proxy.metric('sluice_shed_total', 'overload') >= 1);
  } else {
    await waitFor('all first requests', () => held.length === 1 + greedy.length);
    await waitFor('the pipelines to be sent', () =>
      greedy.every(({ socket }) => socket.writableLength === 0),
    );
    assert.ok(
      !greedy.some((client) => client.closed || client.ended),
      'waiting bytes are cheap, so nobody is cut',
    );
    assert.equal(proxy.metric('sluice_shed_total', 'overload'), 0);
  }
  for (const client of greedy) client.reset();
  await waitFor('their connections to be gone', () => proxy.server.connectionCount === 1);
  for (let i = 0; i < 40; i++) {
    await waitFor('a request to answer', () => held.length > 0);
    while (held.length > 0) held.pop()?.();
    assert.equal((await modest.readResponse()).body.toString(), 'late');
  }
});

test('thousands of pipelined requests that are refused at once are answered in a loop, not by recursion', async (t) => {
  const held: (() => void)[] = [];
  const backend = await startCapturingBackend(t, (_request, socket) => {
    held.push(() => socket.write(ok('late')));
    return null;
  });
  const proxy = await startProxy(t, { backends: [backend], routes: [route('known', { path: '/known' })] });
  const client = await proxy.connect();
  const heap = 2_000;
  client.write(TINY.replace('/', '/known') + TINY.repeat(heap));
  await waitFor('the first request at the backend', () => held.length === 1);
  await lookElsewhere(proxy, 3);
  held[0]?.();
  assert.equal((await client.readResponse()).body.toString(), 'late');
  for (let i = 0; i < heap; i++) assert.equal((await client.readResponse()).status, 404);
});

async function untilStuck({ lines }: TestProxy): Promise<void> {
  let seen = -1;
  let unchanged = 0;
  await waitFor('the answers to get stuck', () => {
    unchanged = lines.length === seen ? unchanged + 1 : 0;
    seen = lines.length;
    return seen > 0 && unchanged > 20;
  });
}

test('a reset is noticed at once, also while an answer is blocked and the client’s requests are not read', async (t) => {
  const backend = await startCapturingBackend(t, () => ok('b'.repeat(16_000)));
  const proxy = await startProxy(t, { backends: [backend] });
  const client = await proxy.connect();
  client.socket.pause();
  client.write(TINY.repeat(1_000));
  await untilStuck(proxy);
  client.reset();
  await waitFor('the connection to be closed', () => proxy.server.connectionCount === 0, {
    timeoutMs: 2_000,
  });
  assert.equal(proxy.lines.at(-1)?.reason, 'client_abort');
});

test('an answer to a slow client ends when its last byte is written, and the next ones follow whole', async (t) => {
  const body = 'b'.repeat(16_000);
  const backend = await startCapturingBackend(t, () => ok(body));
  const proxy = await startProxy(t, { backends: [backend] });
  const client = await proxy.connect();
  client.socket.pause();
  const count = 1_000;
  client.write(TINY.repeat(count));
  await untilStuck(proxy);
  assert.ok(proxy.lines.length < count, 'some answers must be blocked');
  assert.equal(proxy.handler.traffic.inFlight, 1, 'only the blocked one is in flight');
  client.socket.resume();
  for (let i = 0; i < count; i++) assert.equal((await client.readResponse()).body.toString(), body);
  await waitFor('all lines', () => proxy.lines.length === count);
  assert.ok(proxy.lines.every(({ status, bytesOut }) => status === 200 && bytesOut === body.length));
});
