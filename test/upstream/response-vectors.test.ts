import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { fieldsOf } from '../../src/http1/field-lines.ts';
import { startRawBackend } from '../support/backend.ts';
import { waitFor } from '../support/wait.ts';
import { ask, get, makePool, RecordingSink, send } from './support.ts';
import { VECTORS, type Vector } from './vectors.ts';

const NEXT_ANSWER = 'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext';
const DRIP_MAX_BYTES = 400;

/** The first request that a backend sees gets the vector's bytes, every later one the same good answer. */
async function runVector(t: TestContext, vector: Vector, drip: boolean) {
  let requestCount = 0;
  const sockets: Socket[] = [];
  const backend = await startRawBackend((socket) => {
    sockets.push(socket);
    socket.on('data', () => {
      if (requestCount++ > 0) socket.write(NEXT_ANSWER);
      else if (drip) void writeSlowly(socket, vector);
      else if (vector.fin) socket.end(vector.bytes, 'latin1');
      else socket.write(vector.bytes, 'latin1');
    });
  });
  t.after(() => backend.close());
  const pool = makePool(t, { port: backend.port });
  const sink = await ask(pool, get('/', { method: vector.method ?? 'GET' }));
  return { pool, sink, sockets };
}

/** One byte per turn of the event loop, which is mostly one byte per read of the pool. */
async function writeSlowly(socket: Socket, vector: Vector): Promise<void> {
  for (const byte of Buffer.from(vector.bytes, 'latin1')) {
    if (socket.destroyed) return;
    socket.write(Buffer.of(byte));
    await new Promise(setImmediate);
  }
  if (vector.fin) socket.end();
}

function check(vector: Vector, sink: RecordingSink): void {
  const { expected } = vector;
  if (typeof expected === 'string') {
    assert.equal(sink.error?.code, expected);
    assert.equal(sink.error?.retryable, false);
    assert.equal(sink.ended, false);
    return;
  }
  assert.equal(sink.error, null);
  assert.equal(sink.head?.status, expected.status);
  assert.equal(sink.body.toString('latin1'), expected.body ?? '');
  assert.deepEqual(sink.interims, expected.interims ?? []);
  assert.deepEqual(sink.trailers, expected.trailers ?? []);
  if (expected.headers !== undefined) assert.deepEqual(fieldsOf(sink.head?.lines ?? ''), expected.headers);
  if (expected.reason !== undefined) assert.equal(sink.head?.reason, expected.reason);
  if (expected.contentLength !== undefined) assert.equal(sink.head?.contentLength, expected.contentLength);
}

function leavesReusable({ expected }: Vector): boolean {
  return typeof expected !== 'string' && expected.reused;
}

for (const vector of VECTORS) {
  test(`over a socket: ${vector.name}`, async (t) => {
    const { pool, sink, sockets } = await runVector(t, vector, false);
    check(vector, sink);
    const reused = leavesReusable(vector);
    assert.equal(pool.parkedCount, reused ? 1 : 0);
    if (!reused) {
      await waitFor('the connection to be destroyed', () => pool.openCount === 0);
    }
    // Finds desync: the next request must get its own answer.
    const next = await ask(pool);
    assert.equal(next.body.toString(), 'next');
    assert.equal(next.exchange?.reused, reused);
    assert.equal(sockets.length, reused ? 1 : 2);
    assert.deepEqual(pool.faults, []);
  });

  if (vector.bytes.length <= DRIP_MAX_BYTES) {
    test(`over a socket, in 1-byte segments: ${vector.name}`, async (t) => {
      const { pool, sink } = await runVector(t, vector, true);
      check(vector, sink);
      const reused = typeof vector.expected !== 'string' && vector.expected.reused;
      // Bytes behind the answer may arrive after its end.
      if (!reused) await waitFor('the connection to be destroyed', () => pool.openCount === 0);
      const next = await ask(pool);
      assert.equal(next.body.toString(), 'next');
    });
  }
}

test('the calls to a sink come in the promised order over several reads', async (t) => {
  const vector = VECTORS.find(({ name }) => name.startsWith('trailers'));
  assert.ok(vector !== undefined);
  const { sink } = await runVector(t, { ...vector, bytes: `HTTP/1.1 103 E\r\n\r\n${vector.bytes}` }, false);
  assert.deepEqual(sink.calls, ['information', 'head', 'body', 'end']);
});

test('bytes on a parked connection destroy it, and the next request never sees them', async (t) => {
  const sockets: Socket[] = [];
  const backend = await startRawBackend((socket) => {
    sockets.push(socket);
    socket.on('data', () => socket.write(NEXT_ANSWER));
  });
  t.after(() => backend.close());
  const pool = makePool(t, { port: backend.port });
  await ask(pool);
  assert.equal(pool.parkedCount, 1);
  sockets[0]?.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil');
  await waitFor('the parked connection to be destroyed', () => pool.openCount === 0);
  assert.equal(pool.parkedCount, 0);
  assert.equal((await ask(pool)).body.toString(), 'next');
});

test('a reset does not complete a close-delimited body', async (t) => {
  const backend = await startRawBackend((socket) => {
    socket.once('data', () => socket.write('HTTP/1.1 200 OK\r\n\r\npart'));
    // The client confirms that the bytes have arrived.
    socket.on('data', (data) => {
      if (data.includes('more')) socket.resetAndDestroy();
    });
  });
  t.after(() => backend.close());
  const pool = makePool(t, { port: backend.port });
  const { RecordingSink, send } = await import('./support.ts');
  const sink = send(pool, get('/', { method: 'POST', bodyLength: 8 }), new RecordingSink());
  await waitFor('the first part', () => sink.body.length === 4);
  sink.exchange?.writeBody(Buffer.from('more'));
  await sink.finished();
  assert.equal(sink.error?.code, 'upstream_reset');
  assert.equal(sink.ended, false);
});

test('a dribbled head is cut at the response deadline', async (t) => {
  const backend = await startRawBackend((socket) => {
    socket.once('data', () => {
      const timer = setInterval(() => socket.write('X'), 20);
      socket.write('HTTP/1.1 200 OK\r\n');
      socket.on('close', () => clearInterval(timer));
    });
  });
  t.after(() => backend.close());
  const pool = makePool(t, { port: backend.port, responseMs: 150 });
  const sink = await ask(pool);
  assert.equal(sink.error?.code, 'upstream_timeout');
  assert.equal(sink.head, null);
});

test('a final head that is split after an interim one keeps its own body', async (t) => {
  const backend = await startRawBackend((socket) => {
    socket.once('data', () => {
      socket.write(
        'HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\nContent-',
      );
      socket.once('data', () => socket.write('Length: 4\r\n\r\nbody'));
    });
  });
  t.after(() => backend.close());
  const pool = makePool(t, { port: backend.port });
  const sink = send(pool, get('/', { method: 'PUT', bodyLength: 1 }), new RecordingSink());
  await waitFor('the interim answer', () => sink.interims.length > 0);
  sink.exchange?.writeBody(Buffer.from('x'));
  sink.exchange?.endBody([]);
  await sink.finished();
  assert.equal(sink.body.toString('latin1'), 'body');
});
