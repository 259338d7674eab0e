import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { FakeTime } from '../../support/fake-time.ts';
import { fieldBlock, startFrameBackend } from '../../support/h2-backends.ts';
import { FLAGS, frame, TYPES } from '../../support/h2-frames.ts';
import { waitFor } from '../../support/wait.ts';
import { ask, get, makeH2Pool, RecordingSink, send } from '../support.ts';

const { endStream: END_STREAM, endHeaders: END_HEADERS } = FLAGS;
const OK = fieldBlock([':status', '200']);

/** A backend that answers POST by these bytes and every other request by 200. */
async function startHostileBackend(t: TestContext, answerBadly: (socket: Socket, streamId: number) => void) {
  return startFrameBackend(t, (socket, { type, streamId }, payload) => {
    if (type !== TYPES.headers) return;
    if (payload[0] !== POST_INDEX) socket.write(frame(TYPES.headers, END_STREAM | END_HEADERS, streamId, OK));
    else answerBadly(socket, streamId);
  });
}

/** `:method: GET` and `:method: POST` of the static table (RFC 7541, Appendix A), which node sends first. */
const GET_INDEX = 0x82;
const POST_INDEX = 0x83;
const BAD = get('/', { method: 'POST' });

const headers = (streamId: number, block: Buffer, flags: number = END_HEADERS): Buffer =>
  frame(TYPES.headers, flags, streamId, block);
const text = (streamId: number, body: string, flags = 0): Buffer =>
  frame(TYPES.data, flags, streamId, Buffer.from(body));

const BAD_ANSWERS: Record<string, (streamId: number) => Buffer> = {
  'a field of HTTP/1.1': (id) => headers(id, fieldBlock([':status', '200'], ['connection', 'close'])),
  'a transfer coding': (id) => headers(id, fieldBlock([':status', '200'], ['transfer-encoding', 'chunked'])),
  'a name in upper case': (id) => headers(id, fieldBlock([':status', '200'], ['X-Y', 'z'])),
  'no status': (id) => headers(id, fieldBlock(['x', 'y'])),
  'a status under another name': (id) => headers(id, fieldBlock(['x', '200']), END_HEADERS | END_STREAM),
  'two statuses': (id) => headers(id, fieldBlock([':status', '200'], [':status', '200'])),
  'a status that is no number': (id) => headers(id, fieldBlock([':status', '2x0'])),
  'a status above 599': (id) => headers(id, fieldBlock([':status', '700'])),
  'a pseudo field of requests': (id) => headers(id, fieldBlock([':status', '200'], [':path', '/'])),
  'a pseudo field after others': (id) => headers(id, fieldBlock(['x', 'y'], [':status', '200'])),
  '101': (id) => headers(id, fieldBlock([':status', '101'])),
  'two lengths': (id) =>
    headers(id, fieldBlock([':status', '200'], ['content-length', '1'], ['content-length', '1'])),
  'a length that is none': (id) => headers(id, fieldBlock([':status', '200'], ['content-length', '+1'])),
  'more than 200 fields': (id) =>
    headers(
      id,
      fieldBlock([':status', '200'], ...Array.from({ length: 201 }, (_, i) => [`x${i}`, ''] as const)),
    ),
  'more bytes than announced': (id) =>
    Buffer.concat([
      headers(id, fieldBlock([':status', '200'], ['content-length', '2'])),
      text(id, 'xyz', END_STREAM),
    ]),
  'fewer bytes than announced': (id) =>
    Buffer.concat([
      headers(id, fieldBlock([':status', '200'], ['content-length', '4'])),
      text(id, 'xyz', END_STREAM),
    ]),
  'no bytes where some were announced': (id) =>
    headers(id, fieldBlock([':status', '200'], ['content-length', '4']), END_HEADERS | END_STREAM),
  'a body before the head': (id) => text(id, 'xyz', END_STREAM),
  'an interim head that ends the stream': (id) =>
    headers(id, fieldBlock([':status', '103']), END_HEADERS | END_STREAM),
  'interim heads without end': (id) =>
    Buffer.concat(Array.from({ length: 17 }, () => headers(id, fieldBlock([':status', '103'])))),
  'a second head': (id) =>
    Buffer.concat([headers(id, OK), text(id, 'x'), headers(id, OK, END_HEADERS | END_STREAM)]),
  'trailers that do not end it': (id) =>
    Buffer.concat([headers(id, OK), text(id, 'x'), headers(id, fieldBlock(['x', 'y']))]),
  'an end before its head': (id) => text(id, '', END_STREAM),
  'a body behind 204': (id) =>
    Buffer.concat([headers(id, fieldBlock([':status', '204'])), text(id, 'x', END_STREAM)]),
};

for (const [what, bytesFor] of Object.entries(BAD_ANSWERS)) {
  test(`an answer with ${what} is invalid and ends no other stream`, async (t) => {
    const backend = await startHostileBackend(t, (socket, streamId) => socket.write(bytesFor(streamId)));
    const pool = makeH2Pool(t, { port: backend.port, responseMs: 2_000, idleMs: 2_000 });
    assert.equal((await ask(pool)).head?.status, 200);
    const bad = await ask(pool, BAD);
    assert.ok(
      ['upstream_invalid', 'upstream_reset'].includes(bad.error?.code ?? ''),
      String(bad.error?.message),
    );
    assert.ok(!(bad.head?.lines ?? '').includes('set-cookie'));
    assert.equal((await ask(pool)).head?.status, 200);
  });
}

const BAD_FIELDS: Record<string, readonly [name: string, value: string]> = {
  'a colon in its name': ['x:y', 'z'],
  'a line break in its value': ['x', 'y\r\nset-cookie: z'],
  'a NUL in its value': ['x', 'y\0z'],
};

for (const [what, field] of Object.entries(BAD_FIELDS)) {
  test(`an answer whose head or trailers have a field with ${what} is invalid`, async (t) => {
    const head = (streamId: number): Buffer =>
      headers(streamId, fieldBlock([':status', '200'], field, ['x-y', 'z']), END_HEADERS | END_STREAM);
    const trailers = (streamId: number): Buffer =>
      Buffer.concat([headers(streamId, OK), headers(streamId, fieldBlock(field), END_HEADERS | END_STREAM)]);
    for (const bytesFor of [head, trailers]) {
      const backend = await startHostileBackend(t, (socket, streamId) => socket.write(bytesFor(streamId)));
      const pool = makeH2Pool(t, { port: backend.port });
      const sink = await ask(pool, BAD);
      assert.equal(sink.error?.code, 'upstream_invalid');
      assert.equal(sink.ended, false);
      assert.equal((await ask(pool)).head?.status, 200);
      assert.equal(backend.sockets.length, 1, 'no other stream ends');
    }
  });
}

const LOSSES: Record<string, (socket: Socket, streamId: number) => void> = {
  'a FIN': (socket) => void socket.end(),
  'a RST': (socket) => void socket.resetAndDestroy(),
  'a reset with NO_ERROR': (socket, id) => void socket.write(frame(TYPES.reset, 0, id, Buffer.alloc(4))),
  'a reset with CANCEL': (socket, id) =>
    void socket.write(frame(TYPES.reset, 0, id, Buffer.from([0, 0, 0, 8]))),
  'GOAWAY with an error': (socket, id) =>
    void socket.write(frame(TYPES.goaway, 0, 0, Buffer.from([0, 0, 0, id, 0, 0, 0, 2]))),
};

for (const [what, lose] of Object.entries(LOSSES)) {
  test(`a body that ${what} cuts is never taken for a whole one`, async (t) => {
    const backend = await startHostileBackend(t, (socket, streamId) => {
      socket.write(Buffer.concat([headers(streamId, OK), text(streamId, 'abc')]));
      setImmediate(() => lose(socket, streamId));
    });
    const pool = makeH2Pool(t, { port: backend.port, idleMs: 2_000 });
    const sink = await ask(pool, BAD);
    assert.equal(sink.error?.code, 'upstream_reset', String(sink.error?.message));
    assert.equal(sink.ended, false);
    assert.equal((await ask(pool)).head?.status, 200);
  });
}

const repeated = (count: number, one: Buffer): Buffer =>
  Buffer.concat(Array.from({ length: count }, () => one));

/** What a backend sends for as long as it is read. */
const FLOODS: Record<string, Buffer> = {
  SETTINGS: repeated(500, frame(TYPES.settings, 0, 0)),
  PING: repeated(500, frame(TYPES.ping, 0, 0, Buffer.alloc(8))),
  CONTINUATION: Buffer.concat([
    frame(TYPES.headers, 0, 1, OK),
    repeated(500, frame(TYPES.continuation, 0, 1, fieldBlock(['x', 'y'.repeat(200)]))),
  ]),
  'frames on streams that nobody opened': repeated(500, frame(TYPES.data, 0, 99, Buffer.from('x'))),
  'fields that grow when they are unpacked': Buffer.concat([
    frame(TYPES.headers, END_HEADERS, 1, Buffer.concat([OK, bomb()])),
  ]),
  'pieces without bytes': Buffer.concat([headers(1, OK), repeated(500, text(1, ''))]),
  'pushed streams': repeated(
    50,
    frame(TYPES.push, END_HEADERS, 1, Buffer.concat([Buffer.from([0, 0, 0, 2]), fieldBlock([':path', '/'])])),
  ),
  'what is not HTTP/2': Buffer.alloc(65_536, 'x'),
};

/** One field of 4,000 bytes in the table, then 1,000 references to it (RFC 7541 §6.1, §6.2.1). */
function bomb(): Buffer {
  const literal = Buffer.concat([Buffer.from([0x40]), fieldBlock(['x', 'y'.repeat(4_000)]).subarray(1)]);
  return Buffer.concat([literal, Buffer.alloc(1_000, 0x80 | 62)]);
}

for (const [what, flood] of Object.entries(FLOODS)) {
  test(`a backend that floods with ${what} loses its request, and costs little memory`, async (t) => {
    const backend = await startHostileBackend(t, (socket) => {
      // Nothing is read from Sluice any more: its answers to the flood pile up there, if anywhere.
      socket.pause();
      const more = (): void => {
        while (!socket.destroyed && socket.writable && socket.write(flood));
      };
      socket.on('drain', more);
      more();
    });
    const pool = makeH2Pool(t, { port: backend.port, responseMs: 2_000 });
    global.gc?.();
    const beforeBytes = process.memoryUsage().rss;
    const sink = await ask(pool, BAD);
    assert.notEqual(sink.error, null);
    await waitFor(
      'the connection to be gone',
      () => pool.openCount === 0 || backend.sockets[0]?.destroyed === true,
    );
    const grownBytes = process.memoryUsage().rss - beforeBytes;
    assert.ok(grownBytes < 16 * 1_048_576, `grew by ${grownBytes}`);
    assert.equal((await ask(pool)).head?.status, 200, 'on a new connection');
  });
}

test('empty pieces do not keep an answer alive', async (t) => {
  const backend = await startHostileBackend(t, (socket, streamId) => {
    socket.write(headers(streamId, OK));
    const timer = setInterval(() => socket.write(text(streamId, '')), 20);
    socket.on('close', () => clearInterval(timer));
  });
  const sink = await ask(makeH2Pool(t, { port: backend.port, idleMs: 200 }), BAD);
  assert.equal(sink.error?.code, 'upstream_timeout');
});

test('a backend that sends an empty piece with each answer keeps its connection', async (t) => {
  const backend = await startFrameBackend(t, (socket, { type, streamId }) => {
    if (type !== TYPES.headers) return;
    socket.write(
      Buffer.concat([headers(streamId, OK), text(streamId, ''), text(streamId, 'ok', END_STREAM)]),
    );
  });
  const pool = makeH2Pool(t, { port: backend.port });
  for (let turn = 0; turn < 11; turn++) {
    const sinks = await Promise.all(Array.from({ length: 100 }, () => ask(pool)));
    for (const { error } of sinks) assert.equal(error, null);
  }
  assert.equal(backend.sockets.length, 1);
});

test('a backend that stays silent is asked by PING, and given up where it does not answer', async (t) => {
  const time = new FakeTime();
  let pings = 0;
  let requests = 0;
  const backend = await startFrameBackend(t, (socket, { type, flags }) => {
    socket.allowHalfOpen = true;
    if (type === TYPES.ping && (flags & FLAGS.ack) === 0) pings++;
    if (type === TYPES.headers) requests++;
  });
  const pool = makeH2Pool(t, {
    port: backend.port,
    responseMs: 3_600_000,
    clock: time.clock,
  });
  const sink = send(pool, get(), new RecordingSink());
  await waitFor('the request', () => requests === 1);
  time.nowMs = 29_000;
  await time.ticks();
  // A PING would come before it.
  const other = send(pool, get(), new RecordingSink());
  await waitFor('another request', () => requests === 2);
  assert.deepEqual([pings, backend.sockets.length], [0, 1]);
  time.nowMs = 31_000;
  await waitFor('a PING', () => pings === 1);
  time.nowMs = 42_000;
  for (const each of [sink, other]) {
    await each.finished();
    assert.equal(each.error?.code, 'upstream_reset');
    assert.match(each.error?.message ?? '', /PING/);
  }
  await waitFor('the reset', () => backend.sockets[0]?.destroyed === true);
});

/** A backend that answers GET never and HEAD always, and its pool. It was asked by PING and answered at 31 s and 91 s. */
async function startQuietBackend(t: TestContext) {
  const time = new FakeTime();
  const asked: number[] = [];
  let requests = 0;
  const backend = await startFrameBackend(t, (socket, { type, flags, streamId }, payload) => {
    if (type === TYPES.headers) {
      requests++;
      if (payload[0] !== GET_INDEX)
        socket.write(frame(TYPES.headers, END_STREAM | END_HEADERS, streamId, OK));
    }
    if (type !== TYPES.ping || (flags & FLAGS.ack) !== 0) return;
    asked.push(time.nowMs);
    if (asked.length < 3) socket.write(frame(TYPES.ping, FLAGS.ack, 0, payload));
  });
  const pool = makeH2Pool(t, { port: backend.port, responseMs: 3_600_000, clock: time.clock });
  const ask = async (nowMs: number, method = 'GET') => {
    time.nowMs = nowMs;
    await time.ticks();
    const before = requests;
    const sink = send(pool, get('/', { method }), new RecordingSink());
    await waitFor('the request', () => requests > before);
    return sink;
  };
  const quiet = await ask(0);
  time.nowMs = 31_000;
  await waitFor('a PING', () => asked.length === 1);
  await time.ticks();
  // The second one does not put it off.
  for (const nowMs of [60_000, 85_000]) await ask(nowMs);
  time.nowMs = 91_000;
  await waitFor('the next PING', () => asked.length === 2);
  await time.ticks();
  return { time, asked, ask, quiet };
}

test('a backend that speaks after its silence is asked as soon as at first when it falls silent again', async (t) => {
  const { time, asked, ask, quiet } = await startQuietBackend(t);
  await (await ask(120_000, 'HEAD')).finished();
  // Neither of these puts it off.
  for (const nowMs of [121_000, 140_000]) await ask(nowMs);
  time.nowMs = 152_000;
  await waitFor('the third PING', () => asked.length === 3);
  time.nowMs = 163_000;
  assert.match((await quiet.finished()).error?.message ?? '', /PING/);
});

test('a backend that has answered a PING is asked again soon after a new request, once in a silence', async (t) => {
  const { time, asked, ask, quiet } = await startQuietBackend(t);
  // gRPC servers close a connection that asks more often.
  await ask(120_000);
  time.nowMs = 380_000;
  await time.ticks();
  assert.deepEqual(asked, [31_000, 91_000]);
  time.nowMs = 392_000;
  await waitFor('the third PING', () => asked.length === 3);
  time.nowMs = 403_000;
  assert.match((await quiet.finished()).error?.message ?? '', /PING/);
});
