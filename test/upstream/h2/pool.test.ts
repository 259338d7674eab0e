import assert from 'node:assert/strict';
import { createServer as createHttpServer } from 'node:http';
import type { ServerHttp2Stream } from 'node:http2';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { freePort } from '../../support/free-port.ts';
import { answerOk, fieldBlock, startFrameBackend, startH2Backend } from '../../support/h2-backends.ts';
import { frame, settings, TYPES } from '../../support/h2-frames.ts';
import { waitFor } from '../../support/wait.ts';
import { ask, get, listen, makeH2Pool, RecordingSink, send } from '../support.ts';
import { post } from './support.ts';

/** SETTINGS_MAX_CONCURRENT_STREAMS. */
const MAX_STREAMS = 3;

test('requests share one connection, also those that come before it is open', async (t) => {
  const backend = await startH2Backend(t, answerOk);
  const pool = makeH2Pool(t, { port: backend.port });
  const sinks = await Promise.all(Array.from({ length: 50 }, () => ask(pool)));
  assert.ok(sinks.every((sink) => sink.body.toString() === 'ok'));
  await ask(pool);
  assert.equal(backend.sessions.length, 1);
  assert.equal(pool.openCount, 1);
});

test('a connection is opened only where all streams of the others are taken, and no more than the backend allows begin', async (t) => {
  let open = 0;
  let mostOpen = 0;
  const waiting: ServerHttp2Stream[] = [];
  const backend = await startH2Backend(
    t,
    (stream) => {
      open++;
      mostOpen = Math.max(mostOpen, open);
      stream.on('close', () => open--);
      waiting.push(stream);
    },
    { settings: { maxConcurrentStreams: 2 } },
  );
  const pool = makeH2Pool(t, { port: backend.port });
  const sinks = Array.from({ length: 5 }, () => send(pool, get(), new RecordingSink()));
  await waitFor('all requests to arrive', () => waiting.length === 5);
  assert.equal(backend.sessions.length, 3);
  assert.equal(mostOpen, 5);
  for (const stream of waiting) answerOk(stream);
  await Promise.all(sinks.map((sink) => sink.finished()));
  assert.ok(sinks.every((sink) => sink.body.toString() === 'ok'));
  const more = Array.from({ length: 6 }, () => send(pool, get(), new RecordingSink()));
  await waitFor('all further requests to arrive', () => waiting.length === 11);
  assert.equal(backend.sessions.length, 3, 'the connections are used again');
  for (const stream of waiting.slice(5)) answerOk(stream);
  await Promise.all(more.map((sink) => sink.finished()));
});

test('an answer that has come whole takes no stream, however slowly its client reads', async (t) => {
  const backend = await startH2Backend(
    t,
    (stream) => {
      stream.respond({ ':status': 200 }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'x-sum': '1' }));
      stream.end(Buffer.alloc(50_000));
    },
    { settings: { maxConcurrentStreams: 1 } },
  );
  const pool = makeH2Pool(t, { port: backend.port });
  class SlowSink extends RecordingSink {
    override onBody(chunk: Buffer): boolean {
      super.onBody(chunk);
      return false;
    }
  }
  const slow = send(pool, get(), new SlowSink());
  await waitFor('the whole answer', () => slow.exchange?.whole === true);
  assert.equal(slow.chunks.length, 1);
  assert.equal((await ask(pool)).body.length, 50_000);
  assert.equal(backend.sessions.length, 1, 'on the same connection');
  pool.close();
  await waitFor('the connection to close', () => pool.openCount === 0);
  while (!slow.over) slow.exchange?.resume();
  assert.equal(slow.body.length, 50_000);
  assert.deepEqual(slow.trailers, ['x-sum', '1']);
});

test('SETTINGS that name no number of streams leave it as it was', async (t) => {
  let requests = 0;
  const opening = Buffer.concat([settings([MAX_STREAMS, 1]), settings()]);
  const backend = await startFrameBackend(
    t,
    (_socket, { type }) => void (type === TYPES.headers && requests++),
    opening,
  );
  const pool = makeH2Pool(t, { port: backend.port });
  const sinks = [1, 2].map(() => send(pool, get(), new RecordingSink()));
  await waitFor('both requests', () => requests === 2);
  assert.equal(backend.sockets.length, 2);
  for (const sink of sinks) sink.exchange?.destroy({ memoryIsFree: true });
});

test('a request that finds no free stream in time is backend_busy, and may go elsewhere', async (t) => {
  const backend = await startH2Backend(t, answerOk, { settings: { maxConcurrentStreams: 0 } });
  const pool = makeH2Pool(t, { port: backend.port, connectMs: 100 });
  const sink = await ask(pool);
  assert.equal(sink.error?.code, 'backend_busy');
  assert.equal(sink.error?.retryable, true);
  assert.equal(backend.sessions.length, 1, 'another connection would not help');
});

test('the requests that wait are bounded', async (t) => {
  const backend = await startH2Backend(t, answerOk, { settings: { maxConcurrentStreams: 0 } });
  const pool = makeH2Pool(t, { port: backend.port });
  const sinks = Array.from({ length: 1024 }, () => send(pool, get(), new RecordingSink()));
  const sink = await ask(pool);
  assert.equal(sink.error?.code, 'backend_busy');
  assert.ok(sinks.every((each) => !each.over));
  for (const each of sinks) each.exchange?.destroy({ memoryIsFree: true });
});

test('a request that leaves while it waits is never sent', async (t) => {
  const backend = await startH2Backend(t, answerOk);
  const pool = makeH2Pool(t, { port: backend.port });
  const gone = send(pool, get('/gone'), new RecordingSink());
  gone.exchange?.destroy({ memoryIsFree: true });
  await ask(pool, get('/stays'));
  assert.equal(backend.requests.length, 1);
  assert.equal(gone.over, false);
});

test('a backend that cannot be connected is connect_failed for all that wait, and may be tried elsewhere', async (t) => {
  const pool = makeH2Pool(t, { port: await freePort() });
  const sinks = await Promise.all([ask(pool), ask(pool, post())]);
  for (const sink of sinks) {
    assert.equal(sink.error?.code, 'connect_failed');
    assert.equal(sink.error?.retryable, true);
    assert.deepEqual(sink.calls, ['error']);
  }
});

test('a backend that speaks HTTP/1.1 only, or nothing, never gets a request', async (t) => {
  let requests = 0;
  const port = await listen(
    t,
    createHttpServer(() => requests++),
  );
  const plain = await ask(makeH2Pool(t, { port }));
  assert.equal(plain.error?.code, 'connect_failed');
  assert.match(plain.error?.message ?? '', /does not speak HTTP\/2/);
  assert.equal(requests, 0);
  const mute = await startFrameBackend(t, () => undefined, null);
  const silent = await ask(makeH2Pool(t, { port: mute.port, connectMs: 100 }));
  assert.equal(silent.error?.code, 'connect_failed');
});

test('a backend that ends connections which served nothing is connect_failed, and is not connected again at once', async (t) => {
  const endings = [
    (socket: Socket) => socket.end(),
    (socket: Socket) => socket.write(frame(TYPES.goaway, 0, 0, Buffer.alloc(8))),
  ];
  for (const end of endings) {
    const backend = await startFrameBackend(
      t,
      (socket, { type, flags }) => {
        if (type === TYPES.settings && flags === 0) socket.write(settings([MAX_STREAMS, 0]));
        if (type === TYPES.settings && flags === 1) end(socket);
      },
      null,
    );
    const pool = makeH2Pool(t, { port: backend.port });
    const sinks = await Promise.all([ask(pool), ask(pool)]);
    for (const sink of sinks) {
      assert.equal(sink.error?.code, 'connect_failed');
      assert.equal(sink.error?.retryable, true);
    }
    assert.equal(backend.sockets.length, 1);
    assert.equal((await ask(pool)).error?.code, 'connect_failed');
    assert.equal(backend.sockets.length, 2, 'the next request tries again');
  }
});

test('an idle connection is closed after parkMs', async (t) => {
  const backend = await startH2Backend(t, answerOk);
  const pool = makeH2Pool(t, { port: backend.port, parkMs: 50 });
  await ask(pool);
  await waitFor(
    'the connection to close',
    () => pool.openCount === 0 && backend.sessions[0]?.destroyed === true,
  );
  await ask(pool);
  assert.equal(backend.sessions.length, 2);
});

test('close() lets requests finish, those that wait for the connection included', async (t) => {
  const held: ServerHttp2Stream[] = [];
  const backend = await startH2Backend(t, (stream) => held.push(stream));
  const pool = makeH2Pool(t, { port: backend.port });
  const sink = send(pool, get(), new RecordingSink());
  pool.close();
  await waitFor('the request', () => held.length === 1);
  assert.equal(pool.openCount, 1);
  answerOk(held[0]!);
  assert.equal((await sink.finished()).body.toString(), 'ok');
  await waitFor('the connection to close', () => pool.openCount === 0);
});

test('a backend that never closes a connection of which it was told does not hold it', async (t) => {
  const backend = await startFrameBackend(t, (socket, { type, streamId }) => {
    socket.allowHalfOpen = true;
    if (type === TYPES.headers)
      socket.write(frame(TYPES.headers, 5, streamId, fieldBlock([':status', '200'])));
  });
  const pool = makeH2Pool(t, { port: backend.port });
  assert.equal((await ask(pool)).head?.status, 200);
  pool.close();
  await waitFor('the connection to be cut', () => pool.openCount === 0, { timeoutMs: 5_000 });
  await waitFor('nobody to be there', () => {
    backend.sockets[0]?.write(settings());
    return backend.sockets[0]?.destroyed === true;
  });
});
