/** What one client may heap up by sending requests before it has their answers. */
import assert from 'node:assert/strict';
import { Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { DeadlineWheel } from '../../src/infra/deadline-wheel.ts';
import { InboundConnection } from '../../src/worker/inbound-connection.ts';
import { startRawBackend } from '../support/backend.ts';
import { waitFor } from '../support/wait.ts';
import { type CapturedRequest, ok, startCapturingBackend } from './capturing-backend.ts';
import { route, startProxy, type TestProxy } from './support.ts';

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
  await untilStuck(proxy);
  assert.ok(proxy.lines.length < count, 'some have not left');
  // Looks at a connection whose requests wait must not heap up writes behind the one that is stuck.
  const { write } = Socket.prototype;
  let writes = 0;
  const written = t.mock.method(Socket.prototype, 'write', function (this: Socket, ...given: [string]) {
    writes++;
    return write.apply(this, given);
  });
  let looks = 0;
  const { tick } = DeadlineWheel.prototype;
  const ticked = t.mock.method(DeadlineWheel.prototype, 'tick', function (this: DeadlineWheel) {
    looks++;
    tick.call(this);
  });
  await waitFor('looks', () => looks > 10);
  written.mock.restore();
  ticked.mock.restore();
  assert.equal(writes, 0);
  assert.equal(proxy.handler.requestsInFlight, 1);
  client.socket.resume();
  for (let i = 0; i < count; i++) assert.equal((await client.readResponse()).body.toString(), body);
  await waitFor('all lines', () => proxy.lines.length === count);
  assert.ok(proxy.lines.every(({ status, bytesOut }) => status === 200 && bytesOut === body.length));
});

/** More than one read brings, and few enough that a failing run ends. */
const FLOOD = 10_000;
const READ_MAX = Math.ceil(65_536 / TINY.length);

/** Counts the requests that the parser makes, and the times that it gives up. */
function watchParser(t: TestContext): { made: number; failed: number } {
  const seen = { made: 0, failed: 0 };
  const { take, fail } = InboundConnection.prototype;
  t.mock.method(
    InboundConnection.prototype,
    'take',
    function (this: InboundConnection, ...given: Parameters<typeof take>) {
      seen.made++;
      take.apply(this, given);
    },
  );
  t.mock.method(
    InboundConnection.prototype,
    'fail',
    function (this: InboundConnection, ...given: Parameters<typeof fail>) {
      seen.failed++;
      fail.apply(this, given);
    },
  );
  return seen;
}

/** A backend that begins an answer at once, and ends it when it is told. */
async function startSlowBackend(t: TestContext): Promise<{ port: number; finish: () => void }> {
  let finish = (): void => undefined;
  const backend = await startRawBackend((socket) => {
    socket.once('data', () =>
      socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n'),
    );
    finish = () => socket.end('1\r\nz\r\n0\r\n\r\n');
  });
  t.after(() => backend.close());
  return { port: backend.port, finish: () => finish() };
}

test('no requests are made of what comes behind one that was refused with close', async (t) => {
  const seen = watchParser(t);
  const proxy = await startProxy(t, {});
  const client = await proxy.connect();
  client.write(`GET / HTTP/1.1\r\n\r\n${TINY}`);
  const answer = await client.readResponse();
  assert.equal(answer.status, 400);
  assert.equal(answer.header('connection'), 'close');
  const flood = Buffer.from(TINY.repeat(FLOOD));
  client.write(flood);
  await waitFor('the flood to be read', () => client.socket.writableLength === 0);
  client.end();
  await waitFor('the connection to be over', () => proxy.server.connectionCount === 0);
  assert.ok(seen.made <= READ_MAX, `${seen.made} requests`);
});

test('what one packet brings behind a refused request counts as waiting, and heaps of it are cut', async (t) => {
  const proxy = await startProxy(t, {});
  const refused = 'GET / HTTP/1.1\r\n\r\n';
  const modest = await proxy.connect();
  modest.write(refused + TINY.repeat(10));
  assert.equal((await modest.readResponse()).status, 400);
  await waitFor('what it sent behind', () => proxy.server.waitingCount === 10);
  const greedy = await Promise.all(Array.from({ length: 12 }, () => proxy.connect()));
  for (const client of greedy) client.write(refused + TINY.repeat(2_000));
  await waitFor('a greedy client to be cut', () => proxy.metric('sluice_shed_total', 'overload') > 0);
  for (const client of [modest, ...greedy]) client.close();
  await waitFor('all to be forgotten', () => proxy.server.connectionCount === 0);
  assert.equal(proxy.server.waitingCount, 0);
});

test('no requests are made of what comes behind one whose answer ends the connection', async (t) => {
  const seen = watchParser(t);
  const backend = await startSlowBackend(t);
  const proxy = await startProxy(t, { backends: [backend] });
  const client = await proxy.connect();
  client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n1');
  // It is answered before its body is there.
  await client.waitForBytes('\r\na\r\n');
  client.write(`2${TINY}`);
  await waitFor('the request behind it', () => seen.made === 2);
  client.write(TINY.repeat(FLOOD));
  await waitFor('the flood to be read', () => client.socket.writableLength === 0);
  backend.finish();
  const answer = await client.readResponse();
  assert.equal(answer.body.toString(), 'az');
  assert.equal(answer.header('connection'), 'close');
  assert.equal((await client.waitForClose()).length, 0);
  assert.ok(seen.made <= 2 + READ_MAX, `${seen.made} requests`);
  assert.deepEqual(
    proxy.lines.map(({ status }) => status),
    [200],
  );
});

test('no requests are made of what comes behind a head that came too late', async (t) => {
  const seen = watchParser(t);
  const backend = await startSlowBackend(t);
  const proxy = await startProxy(t, { backends: [backend], timeouts: { headersMs: 100 } });
  const client = await proxy.connect();
  client.write(`${TINY}GET / HT`);
  await client.waitForBytes('\r\na\r\n');
  await waitFor('the head to be given up', () => seen.failed === 1);
  client.write(`TP/1.1\r\nHost: a\r\n\r\n${TINY.repeat(FLOOD)}`);
  await waitFor('the flood to be read', () => client.socket.writableLength === 0);
  backend.finish();
  assert.equal((await client.readResponse()).body.toString(), 'az');
  assert.equal((await client.readResponse()).status, 408);
  assert.equal((await client.waitForClose()).length, 0);
  assert.ok(seen.made <= 1 + READ_MAX, `${seen.made} requests`);
});
