/** What one client may heap up by sending requests before it has their answers. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { waitFor } from '../support/wait.ts';
import { type CapturedRequest, ok, startCapturingBackend } from './capturing-backend.ts';
import { route, startProxy } from './support.ts';

const TINY = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';
const FAT_BYTES = 15_000;
const fat = (target: string) => `GET ${target} HTTP/1.1\r\nHost: a\r\nX: ${'v'.repeat(FAT_BYTES)}\r\n\r\n`;
/** Two reads of 64 KiB. */
const FAT_AHEAD_MAX = 2 * Math.ceil(65_536 / FAT_BYTES);

test('large heads behind an unanswered request are read no further than two reads, and all are answered later', async (t) => {
  const held: (() => void)[] = [];
  const backend = await startCapturingBackend(t, (request: CapturedRequest, socket) => {
    if (request.target !== '/0') return ok(request.target);
    held.push(() => socket.write(ok('/0')));
    return null;
  });
  const proxy = await startProxy(t, { backends: [backend] });
  const client = await proxy.connect();
  const targets = Array.from({ length: 400 }, (_, i) => `/${i}`);
  client.write(targets.map(fat).join(''));
  await waitFor('the first request at the backend', () => held.length === 1);
  await waitFor('requests that wait', () => proxy.server.waitingCount > 1);
  // Another client's round trip: whatever was readable has been read.
  for (let i = 0; i < 20; i++) {
    const other = await proxy.connect();
    other.write('GET /other HTTP/1.1\r\nHost: a\r\n\r\n');
    await other.readResponse();
    assert.ok(proxy.server.waitingCount <= FAT_AHEAD_MAX, `${proxy.server.waitingCount} requests wait`);
  }
  held[0]?.();
  for (const target of targets) assert.equal((await client.readResponse()).body.toString(), target);
  assert.equal(proxy.server.waitingCount, 0);
});

test('when too many requests wait in all, the clients that sent heaps are cut and modest ones are served', async (t) => {
  const held: (() => void)[] = [];
  const backend = await startCapturingBackend(t, (_request, socket) => {
    held.push(() => socket.writable && socket.write(ok('late')));
    return null;
  });
  const proxy = await startProxy(t, { backends: [backend] });
  const modest = await proxy.connect();
  modest.write(TINY.repeat(40));
  await waitFor('the modest one’s requests', () => proxy.server.waitingCount === 39);
  const greedy = await Promise.all(Array.from({ length: 12 }, () => proxy.connect()));
  for (const client of greedy) client.write(TINY.repeat(2_000));
  await waitFor('a greedy client to be cut', () => greedy.some((client) => client.closed || client.ended));
  assert.ok(proxy.metric('sluice_shed_total', 'overload') >= 1);
  for (const client of greedy) client.reset();
  await waitFor('their requests to be forgotten', () => proxy.server.waitingCount === 39);
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
  await waitFor('the heap to wait', () => held.length === 1 && proxy.server.waitingCount === heap);
  held[0]?.();
  assert.equal((await client.readResponse()).body.toString(), 'late');
  for (let i = 0; i < heap; i++) assert.equal((await client.readResponse()).status, 404);
  assert.equal(proxy.server.waitingCount, 0);
});

test('an answer that a slow client leaves half in the queue is over when it has left, and the next ones follow whole', async (t) => {
  const body = 'b'.repeat(16_000);
  const backend = await startCapturingBackend(t, () => ok(body));
  const proxy = await startProxy(t, { backends: [backend] });
  const client = await proxy.connect();
  client.socket.pause();
  const count = 1_000;
  client.write(TINY.repeat(count));
  let seen = -1;
  let unchanged = 0;
  await waitFor('the answers to get stuck', () => {
    unchanged = proxy.lines.length === seen ? unchanged + 1 : 0;
    seen = proxy.lines.length;
    return seen > 0 && unchanged > 20;
  });
  assert.ok(proxy.lines.length < count, 'some have not left');
  assert.equal(proxy.handler.requestsInFlight, 1);
  client.socket.resume();
  for (let i = 0; i < count; i++) assert.equal((await client.readResponse()).body.toString(), body);
  await waitFor('all lines', () => proxy.lines.length === count);
  assert.ok(proxy.lines.every(({ status, bytesOut }) => status === 200 && bytesOut === body.length));
});
