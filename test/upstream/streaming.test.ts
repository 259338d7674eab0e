import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { type AddressInfo, createConnection, createServer as createTcpServer, type Socket } from 'node:net';
import { test } from 'node:test';
import { BodyBuffers, FIRST_BUFFER_BYTES, LARGE_BUFFER_BYTES } from '../../src/memory/body-buffers.ts';
import { startRawBackend } from '../support/backend.ts';
import { firstMismatch } from '../support/pattern.ts';
import { POISON, PoisonedBuffers } from '../support/poisoned-buffers.ts';
import { waitFor } from '../support/wait.ts';
import { ask, get, listen, makePool, RecordingSink, send } from './support.ts';

/** Bytes that show their body and place: id and offset every 8 bytes. */
function patternOf(id: number, bytes: number): Buffer {
  const made = Buffer.alloc(bytes);
  for (let i = 0; i + 8 <= bytes; i += 8) {
    made.writeUInt32LE(id, i);
    made.writeUInt32LE(i, i + 4);
  }
  return made;
}

/** Keeps every chunk until passOn(), like a client that reads slowly. */
class SlowSink extends RecordingSink {
  /** The memory itself, not copies: a slow client's socket would read it later. */
  views: Buffer[] = [];
  waiting = false;
  receivedBytes = 0;

  override onBody(chunk: Buffer): boolean {
    assert.equal(this.waiting, false, 'no chunk while one is waiting');
    this.views.push(chunk);
    this.receivedBytes += chunk.length;
    this.waiting = true;
    return false;
  }

  override onEnd(rawTrailers: string[]): boolean {
    super.onEnd(rawTrailers);
    return !this.waiting;
  }

  /** The client reads now, and gets what the memory holds now. */
  passOn(): void {
    for (const view of this.views) this.chunks.push(Buffer.from(view));
    this.views = [];
    this.waiting = false;
    if (this.ended) this.exchange?.settled();
    else this.exchange?.resume();
  }
}

test('a sink that refuses data pauses the backend, and gets everything after resume', async (t) => {
  const TOTAL = 32 << 20;
  const IDLE_MS = 400;
  const whole = patternOf(3, TOTAL);
  let handedBytes = 0;
  const backend = await startRawBackend((socket) => {
    socket.once('data', () => {
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${TOTAL}\r\n\r\n`);
      const pump = (): void => {
        while (handedBytes < TOTAL) {
          const part = whole.subarray(handedBytes, handedBytes + 65_536);
          handedBytes += part.length;
          if (!socket.write(part)) return;
        }
      };
      socket.on('drain', pump);
      pump();
    });
  });
  t.after(() => backend.close());
  const buffers = new PoisonedBuffers();
  const pool = makePool(t, { port: backend.port, buffers, idleMs: IDLE_MS });
  const sink = send(pool, get(), new SlowSink());
  for (let i = 0; i < 3; i++) {
    await waitFor('the first bytes', () => sink.waiting);
    if (i < 2) sink.passOn();
  }
  let before = -1;
  await waitFor(
    'the backend to stand still',
    () => {
      const still = before === handedBytes;
      before = handedBytes;
      return still;
    },
    { everyMs: 60 },
  );
  assert.ok(handedBytes < 16 << 20, `the backend could send ${handedBytes} bytes`);
  assert.ok(sink.receivedBytes <= 2 * FIRST_BUFFER_BYTES + LARGE_BUFFER_BYTES, 'one buffer at a time');
  // A wait for the client does not count as silence of the backend.
  const startMs = performance.now();
  await waitFor('twice the idle deadline', () => performance.now() - startMs > 2 * IDLE_MS);
  assert.equal(sink.error, null);
  await waitFor(
    'the whole body',
    () => {
      if (sink.waiting) sink.passOn();
      return sink.over && !sink.waiting;
    },
    { everyMs: 0, timeoutMs: 20_000 },
  );
  assert.equal(sink.error, null);
  assert.ok(sink.body.equals(whole));
  assert.equal(pool.parkedCount, 1);
  assert.equal(buffers.largeLiveCount, 0, 'large buffers are given back');
});

test('a stream that fills its buffer gets a larger one, within a budget', async (t) => {
  const body = patternOf(1, 4 << 20);
  const server = createServer((_request, response) => response.end(body));
  const port = await listen(t, server);
  const buffers = new BodyBuffers();
  const pool = makePool(t, { port, buffers });
  let largest = 0;
  let largeLiveMax = 0;
  class MeasuringSink extends RecordingSink {
    override onBody(chunk: Buffer): boolean {
      largest = Math.max(largest, chunk.length);
      largeLiveMax = Math.max(largeLiveMax, buffers.largeLiveCount);
      return super.onBody(chunk);
    }
  }
  const sinks = Array.from({ length: 40 }, () => send(pool, get(), new MeasuringSink()));
  for (const sink of sinks) {
    await waitFor('all bodies', () => sink.over);
    assert.ok(sink.body.equals(body));
  }
  assert.ok(largest > FIRST_BUFFER_BYTES);
  assert.ok(largeLiveMax <= 32);
  assert.equal(buffers.largeLiveCount, 0);
  assert.ok(buffers.pooledCount <= 32);
});

test('slow readers among fast ones get their own bytes, and their memory is not reused meanwhile', async (t) => {
  const SLOW_BYTES = 6 << 20;
  const bodies = new Map<string, Buffer>();
  const bodyOf = (target: string): Buffer => {
    const known = bodies.get(target);
    if (known !== undefined) return known;
    const id = Number(target.split('/')[2]);
    const made = patternOf(id, target.startsWith('/slow') ? SLOW_BYTES : 20_000 + id * 997);
    bodies.set(target, made);
    return made;
  };
  const server = createServer((request, response) => {
    const body = bodyOf(request.url ?? '');
    // Half of them chunked.
    if ((request.url ?? '').endsWith('c')) response.writeHead(200);
    else response.writeHead(200, { 'content-length': body.length });
    response.end(body);
  });
  server.keepAliveTimeout = 0;
  const port = await listen(t, server);
  const buffers = new PoisonedBuffers();
  const pool = makePool(t, { port, buffers });
  const slow = ['/slow/1001/', '/slow/1002/c', '/slow/1003/', '/slow/1004/c'].map((target) => ({
    target,
    sink: send(pool, get(target), new SlowSink()),
  }));
  let stopped = false;
  let fastCount = 0;
  const fast = Array.from({ length: 32 }, async (_, i) => {
    const target = `/fast/${i + 1}/${i % 2 === 0 ? 'c' : ''}`;
    while (!stopped) {
      const sink = await ask(pool, get(target));
      assert.equal(sink.error, null);
      assert.ok(sink.body.equals(bodyOf(target)), `${target} got other bytes`);
      fastCount++;
    }
  });
  let passCount = 0;
  await waitFor(
    'the slow readers to finish',
    () => {
      for (const { sink } of slow) if (sink.waiting) sink.passOn();
      passCount++;
      return slow.every(({ sink }) => sink.over && !sink.waiting);
    },
    { everyMs: 4, timeoutMs: 30_000 },
  );
  stopped = true;
  await Promise.all(fast);
  for (const { target, sink } of slow) {
    assert.equal(sink.error, null);
    const mismatch = firstMismatch(sink.body, bodyOf(target));
    assert.equal(mismatch, -1, `${target} differs at ${mismatch} of ${sink.body.length}`);
  }
  assert.ok(fastCount > passCount, `${fastCount} fast answers during ${passCount} slow steps`);
  assert.equal(buffers.largeLiveCount, 0);
});

test('a buffer is given back at settled; when its exchange is destroyed before, it is never reused', async (t) => {
  const body = patternOf(9, 40_000);
  const server = createServer((_request, response) => response.end(body));
  const port = await listen(t, server);
  for (const ok of [true, false]) {
    const buffers = new PoisonedBuffers();
    const pool = makePool(t, { port, buffers });
    const sink = send(pool, get(), new SlowSink());
    await waitFor('the end or a wait', () => sink.over || sink.waiting);
    while (!sink.over) {
      sink.passOn();
      await waitFor('the end or a wait', () => sink.over || sink.waiting);
    }
    assert.equal(sink.waiting, true, 'the last chunk is still on its way');
    assert.equal(pool.parkedCount, 1, 'its connection may already serve the next');
    // Other requests run meanwhile; the held memory must not change.
    for (let i = 0; i < 3; i++) assert.ok((await ask(pool)).body.equals(body));
    const view = sink.views[0];
    assert.ok(view !== undefined);
    const offset = sink.body.length;
    assert.ok(view.equals(body.subarray(offset)));
    const pooledBefore = buffers.pooledCount;
    if (ok) sink.exchange?.settled();
    else sink.exchange?.destroy({ memoryIsFree: false });
    sink.exchange?.settled();
    sink.exchange?.destroy({ memoryIsFree: true });
    assert.equal(buffers.pooledCount, pooledBefore + (ok ? 1 : 0));
    assert.equal(view[0] === POISON, ok);
  }
});

test('destroy gives back memory that nobody reads, also while the last bytes are on their way', async (t) => {
  const server = createServer((request, response) =>
    response.end(patternOf(9, Number(request.url?.slice(1)))),
  );
  const port = await listen(t, server);
  const buffers = new PoisonedBuffers();
  const pool = makePool(t, { port, buffers });
  const cases = [false, true].flatMap((atEnd) =>
    [false, true].map((memoryIsFree) => ({ atEnd, memoryIsFree })),
  );
  for (const { atEnd, memoryIsFree } of cases) {
    const sink = send(pool, get(atEnd ? '/60000' : '/900000'), new SlowSink());
    await waitFor('a wait', () => sink.waiting);
    assert.ok(atEnd || !sink.ended);
    while (atEnd && !sink.over) {
      sink.passOn();
      await waitFor('the end or a wait', () => sink.over || sink.waiting);
    }
    const pooledBefore = buffers.pooledCount;
    const view = sink.views[0];
    const copy = Buffer.from(view ?? '');
    sink.exchange?.destroy({ memoryIsFree });
    assert.equal(buffers.pooledCount, pooledBefore + (memoryIsFree ? 1 : 0));
    assert.equal(view?.equals(copy), !memoryIsFree);
  }
});

test('resume inside onBody continues the reading', async (t) => {
  const body = patternOf(2, 1 << 20);
  const server = createServer((_request, response) => response.end(body));
  const port = await listen(t, server);
  const pool = makePool(t, { port });
  class EagerSink extends RecordingSink {
    override onBody(chunk: Buffer): boolean {
      super.onBody(chunk);
      this.exchange?.resume();
      return false;
    }
  }
  const sink = await send(pool, get(), new EagerSink()).finished();
  assert.equal(sink.error, null);
  assert.ok(sink.body.equals(body));
});

test('B29: each server-sent event arrives when it is sent', async (t) => {
  const sockets: Socket[] = [];
  const backend = await startRawBackend((socket) => {
    sockets.push(socket);
    socket.once('data', () =>
      socket.write(
        'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n',
      ),
    );
  });
  t.after(() => backend.close());
  const pool = makePool(t, { port: backend.port });
  const sink = send(pool, get(), new RecordingSink());
  await waitFor('the head', () => sink.head !== null);
  for (let i = 0; i < 5; i++) {
    const event = `data: ${i}\n\n`;
    const startMs = performance.now();
    sockets[0]?.write(`${event.length.toString(16)}\r\n${event}\r\n`);
    await waitFor('the event', () => sink.chunks.length === i + 1, { everyMs: 1 });
    assert.ok(performance.now() - startMs < 50);
    assert.equal(sink.chunks[i]?.toString(), event);
  }
  sink.exchange?.destroy({ memoryIsFree: false });
});

test('many small chunks of one read reach the sink as one piece', async (t) => {
  const words = Array.from({ length: 200 }, (_, i) => `word ${i};`);
  const chunks = words.map((word) => `${word.length.toString(16)}\r\n${word}\r\n`).join('');
  const backend = await startRawBackend((socket) => {
    socket.once('data', () => socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'));
    socket.on('data', (data) => {
      if (data.includes('go')) socket.write(`${chunks}0\r\nX: 1\r\n\r\n`);
    });
  });
  t.after(() => backend.close());
  const pool = makePool(t, { port: backend.port });
  const sink = send(pool, get('/', { method: 'POST', bodyLength: 2 }), new RecordingSink());
  await waitFor('the head', () => sink.head !== null);
  sink.exchange?.writeBody(Buffer.from('go'));
  sink.exchange?.endBody([]);
  await sink.finished();
  assert.equal(sink.body.toString(), words.join(''));
  assert.equal(sink.chunks.length, 1);
  assert.deepEqual(sink.trailers, ['X', '1']);
});

test('a slow client on a real socket gets its own bytes when buffers are given back on write completion', async (t) => {
  const body = patternOf(77, 8 << 20);
  const server = createServer((_request, response) => response.end(body));
  const port = await listen(t, server);
  const buffers = new PoisonedBuffers();
  const pool = makePool(t, { port, buffers });
  /** Like the proxy: writes, and resumes once everything written before has left. */
  class SocketSink extends RecordingSink {
    client: Socket | null = null;
    override onBody(chunk: Buffer): boolean {
      const client = this.client;
      if (client === null) return true;
      client.write(chunk);
      if (client.writableLength === 0) return true;
      client.write('', () => this.exchange?.resume());
      return false;
    }
    override onEnd(): boolean {
      this.ended = true;
      this.client?.end(() => this.exchange?.settled());
      return false;
    }
  }
  const front = createTcpServer((client) => {
    const sink = new SocketSink();
    sink.client = client;
    send(pool, get(), sink);
  });
  await new Promise<void>((resolve) => {
    front.listen(0, '127.0.0.1', resolve);
  });
  t.after(() => front.close());
  const readers = Array.from({ length: 12 }, async () => {
    const socket = createConnection((front.address() as AddressInfo).port, '127.0.0.1');
    const parts: Buffer[] = [];
    let size = 0;
    socket.on('data', (data: Buffer) => {
      parts.push(data);
      size += data.length;
      socket.pause();
      setTimeout(() => socket.resume(), size % 3);
    });
    await waitFor('a slow client to have all', () => size === body.length || socket.destroyed);
    socket.destroy();
    return firstMismatch(Buffer.concat(parts), body);
  });
  assert.deepEqual(await Promise.all(readers), Array(12).fill(-1));
});
