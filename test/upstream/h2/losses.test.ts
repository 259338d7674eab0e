import assert from 'node:assert/strict';
import type { ServerHttp2Stream } from 'node:http2';
import { type TestContext, test } from 'node:test';
import type { LbError } from '../../../src/contract/errors.ts';
import { KEPT_MAX_BYTES, KeptBody } from '../../../src/upstream/kept-body.ts';
import {
  answerOk,
  fieldBlock,
  NGHTTP2_REFUSED_STREAM as REFUSED,
  startFrameBackend,
  startH2Backend,
} from '../../support/h2-backends.ts';
import { FLAGS, frame, number32, TYPES } from '../../support/h2-frames.ts';
import { waitFor } from '../../support/wait.ts';
import { ask, get, makeH2Pool, RecordingSink, send } from '../support.ts';
import { BodySink, post } from './support.ts';

/** A backend that answers each request of the first connection by GOAWAY with these numbers, and of the others by 200. */
async function startLeavingBackend(t: TestContext, lastStreamId: number, code: number) {
  const bodies: number[] = [];
  let heads = 0;
  const goAway = Buffer.alloc(8);
  goAway.writeUInt32BE(lastStreamId, 0);
  goAway.writeUInt32BE(code, 4);
  const backend = await startFrameBackend(t, (socket, { type, flags, streamId, connection }, payload) => {
    const isRequest = type === TYPES.headers || type === TYPES.data;
    if (type === TYPES.data && payload.length > 0) bodies.push(payload.length);
    if (type === TYPES.headers && connection > 0) heads++;
    if (connection === 0 && isRequest) socket.write(frame(TYPES.goaway, 0, 0, goAway));
    const isEnd = isRequest && (flags & FLAGS.endStream) !== 0;
    if (connection > 0 && isEnd)
      socket.write(frame(TYPES.headers, 5, streamId, fieldBlock([':status', '200'])));
  });
  return { port: backend.port, bodies, heads: () => heads };
}

/** A backend whose first connection drains with one request on it, and has a second one already. */
async function drainHeld(t: TestContext) {
  const held: ServerHttp2Stream[] = [];
  const backend = await startH2Backend(t, (stream, { ':path': path }) => {
    if (path === '/held') held.push(stream);
    else answerOk(stream);
  });
  const pool = makeH2Pool(t, { port: backend.port });
  const sink = send(pool, get('/held'), new RecordingSink());
  await waitFor('the request', () => held.length === 1);
  backend.sessions[0]?.close();
  await waitFor('the new connection', async () => {
    await ask(pool);
    return backend.sessions.length === 2;
  });
  return { held, backend, pool, sink };
}

test('after GOAWAY its streams finish, later requests go to a new connection, and the old one closes', async (t) => {
  const { held, backend, pool, sink } = await drainHeld(t);
  for (const stream of held) answerOk(stream);
  await sink.finished();
  assert.equal(sink.body.toString(), 'ok');
  await waitFor(
    'the old connection to close',
    () => backend.sessions[0]?.destroyed === true && pool.openCount === 1,
  );
});

test('streams that GOAWAY says were not processed are sent again on a new connection, with what was sent of their body and trailers', async (t) => {
  for (const code of [0, 2]) {
    const backend = await startLeavingBackend(t, 0, code);
    const pool = makeH2Pool(t, { port: backend.port });
    const sinks = await Promise.all([
      ask(pool, get('/')),
      send(pool, post(), new BodySink(['12345'], ['x-sum', '5'])).finished(),
    ]);
    for (const sink of sinks) assert.equal(sink.head?.status, 200, `code ${code}: ${sink.error?.message}`);
    assert.equal(sinks[1]?.calls.filter((call) => call === 'connected').length, 1);
    assert.equal(backend.bodies.at(-1), 5);
    assert.equal(backend.heads(), 3, 'the trailers, too');
  }
});

test('a body that came in tiny pieces is kept, and sent again, in few', async (t) => {
  const pieces: string[][] = [[], []];
  const backend = await startFrameBackend(t, (socket, { type, flags, streamId, connection }, payload) => {
    if (type !== TYPES.data) return;
    pieces[connection]?.push(payload.toString());
    if ((flags & FLAGS.endStream) === 0) return;
    if (connection === 0) socket.write(frame(TYPES.goaway, 0, 0, number32(0, 0)));
    else socket.write(frame(TYPES.headers, 5, streamId, fieldBlock([':status', '200'])));
  });
  const body = Array.from({ length: 100 }, (_, i) => String(i % 10));
  const sink = await send(makeH2Pool(t, { port: backend.port }), post(), new BodySink(body)).finished();
  assert.equal(sink.head?.status, 200);
  assert.deepEqual(pieces[0], body);
  assert.equal(pieces[1]?.join(''), body.join(''));
  assert.ok((pieces[1]?.length ?? 0) <= 16, `${pieces[1]?.length} pieces`);
});

test('a stream that GOAWAY with an error may have processed is not sent again', async (t) => {
  for (const code of [2, REFUSED]) {
    const backend = await startLeavingBackend(t, 1, code);
    const sink = await ask(makeH2Pool(t, { port: backend.port }));
    assert.equal(sink.error?.code, 'upstream_reset');
    assert.equal(sink.error?.retryable, false, 'the connection was new');
  }
});

test('what was taken of a body goes along where a refused stream is sent elsewhere, and where it is too large to keep that is impossible', async (t) => {
  const refusing = await startH2Backend(t, (stream) => stream.close(REFUSED));
  const bodies: string[] = [];
  const willing = await startH2Backend(t, (stream) => {
    let body = '';
    stream.on('data', (piece: Buffer) => {
      body += piece.toString();
    });
    stream.on('end', () => {
      bodies.push(body);
      answerOk(stream);
    });
  });
  const pool = makeH2Pool(t, { port: refusing.port });
  const others = makeH2Pool(t, { port: willing.port });
  const empty = await ask(pool);
  assert.equal(empty.error?.code, 'backend_busy');
  assert.equal(empty.error?.retryable, true);
  for (const pieces of [['123', '45'], []]) {
    const kept = new KeptBody();
    const first = new BodySink(pieces);
    await send(pool, post({ kept }), first).finished();
    assert.equal(first.error?.retryable, true);
    const second = await send(others, post({ kept }), new RecordingSink()).finished();
    assert.equal(second.body.toString(), 'ok');
  }
  assert.deepEqual(bodies, ['12345', '']);
  const kept = new KeptBody();
  const large = await send(pool, post({ kept }), new BodySink([Buffer.alloc(KEPT_MAX_BYTES + 1)])).finished();
  assert.equal(large.error?.code, 'backend_busy');
  assert.equal(large.error?.retryable, false);
  assert.equal(kept.isRepeatable, false);
});

test('the last stream of a connection that drains ends as the backend says, and not with the connection', async (t) => {
  for (const [code, expected] of [
    [REFUSED, 'backend_busy'],
    [1, 'upstream_invalid'],
  ] as const) {
    const goAway = frame(TYPES.goaway, 0, 0, number32(2 ** 31 - 1, 0));
    const backend = await startFrameBackend(t, (socket, { type, streamId }) => {
      if (type !== TYPES.headers) return;
      socket.write(Buffer.concat([goAway, frame(TYPES.reset, 0, streamId, number32(code))]));
    });
    const { error } = await ask(makeH2Pool(t, { port: backend.port }));
    assert.deepEqual([error?.code, error?.retryable], [expected, code === REFUSED]);
  }
});

test('an answer that came before a write failed is read', async (t) => {
  const sink = new RecordingSink();
  const backend = await startFrameBackend(t, (socket, { type, streamId }) => {
    if (type !== TYPES.data) return;
    const head = frame(TYPES.headers, FLAGS.endHeaders, streamId, fieldBlock([':status', '413']));
    socket.write(Buffer.concat([head, frame(TYPES.data, FLAGS.endStream, streamId, 'too large')]));
    socket.resetAndDestroy();
    // Written before anything is read.
    sink.exchange?.writeBody(Buffer.alloc(50_000));
  });
  send(makeH2Pool(t, { port: backend.port }), post(), sink);
  await waitFor('the connection', () => sink.calls.includes('connected'));
  sink.exchange?.writeBody(Buffer.from('x'));
  await sink.finished();
  assert.equal(sink.error, null);
  assert.equal(sink.head?.status, 413);
  assert.equal(sink.body.toString(), 'too large');
});

test('a stream that is refused after an interim answer was processed', async (t) => {
  const backend = await startH2Backend(t, (stream) => {
    stream.additionalHeaders({ ':status': 103 });
    setImmediate(() => stream.close(REFUSED));
  });
  const sink = await ask(makeH2Pool(t, { port: backend.port }));
  assert.deepEqual(sink.interims, [103]);
  assert.equal(sink.error?.code, 'upstream_reset');
  assert.equal(sink.error?.retryable, false);
});

test('a lost connection fails all of its streams; safe to repeat is what had no answer on a connection that was open before (B10)', async (t) => {
  const backend = await startH2Backend(t, (stream, { ':path': path }) => {
    if (path === '/first') answerOk(stream);
    if (path === '/begun') {
      stream.respond({ ':status': 200 });
      stream.write('x');
    }
  });
  const pool = makeH2Pool(t, { port: backend.port });
  const early = send(pool, get('/early'), new RecordingSink());
  await ask(pool, get('/first'));
  const begun = send(pool, get('/begun'), new RecordingSink());
  const silent = send(pool, get('/silent'), new RecordingSink());
  await waitFor('the requests', () => backend.streams.length === 4 && begun.chunks.length === 1);
  backend.sessions[0]?.destroy();
  for (const sink of [early, begun, silent]) {
    await sink.finished();
    assert.equal(sink.error?.code, 'upstream_reset');
  }
  assert.equal(early.error?.retryable, false);
  assert.equal(begun.error?.retryable, false);
  assert.equal(silent.error?.retryable, true);
  assert.equal((await ask(pool, get('/first'))).body.toString(), 'ok', 'on a new connection');
});

test('the loss of a connection that drains ends the use of the others, too', async (t) => {
  const { backend, pool, sink } = await drainHeld(t);
  await ask(pool);
  assert.equal(backend.sessions.length, 2);
  backend.sockets[0]?.resetAndDestroy();
  assert.equal((await sink.finished()).error?.code, 'upstream_reset');
  assert.equal((await ask(pool)).body.toString(), 'ok');
  assert.equal(backend.sessions.length, 3);
});

test('a request that waits again before its body has begun is asked for it once', async (t) => {
  const backend = await startLeavingBackend(t, 0, 0);
  const pool = makeH2Pool(t, { port: backend.port });
  const sink = send(pool, post(), new RecordingSink());
  await waitFor('the second connection to ask for more', () => sink.drainCount === 1);
  assert.deepEqual(sink.calls, ['connected']);
  sink.exchange?.writeBody(Buffer.from('123'));
  sink.exchange?.endBody([]);
  assert.equal((await sink.finished()).head?.status, 200);
  assert.deepEqual(backend.bodies, [3]);
});

test('requests that follow an error of the protocol at once go to a new connection', async (t) => {
  const ids: number[] = [];
  const backend = await startFrameBackend(t, (socket, { type, streamId, connection }) => {
    if (type !== TYPES.headers) return;
    ids.push(streamId);
    if (connection === 1 || ids.length === 1)
      socket.write(frame(TYPES.headers, 5, streamId, fieldBlock([':status', '200'])));
    // DATA on no stream.
    if (ids.length === 3) socket.write(frame(TYPES.data, 0, 0, 'boom'));
  });
  const pool = makeH2Pool(t, { port: backend.port });
  await ask(pool);
  const again: RecordingSink[] = [];
  class RepeatingSink extends RecordingSink {
    override onError(error: LbError): void {
      super.onError(error);
      again.push(send(pool, get(), new RecordingSink(), { fresh: true }));
    }
  }
  const lost = [send(pool, get(), new RepeatingSink()), send(pool, get(), new RepeatingSink())];
  for (const sink of lost) assert.equal((await sink.finished()).error?.retryable, true);
  for (const sink of again) assert.equal((await sink.finished()).head?.status, 200);
  assert.equal(again.length, 2);
  assert.equal(backend.sockets.length, 2);
});
