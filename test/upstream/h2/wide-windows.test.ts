import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { fieldBlock, startFrameBackend } from '../../support/h2-backends.ts';
import { data, FLAGS, frame, TYPES } from '../../support/h2-frames.ts';
import { waitFor } from '../../support/wait.ts';
import { get, makeH2Pool, RecordingSink, send } from '../support.ts';

const WIDE_MAX = 256;
const PIECE = Buffer.alloc(16_384);
const HEAD = fieldBlock([':status', '200']);

interface Answer {
  socket: Socket;
  streamId: number;
  /** The largest step by which its window was opened. */
  stepBytes: number;
}

test('the window of a stream is 64 KiB, and larger for 256 large answers of a worker at a time', async (t) => {
  const answers = new Map<string, Answer>();
  let firstWindowBytes = 0;
  const backend = await startFrameBackend(t, (socket, { type, flags, streamId, connection }, payload) => {
    const answer = answers.get(`${connection} ${streamId}`);
    if (type === TYPES.settings && (flags & FLAGS.ack) === 0) {
      for (let at = 0; at < payload.length; at += 6)
        if (payload.readUInt16BE(at) === 4) firstWindowBytes = payload.readUInt32BE(at + 2);
    } else if (type === TYPES.headers) {
      answers.set(`${connection} ${streamId}`, { socket, streamId, stepBytes: 0 });
      socket.write(frame(TYPES.headers, FLAGS.endHeaders, streamId, HEAD));
      for (let i = 0; i < 4; i++) socket.write(data(streamId, PIECE));
    } else if (type === TYPES.window && answer !== undefined)
      answer.stepBytes = Math.max(answer.stepBytes, payload.readUInt32BE(0));
  });
  const pool = makeH2Pool(t, { port: backend.port });
  const wide = () => [...answers.values()].filter(({ stepBytes }) => stepBytes > 65_536);
  const more = (options: { ends: boolean }, of: Iterable<Answer>) => {
    for (const { socket, streamId } of of) socket.write(data(streamId, PIECE, options));
  };
  const sinks = Array.from({ length: WIDE_MAX + 10 }, () => send(pool, get(), new RecordingSink()));
  const allHave = (byteCount: number) => () =>
    sinks.every(({ chunks }) => chunks.reduce((sum, { length }) => sum + length, 0) === byteCount);
  await waitFor('64 KiB of each', allHave(65_536));
  assert.equal(firstWindowBytes, 65_536);
  assert.equal(wide().length, 0, 'an answer of 64 KiB needs no more');
  more({ ends: false }, answers.values());
  await waitFor('more of each', allHave(81_920));
  await waitFor('the larger windows', () => wide().length === WIDE_MAX);
  const wideOnes = wide();
  const narrowOnes = [...answers.values()].filter((answer) => !wideOnes.includes(answer));
  const ending = wideOnes.slice(0, 3);
  more({ ends: true }, ending);
  await waitFor('three ends', () => sinks.filter(({ ended }) => ended).length === 3);
  more({ ends: false }, narrowOnes);
  await waitFor('three more', () => wide().length === WIDE_MAX + 3);
  more({ ends: true }, [...wideOnes.slice(3), ...narrowOnes]);
  await waitFor('all ends', () => sinks.every(({ ended }) => ended));
});
