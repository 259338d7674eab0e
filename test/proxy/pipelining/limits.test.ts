/** How far a proxy reads a client that sends requests before it has their answers, and that all of them are answered. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { makeTempFolder } from '../../support/temp-folder.ts';
import { waitFor } from '../../support/wait.ts';
import { keptByKernel, takenBytes, usedBytes } from '../bodies/memory.ts';
import { type CapturedRequest, ok, startCapturingBackend } from '../capturing-backend.ts';
import { dataPath, route, startProxy, type TestProxy } from '../support.ts';

const TINY = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';
const FAT_BYTES = 15_000;
const fat = (target: string) => `GET ${target} HTTP/1.1\r\nHost: a\r\nX: ${'v'.repeat(FAT_BYTES)}\r\n\r\n`;
/**
 * A client that is ahead is read on, in search of a FIN, until 256 KiB of it wait; behind them lie the read under way, one that
 * a SocketWire has not given out yet, and what takenBytes may count late of the client and of the one that nobody reads.
 */
const AHEAD_MAX_BYTES = 262_144 + 4 * 65_536;
/** Of the proxy, for a client that is too far ahead. */
const MEMORY_MAX_BYTES = 2 * 1_048_576;

/** Another client's round trips: whatever was readable before has been read. */
async function lookElsewhere(proxy: TestProxy, times: number): Promise<void> {
  for (let i = 0; i < times; i++) {
    const other = await proxy.connect();
    other.write('GET /elsewhere HTTP/1.1\r\nHost: a\r\n\r\n');
    await other.readResponse();
    other.close();
  }
}

test('large heads behind an unanswered request are read no further than 256 KiB and two reads, and all are answered later', async (t) => {
  const held: (() => void)[] = [];
  const backend = await startCapturingBackend(t, (request: CapturedRequest, socket) => {
    if (request.target !== '/first') return ok(request.target);
    held.push(() => socket.write(ok('/first')));
    return null;
  });
  // The buffers of a Unix socket are small and do not grow: what is not in them was read.
  const path = join(makeTempFolder(), 'front.sock');
  const proxy = await startProxy(t, { backends: [backend], listen: { kind: 'unix', path } });
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
  assert.equal(takenBytes(client), taken, 'nobody reads on');
  held[0]?.();
  assert.equal((await client.readResponse()).body.toString(), '/first');
  for (let i = 0; i < count; i++) assert.equal((await client.readResponse()).body.toString(), '/next');
});

test('heaps of requests of some clients take nothing from a modest one, nor memory without bound', async (t) => {
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
    // node's parser makes a request of everything in a read: too many in all, and those who sent heaps are cut.
    await waitFor('a greedy client to be cut', () => greedy.some((client) => client.closed || client.ended));
    assert.ok(proxy.metric('sluice_shed_total', 'overload') >= 1);
  } else {
    await waitFor('all first requests', () => held.length === 1 + greedy.length);
    await waitFor('the heaps to be sent', () => greedy.every(({ socket }) => socket.writableLength === 0));
    assert.ok(!greedy.some((client) => client.closed || client.ended), 'bytes that wait are cheap');
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

test('a heap of requests that are refused at once behind one that was not is answered one after the other, not one within the other', async (t) => {
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

test('a client that resets while an answer is stuck and nobody reads its requests is gone at once', async (t) => {
  const backend = await startCapturingBackend(t, () => ok('b'.repeat(16_000)));
  const proxy = await startProxy(t, { backends: [backend] });
  const client = await proxy.connect();
  client.socket.pause();
  client.write(TINY.repeat(1_000));
  await untilStuck(proxy);
  client.reset();
  await waitFor('the connection to be over', () => proxy.server.connectionCount === 0, { timeoutMs: 2_000 });
  assert.equal(proxy.lines.at(-1)?.reason, 'client_abort');
});

test('an answer that a slow client leaves half in the queue is over when it has left, and the next ones follow whole', async (t) => {
  const body = 'b'.repeat(16_000);
  const backend = await startCapturingBackend(t, () => ok(body));
  const proxy = await startProxy(t, { backends: [backend] });
  const client = await proxy.connect();
  client.socket.pause();
  const count = 1_000;
  client.write(TINY.repeat(count));
  await untilStuck(proxy);
  assert.ok(proxy.lines.length < count, 'some have not left');
  assert.equal(proxy.handler.requestsInFlight, 1, 'the one that is stuck');
  client.socket.resume();
  for (let i = 0; i < count; i++) assert.equal((await client.readResponse()).body.toString(), body);
  await waitFor('all lines', () => proxy.lines.length === count);
  assert.ok(proxy.lines.every(({ status, bytesOut }) => status === 200 && bytesOut === body.length));
});
