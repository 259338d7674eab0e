import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { fieldBlock, startFrameBackend } from '../../support/h2-backends.ts';
import { FLAGS, frame, number32, settings, TYPES } from '../../support/h2-frames.ts';
import { waitFor } from '../../support/wait.ts';
import { makeH2Pool, RecordingSink, send } from '../support.ts';
import { BodySink, post } from './support.ts';

/** A backend that sends a client away at the first DATA frame. Its later connections are silent until `open`; `bodies` has what each got. */
async function startRestartingBackend(t: TestContext) {
  const bodies: string[] = [];
  let ends = 0;
  const backend = await startFrameBackend(
    t,
    (socket, { type, flags, streamId, connection }, payload) => {
      if (type === TYPES.settings && connection === 0 && (flags & FLAGS.ack) === 0) socket.write(settings());
      if (type !== TYPES.data) return;
      bodies[connection] = (bodies[connection] ?? '') + payload.toString('latin1');
      for (const id of [0, streamId]) socket.write(frame(TYPES.window, 0, id, number32(65_535)));
      if (connection === 0) socket.write(frame(TYPES.goaway, 0, 0, Buffer.alloc(8)));
      if ((flags & FLAGS.endStream) === 0) return;
      ends++;
      socket.write(frame(TYPES.headers, 5, streamId, fieldBlock([':status', '200'])));
    },
    null,
  );
  return {
    port: backend.port,
    bodies,
    ends: () => ends,
    connections: () => backend.sockets.length,
    open: () => backend.sockets[1]?.write(settings()),
  };
}

test('an upload that waits again takes no more than one large piece, and arrives whole', async (t) => {
  for (const size of [10_000, 80_000]) {
    const backend = await startRestartingBackend(t);
    const pool = makeH2Pool(t, { port: backend.port });
    const sink = send(pool, post(), new RecordingSink());
    await waitFor('the connection', () => sink.calls.includes('connected'));
    const give = (letter: string, bytes = 40_000) => {
      const piece = Buffer.alloc(bytes, letter);
      const isFree = sink.exchange?.writeBody(piece);
      if (isFree) piece.fill('!');
      return isFree;
    };
    give('a');
    await waitFor('the second connection', () => backend.connections() === 2);
    assert.equal(give('b', size), false, 'there is no stream');
    backend.open();
    await waitFor('the request to be asked for more', () => sink.drainCount > 0);
    give('c');
    sink.exchange?.endBody([]);
    assert.equal((await sink.finished()).head?.status, 200);
    const expected = 'a'.repeat(40_000) + 'b'.repeat(size) + 'c'.repeat(40_000);
    assert.ok(backend.bodies[1] === expected, `${backend.bodies[1]?.length} bytes arrived`);
  }
});

test('an upload that waits again ends with an error where it is given more than it may hold', async (t) => {
  const backend = await startRestartingBackend(t);
  const pool = makeH2Pool(t, { port: backend.port });
  const sink = send(pool, post(), new RecordingSink());
  await waitFor('the connection', () => sink.calls.includes('connected'));
  const give = () => sink.exchange?.writeBody(Buffer.alloc(40_000));
  give();
  await waitFor('the second connection', () => backend.connections() === 2);
  for (let i = 0; i < 3; i++) give();
  sink.exchange?.endBody([]);
  assert.equal((await sink.finished()).error?.code, 'internal_error');
  backend.open();
  assert.equal((await send(pool, post(), new BodySink(['z'])).finished()).head?.status, 200);
  assert.equal(backend.bodies[1], 'z', 'nothing of the first body');
  assert.equal(backend.ends(), 1);
});
