import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { test } from 'node:test';
import { CHUNKED_BODY } from '../../src/contract/request-head.ts';
import { startRawBackend } from '../support/backend.ts';
import { PoisonedBuffers } from '../support/poisoned-buffers.ts';
import { waitFor } from '../support/wait.ts';
import { OK } from './pool-backends.ts';
import { get, makePool, RecordingSink, send } from './support.ts';
import { recording, UploadingSink, upload, uploadMuch } from './upload-support.ts';

test('a backend that stops reading blocks the upload within bounded memory; when it reads on, the upload completes', async (t) => {
  let socket: Socket | null = null;
  let receivedBytes = 0;
  const TOTAL = 64 << 20;
  const backend = await startRawBackend((accepted) => {
    socket = accepted;
    accepted.pause();
    accepted.on('data', (data) => {
      receivedBytes += data.length;
      if (receivedBytes > TOTAL) accepted.write(OK);
    });
  });
  t.after(() => backend.close());
  const pool = makePool(t, { port: backend.port });
  const piece = Buffer.alloc(65_536, 'u');
  const pieces = Array.from({ length: TOTAL / piece.length }, () => piece);
  const sink = upload(pool, { bodyLength: TOTAL }, new UploadingSink(pieces));
  await waitFor('the upload to be stopped', () => sink.stopCount > sink.drainCount);
  let before = -1;
  await waitFor(
    'the upload to stand still',
    () => {
      const still = before === sink.sentBytes;
      before = sink.sentBytes;
      return still;
    },
    { everyMs: 50 },
  );
  // More than the kernel buffers on loopback, plus one batch.
  assert.ok(sink.sentBytes < 24 << 20, `${sink.sentBytes} bytes were taken`);
  (socket as Socket | null)?.resume();
  await waitFor('the upload to finish', () => sink.over);
  assert.equal(sink.error, null);
  assert.ok(receivedBytes > TOTAL);
  assert.equal(pool.parkedCount, 1);
});

test('B15: a backend that stops reading the request is upstream_timeout', async (t) => {
  const backend = await startRawBackend((socket) => socket.pause());
  t.after(() => backend.close());
  const pool = makePool(t, { port: backend.port, idleMs: 200, responseMs: 100 });
  const startMs = performance.now();
  const sink = uploadMuch(pool);
  await sink.finished();
  assert.equal(sink.error?.code, 'upstream_timeout');
  assert.match(sink.error?.message ?? '', /stopped reading/);
  assert.ok(performance.now() - startMs >= 200);
});

test('B14: the response deadline begins with the last byte of the upload', async (t) => {
  const { port } = await recording(t, 'end');
  const pool = makePool(t, { port, responseMs: 120 });
  const sink = send(pool, get('/up', { method: 'POST', bodyLength: CHUNKED_BODY }), new RecordingSink());
  await waitFor('the connection', () => sink.calls.length > 0);
  const startMs = performance.now();
  await waitFor('three times the response deadline', () => {
    sink.exchange?.writeBody(Buffer.from('x'));
    return sink.over || performance.now() - startMs > 360;
  });
  assert.deepEqual(sink.calls, ['connected']);
  sink.exchange?.endBody([]);
  await sink.finished();
  assert.equal(sink.error?.code, 'upstream_timeout');
});

test('a final answer before the end of the body is delivered, and the connection closes', async (t) => {
  const backend = await startRawBackend((socket) => {
    socket.once('data', () => socket.write('HTTP/1.1 413 Too Much\r\nContent-Length: 3\r\n\r\nbig'));
  });
  t.after(() => backend.close());
  const pool = makePool(t, { port: backend.port });
  const sink = send(pool, get('/up', { method: 'POST', bodyLength: 1_000_000 }), new RecordingSink());
  await sink.finished();
  assert.equal(sink.head?.status, 413);
  assert.equal(sink.body.toString(), 'big');
  assert.equal(sink.exchange?.writeBody(Buffer.alloc(10)), true, 'a no-op after the end');
  sink.exchange?.endBody([]);
  await waitFor('the connection to close', () => pool.openCount === 0);
});

test('an answer may stream while the body is still being sent, and both complete', async (t) => {
  const server = createServer((request, response) => {
    response.flushHeaders();
    let received = '';
    request.on('data', (data) => {
      received += String(data);
    });
    request.on('end', () => response.end(received));
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  t.after(() => server.close());
  const pool = makePool(t, { port: (server.address() as AddressInfo).port, idleMs: 250 });
  const sink = send(pool, get('/up', { method: 'POST', bodyLength: CHUNKED_BODY }), new RecordingSink());
  await waitFor('the early head', () => sink.head !== null);
  const startMs = performance.now();
  let sent = '';
  // Longer than idleMs in total: a slow client does not count as silence of the backend.
  await waitFor(
    'an upload for longer than idleMs',
    () => {
      sent += 'ping';
      sink.exchange?.writeBody(Buffer.from('ping'));
      return performance.now() - startMs > 600;
    },
    { everyMs: 40 },
  );
  sink.exchange?.endBody([]);
  await sink.finished();
  assert.equal(sink.error, null);
  assert.equal(sink.body.toString(), sent);
  assert.equal(pool.parkedCount, 1, 'request and response are both complete');
});

for (const how of ['FIN', 'RST'] as const) {
  test(`an answer followed by ${how} is delivered although writing the upload fails`, async (t) => {
    for (let round = 0; round < 20; round++) {
      const backend = await startRawBackend((socket) => {
        socket.pause();
        // The request stays unread, so close() resets the connection after the answer.
        const answer = 'HTTP/1.1 413 Too Much\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig';
        if (how === 'FIN') socket.end(answer, () => setImmediate(() => socket.destroy()));
        else socket.write(answer, () => socket.destroy());
      });
      const pool = makePool(t, { port: backend.port });
      const sink = uploadMuch(pool);
      await sink.finished();
      await backend.close();
      assert.equal(sink.error, null, `round ${round}: ${sink.error?.message}`);
      assert.equal(sink.head?.status, 413);
      assert.equal(sink.body.toString(), 'big');
    }
  });
}

test('an upload into a reset connection ends as upstream_reset', async (t) => {
  const backend = await startRawBackend((socket) => {
    socket.once('data', () => socket.resetAndDestroy());
  });
  t.after(() => backend.close());
  const pool = makePool(t, { port: backend.port });
  const sink = uploadMuch(pool);
  await sink.finished();
  assert.equal(sink.error?.code, 'upstream_reset');
  assert.equal(sink.error?.retryable, false);
});

test('a body that differs from its announced length never affects the next request', async (t) => {
  const { port, received } = await recording(t, 'never');
  const pool = makePool(t, { port });
  const long = send(pool, get('/up', { method: 'POST', bodyLength: 4 }), new RecordingSink());
  await waitFor('the connection', () => long.calls.length > 0);
  long.exchange?.writeBody(Buffer.from('1234'));
  await waitFor('the announced body', () => received().endsWith('1234'));
  long.exchange?.writeBody(Buffer.from('5'));
  assert.equal(long.error?.code, 'internal_error');
  const short = upload(pool, { bodyLength: 4 }, new UploadingSink([Buffer.from('123')]));
  await short.finished();
  assert.equal(short.error?.code, 'internal_error');
  const none = send(pool, get(), new RecordingSink());
  await waitFor('the request without a body', () => received().includes('GET '));
  none.exchange?.writeBody(Buffer.from('x'));
  assert.equal(none.error?.code, 'internal_error');
  const early = send(pool, get('/up', { method: 'POST', bodyLength: 4 }), new RecordingSink());
  early.exchange?.writeBody(Buffer.from('1234'));
  assert.equal(early.error?.code, 'internal_error', 'no body byte before onConnected');
  await waitFor('all connections to close', () => pool.openCount === 0);
  assert.doesNotMatch(received(), /12345/);
});

for (const method of ['GET', 'HEAD', 'DELETE', 'OPTIONS']) {
  test(`a body on ${method} is forwarded with framing; only after GET and HEAD the connection closes`, async (t) => {
    const answer = method === 'HEAD' ? 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n' : OK;
    const { port, received } = await recording(t, 'abc', answer);
    const pool = makePool(t, { port });
    await upload(pool, { method, bodyLength: 3 }, new UploadingSink([Buffer.from('abc')])).finished();
    assert.match(received(), /Content-Length: 3\r\n\r\nabc$/);
    assert.equal(pool.parkedCount, method === 'GET' || method === 'HEAD' ? 0 : 1);
  });
}

test('an abort of a blocked upload leaves no socket open and no request counted', async (t) => {
  const backend = await startRawBackend((socket) => socket.pause());
  t.after(() => backend.close());
  const buffers = new PoisonedBuffers();
  const pool = makePool(t, { port: backend.port, buffers });
  const sink = uploadMuch(pool, CHUNKED_BODY);
  await waitFor('the upload to be stopped', () => sink.stopCount > sink.drainCount);
  sink.exchange?.destroy({ memoryIsFree: false });
  await waitFor('no socket', () => pool.openCount === 0, { everyMs: 1 });
  assert.equal(sink.error, null);
});
