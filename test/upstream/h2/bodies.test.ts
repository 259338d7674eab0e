import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { FakeTime } from '../../support/fake-time.ts';
import { fieldBlock, startFrameBackend, startH2Backend } from '../../support/h2-backends.ts';
import { FLAGS, frame, number32, TYPES } from '../../support/h2-frames.ts';
import { waitFor } from '../../support/wait.ts';
import { ask, get, makeH2Pool, RecordingSink, send } from '../support.ts';
import { BodySink, post } from './support.ts';

/** StoppedSink takes a piece and then no more, until `stopped` is false and the exchange resumes. */
class StoppedSink extends RecordingSink {
  stopped = true;
  override onBody(chunk: Buffer): boolean {
    super.onBody(chunk);
    return !this.stopped;
  }
}

test('a body arrives with those of its trailers that may pass, and the answer may begin before it ends', async (t) => {
  const received: Buffer[] = [];
  const trailers: string[] = [];
  const backend = await startH2Backend(t, (stream) => {
    stream.on('data', (chunk: Buffer) => received.push(chunk));
    stream.on('trailers', (_headers, _flags, raw: string[]) => trailers.push(...raw));
    stream.respond({ ':status': 200 });
    stream.on('end', () => stream.end('bye'));
  });
  const pool = makeH2Pool(t, { port: backend.port });
  const sink = send(pool, post(), new RecordingSink());
  await waitFor('the connection', () => sink.calls.includes('connected'));
  sink.exchange?.writeBody(Buffer.from('one'));
  await waitFor('the head before the body ends', () => sink.head !== null);
  await waitFor('the first piece', () => Buffer.concat(received).toString() === 'one');
  sink.exchange?.writeBody(Buffer.from('two'));
  sink.exchange?.endBody([
    'X-Sum',
    '6',
    'Authorization',
    'x',
    'content-length',
    '6',
    'x_id',
    '1',
    'te',
    'trailers',
  ]);
  await sink.finished();
  assert.equal(sink.error, null);
  assert.equal(Buffer.concat(received).toString(), 'onetwo');
  assert.deepEqual(trailers, ['x-sum', '6']);
  assert.equal(sink.body.toString(), 'bye');
});

test('a trailer with a line break does not pass', async (t) => {
  const blocks: string[] = [];
  const backend = await startFrameBackend(t, (socket, { type, flags, streamId }, payload) => {
    if (type === TYPES.headers) blocks.push(payload.toString('latin1'));
    if (type === TYPES.headers && (flags & FLAGS.endStream) !== 0)
      socket.write(frame(TYPES.headers, 5, streamId, fieldBlock([':status', '200'])));
  });
  const sink = new BodySink(['x'], ['x-y', 'a\r\nb: c', 'x-sum', '1']);
  await send(makeH2Pool(t, { port: backend.port }), post(), sink).finished();
  assert.match(blocks[1] ?? '', /x-sum/);
  assert.doesNotMatch(blocks[1] ?? '', /x-y|\n/);
});

test('a body of announced length carries content-length', async (t) => {
  const backend = await startH2Backend(t, (stream) =>
    stream.respond({ ':status': 200 }, { endStream: true }),
  );
  const sink = new BodySink(['12345']);
  await send(makeH2Pool(t, { port: backend.port }), post({ bodyLength: 5 }), sink).finished();
  assert.equal(sink.head?.status, 200);
  assert.deepEqual(backend.requests[0]?.slice(-2), ['content-length', '5']);
});

test('a stream that is not read stops its backend and nobody else', async (t) => {
  const total = 4 * 1_048_576;
  let writtenBytes = 0;
  const backend = await startH2Backend(t, (stream, fields) => {
    stream.respond({ ':status': 200 });
    if (fields[':path'] === '/small') {
      stream.end('small');
      return;
    }
    const piece = Buffer.alloc(65_536, 'x');
    const more = (): void => {
      for (;;) {
        if (writtenBytes === total) return void stream.end();
        writtenBytes += piece.length;
        if (!stream.write(piece)) return;
      }
    };
    stream.on('drain', more);
    more();
  });
  const pool = makeH2Pool(t, { port: backend.port });
  const large = send(pool, get('/large'), new StoppedSink());
  await waitFor('a first piece', () => large.chunks.length === 1);
  for (let i = 0; i < 20; i++) assert.equal((await ask(pool, get('/small'))).body.toString(), 'small');
  assert.equal(large.chunks.length, 1, 'nothing more was delivered');
  assert.ok(writtenBytes < 1_048_576, `the backend wrote ${writtenBytes}`);
  assert.equal(backend.sessions.length, 1);
  large.stopped = false;
  large.exchange?.resume();
  await large.finished();
  assert.equal(large.body.length, total);
});

test('an upload stops while the backend does not read, and goes on when it does', async (t) => {
  let receivedBytes = 0;
  const backend = await startH2Backend(t, (stream) => {
    stream.on('end', () => {
      stream.respond({ ':status': 200 });
      stream.end(String(receivedBytes));
    });
  });
  const sink = new RecordingSink();
  const pool = makeH2Pool(t, { port: backend.port });
  send(pool, post(), sink);
  await waitFor('the connection', () => sink.calls.includes('connected'));
  const piece = Buffer.alloc(65_536, 'x');
  let sentBytes = 0;
  const fill = (): void => {
    do sentBytes += piece.length;
    while (sink.exchange?.writeBody(piece) === true);
  };
  fill();
  assert.ok(sentBytes <= 4 * piece.length, `${sentBytes} were taken at once`);
  sink.onRequestDrain = () => {
    if (sentBytes < 2 * 1_048_576) fill();
    else sink.exchange?.endBody([]);
  };
  await waitFor('the stream', () => backend.streams.length === 1);
  backend.streams[0]?.on('data', (chunk: Buffer) => {
    receivedBytes += chunk.length;
  });
  await sink.finished();
  assert.equal(sink.body.toString(), String(sentBytes));
});

/** A backend that counts the bytes of bodies, opens the windows only as it is told, and never answers. */
async function startSlowReader(t: TestContext) {
  let receivedBytes = 0;
  const received: Buffer[] = [];
  const backend = await startFrameBackend(t, (_socket, { type }, payload) => {
    if (type !== TYPES.data) return;
    receivedBytes += payload.length;
    received.push(payload);
  });
  const openWindows = (byteCount: number): void => {
    for (const id of [0, 1]) backend.sockets[0]?.write(frame(TYPES.window, 0, id, number32(byteCount)));
  };
  return {
    port: backend.port,
    openWindows,
    receivedBytes: () => receivedBytes,
    body: () => Buffer.concat(received),
  };
}

test('a piece that has not left is sent from the memory of the caller, unless it is small', async (t) => {
  const backend = await startSlowReader(t);
  const sink = new RecordingSink();
  send(makeH2Pool(t, { port: backend.port }), post(), sink);
  await waitFor('the connection', () => sink.calls.includes('connected'));
  const exchange = sink.exchange!;
  const pieces = ['a', 'b', 'c', 'd'].map((letter, i) => Buffer.alloc(i === 1 ? 100_000 : 1_000, letter));
  const taken = pieces.map((piece, i) => {
    const isFree = exchange.writeBody(piece);
    if (i !== 1) piece.fill('!');
    return isFree;
  });
  assert.deepEqual(taken, [true, false, false, false]);
  assert.equal(sink.drainCount, 0);
  backend.openWindows(60_000);
  await waitFor('all of the body', () => backend.receivedBytes() === 103_000);
  assert.equal(sink.drainCount, 1);
  const text = backend.body().toString();
  assert.ok(
    text === ['a', 'b', 'c', 'd'].map((letter) => letter.repeat(letter === 'b' ? 100_000 : 1_000)).join(''),
  );
  exchange.destroy({ memoryIsFree: true });
});

test('a backend that reads a large piece slowly is not silent', async (t) => {
  const time = new FakeTime();
  const backend = await startSlowReader(t);
  const sink = new RecordingSink();
  send(makeH2Pool(t, { port: backend.port, idleMs: 5_000, clock: time.clock }), post(), sink);
  await waitFor('the connection', () => sink.calls.includes('connected'));
  sink.exchange?.writeBody(Buffer.alloc(100_000));
  for (let turn = 1; turn <= 3; turn++) {
    backend.openWindows(1_000);
    await waitFor('the next bytes', () => backend.receivedBytes() === 65_535 + turn * 1_000);
    time.nowMs += 5_100;
    await time.ticks();
    assert.equal(sink.error, null);
  }
  time.nowMs += 5_100;
  await sink.finished();
  assert.match(sink.error?.message ?? '', /stopped reading/);
});

test('a small piece that waits for a client stays as it came', async (t) => {
  const backend = await startH2Backend(t, (stream, { ':path': path }) => {
    stream.respond({ ':status': 200 });
    if (path === '/kept') stream.write('kept');
    else stream.end('x'.repeat(900));
  });
  const pool = makeH2Pool(t, { port: backend.port });
  let kept: Buffer | null = null;
  class KeepingSink extends RecordingSink {
    override onBody(chunk: Buffer): boolean {
      kept = chunk;
      return false;
    }
  }
  const sink = send(pool, get('/kept'), new KeepingSink());
  await waitFor('the piece', () => kept !== null);
  for (let i = 0; i < 3; i++) await ask(pool);
  assert.equal(String(kept), 'kept');
  sink.exchange?.destroy({ memoryIsFree: true });
});

/** startRecordingBackend notes the frames of streams: type, and `end` for END_STREAM. */
async function startRecordingBackend(t: TestContext, answer: (socket: Socket, streamId: number) => void) {
  const frames: string[] = [];
  const names = new Map<number, string>(Object.entries(TYPES).map(([name, type]) => [type, name]));
  const backend = await startFrameBackend(t, (socket, { type, flags, streamId }) => {
    if (streamId === 0) return;
    const hasEnded = type !== TYPES.reset && (flags & FLAGS.endStream) !== 0;
    frames.push(`${names.get(type)}${hasEnded ? ' end' : ''}`);
    if (type === TYPES.headers) answer(socket, streamId);
  });
  return { ...backend, frames };
}

test('a body of another length than announced is internal_error, and a reset in place of its end', async (t) => {
  for (const [body, sent] of [
    ['1234', []],
    ['12', ['data']],
  ] as const) {
    const backend = await startRecordingBackend(t, () => undefined);
    const pool = makeH2Pool(t, { port: backend.port });
    const sink = await send(pool, post({ bodyLength: 3 }), new BodySink([body])).finished();
    assert.equal(sink.error?.code, 'internal_error');
    await waitFor('the reset', () => backend.frames.includes('reset'));
    assert.deepEqual(backend.frames, ['headers', ...sent, 'reset']);
  }
});

test('the end of a body leaves with its last piece, where both come in one turn of the loop', async (t) => {
  const backend = await startRecordingBackend(t, () => undefined);
  const sink = new RecordingSink();
  const pool = makeH2Pool(t, { port: backend.port });
  send(pool, post({ bodyLength: 3 }), sink);
  await waitFor('the connection', () => sink.calls.includes('connected'));
  sink.exchange?.writeBody(Buffer.from('123'));
  // What node runs between two frames of one read.
  await new Promise<void>((resolve) => process.nextTick(() => process.nextTick(resolve)));
  sink.exchange?.endBody([]);
  await waitFor('the end', () => backend.frames.includes('data end'));
  assert.deepEqual(backend.frames, ['headers', 'data end']);
});

test('an upload that is given up is reset, and never looks whole (B28)', async (t) => {
  const backend = await startRecordingBackend(t, () => undefined);
  const pool = makeH2Pool(t, { port: backend.port });
  const sink = send(pool, post(), new RecordingSink());
  await waitFor('the connection', () => sink.calls.includes('connected'));
  sink.exchange?.writeBody(Buffer.from('a part'));
  await waitFor('the part', () => backend.frames.includes('data'));
  sink.exchange?.destroy({ memoryIsFree: true });
  await waitFor('the reset', () => backend.frames.includes('reset'));
  assert.deepEqual(backend.frames, ['headers', 'data', 'reset']);
});

test('a whole answer resets the stream of a body whose rest may never leave', async (t) => {
  const backend = await startRecordingBackend(t, (socket, streamId) =>
    socket.write(frame(TYPES.headers, 5, streamId, fieldBlock([':status', '200']))),
  );
  const pool = makeH2Pool(t, { port: backend.port });
  const sink = await send(pool, post(), new BodySink([Buffer.alloc(100_000)])).finished();
  assert.equal(sink.head?.status, 200);
  await waitFor('the reset', () => backend.frames.at(-1) === 'reset');
});

test('a silent backend is a time-out before the head and inside the body', async (t) => {
  const backend = await startH2Backend(t, (stream, fields) => {
    if (fields[':path'] === '/head') return;
    stream.respond({ ':status': 200 });
    stream.write('x');
  });
  const pool = makeH2Pool(t, { port: backend.port, responseMs: 100, idleMs: 100 });
  const head = await ask(pool, get('/head'));
  assert.equal(head.error?.code, 'upstream_timeout');
  assert.match(head.error?.message ?? '', /no response head within 100 ms/);
  const body = await ask(pool, get('/body'));
  assert.equal(body.error?.code, 'upstream_timeout');
  assert.match(body.error?.message ?? '', /silent for 100 ms/);
  assert.equal(backend.sessions.length, 1, 'the connection goes on');
});

test('a backend that stops reading an upload is a time-out', async (t) => {
  const backend = await startH2Backend(t, () => undefined);
  const pool = makeH2Pool(t, { port: backend.port, idleMs: 100 });
  const sink = new BodySink([Buffer.alloc(1_048_576)]);
  sink.onConnected = () => void sink.exchange?.writeBody(Buffer.alloc(1_048_576));
  await send(pool, post(), sink).finished();
  assert.equal(sink.error?.code, 'upstream_timeout');
  assert.match(sink.error?.message ?? '', /stopped reading/);
});

test('an early answer ends the request by a reset, and the rest of its body is not sent', async (t) => {
  const backend = await startRecordingBackend(t, (socket, streamId) => {
    socket.write(frame(TYPES.headers, FLAGS.endHeaders, streamId, fieldBlock([':status', '413'])));
    socket.write(frame(TYPES.data, FLAGS.endStream, streamId, 'too large'));
  });
  const sink = send(makeH2Pool(t, { port: backend.port }), post(), new RecordingSink());
  await sink.finished();
  assert.equal(sink.head?.status, 413);
  assert.equal(sink.body.toString(), 'too large');
  sink.exchange?.writeBody(Buffer.from('more'));
  await waitFor('the reset', () => backend.frames.includes('reset'));
  assert.deepEqual(backend.frames, ['headers', 'reset']);
});

test('an answer that has arrived is delivered to a client that reads late, although its connection is gone', async (t) => {
  const text = 'x'.repeat(60_000);
  const backend = await startH2Backend(t, (stream) => {
    stream.respond({ ':status': 200 }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'x-sum': '1' }));
    stream.end(text);
  });
  const pool = makeH2Pool(t, { port: backend.port });
  const sink = send(pool, get(), new StoppedSink());
  await waitFor('a first piece', () => sink.chunks.length === 1);
  await waitFor('the whole answer to leave', () => backend.streams[0]?.destroyed === true);
  backend.sockets[0]?.resetAndDestroy();
  await waitFor('the connection to be gone', () => pool.openCount === 0);
  sink.stopped = false;
  sink.exchange?.resume();
  await sink.finished();
  assert.equal(sink.error, null);
  assert.equal(sink.body.length, text.length);
  assert.deepEqual(sink.trailers, ['x-sum', '1']);
});

test('frames of one byte that wait for a client are joined into one piece', async (t) => {
  const count = 64_000;
  let hasArrived = false;
  const backend = await startFrameBackend(t, (socket, { type, flags, streamId }) => {
    if (type === TYPES.ping && (flags & FLAGS.ack) !== 0) hasArrived = true;
    if (type !== TYPES.headers) return;
    const one = frame(TYPES.data, 0, streamId, 'x');
    socket.write(frame(TYPES.headers, FLAGS.endHeaders, streamId, fieldBlock([':status', '200'])));
    for (let sent = 0; sent < count; sent += 8_000) socket.write(Buffer.alloc(8_000 * one.length, one));
    socket.write(frame(TYPES.data, FLAGS.endStream, streamId));
    socket.write(frame(TYPES.ping, 0, 0, Buffer.alloc(8)));
  });
  const sink = send(makeH2Pool(t, { port: backend.port }), get(), new StoppedSink());
  await waitFor('all to arrive', () => hasArrived);
  assert.equal(sink.chunks.length, 1);
  sink.stopped = false;
  sink.exchange?.resume();
  await sink.finished();
  assert.equal(sink.body.length, count);
  assert.equal(sink.chunks.length, 2);
});
