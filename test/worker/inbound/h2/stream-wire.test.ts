/** The wire of a tunnel in a stream, on a stream whose other side is the test. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import type { Stream } from '../../../../src/http2/stream.ts';
import { FloodGuard } from '../../../../src/worker/inbound/h2/flood-guard.ts';
import { StreamWire } from '../../../../src/worker/inbound/h2/stream-wire.ts';

function scene(bufferBytes = 4) {
  const calls: string[] = [];
  const stream = {
    queuedBytes: 0,
    framedBytes: 0,
    localEnded: false,
    isWhole: false,
    write: (bytes: Buffer) => {
      calls.push(`write ${bytes.toString('latin1')}`);
      return stream.queuedBytes === 0;
    },
    end: () => void calls.push('end'),
    pause: () => void calls.push('pause'),
    resume: () => void calls.push('resume'),
    reset: (code: number) => void calls.push(`reset ${code}`),
  };
  const buffer = Buffer.alloc(bufferBytes);
  const heard: string[] = [];
  const events = {
    /** Called with each read. */
    onText: (_text: string): void => undefined,
    nextBuffer: () => buffer,
    onRead: (byteCount: number) => {
      const text = buffer.toString('latin1', 0, byteCount);
      heard.push(text);
      events.onText(text);
    },
    onEnd: () => void heard.push('end'),
    onDrain: () => void heard.push('drain'),
    onWriteError: () => void heard.push('write error'),
    onBroken: () => void heard.push('broken'),
  };
  const wire = new StreamWire(stream as unknown as Stream, events, new FloodGuard(), null);
  return { stream, events, wire, calls, heard };
}

test('a piece fills the memory of its owner as often as it must, and the rest waits while the owner pauses', () => {
  const { wire, events, calls, heard } = scene();
  wire.resume();
  events.onText = (text) => {
    if (text !== 'ijkl') wire.pause();
  };
  const piece = Buffer.from('abcdefghijklmn');
  wire.onData(piece);
  // Its memory is the session's again.
  piece.fill('x');
  assert.deepEqual(heard, ['abcd']);
  wire.resume();
  assert.deepEqual(heard, ['abcd', 'efgh']);
  assert.deepEqual(calls, ['resume', 'pause', 'pause']);
  wire.resume();
  assert.deepEqual(heard, ['abcd', 'efgh', 'ijkl', 'mn']);
  wire.resume();
  assert.deepEqual(calls, ['resume', 'pause', 'pause', 'pause', 'resume']);
});

test('a write is out when the stream has taken all of it, and texts keep their place around a chunk', () => {
  const { wire, stream, calls, heard } = scene();
  assert.equal(wire.writeChunk('a', Buffer.from('b'), 'c'), true);
  stream.queuedBytes = 1;
  assert.deepEqual([wire.writeText('d\xff'), wire.blocked], [false, true]);
  assert.deepEqual(calls, ['write a', 'write b', 'write c', 'write d\xff']);
  wire.onDrain();
  assert.deepEqual(heard, ['drain']);
});

test('trailers reset the stream, and a reset breaks the wire once', async () => {
  const { wire, calls, heard } = scene();
  wire.onFields();
  assert.deepEqual(calls, ['reset 1']);
  wire.onEnd();
  wire.onClosed();
  wire.onClosed();
  await setImmediate();
  assert.deepEqual([heard, wire.closed, wire.writeText('x')], [['broken'], true, true]);
  wire.close();
  wire.reset();
  wire.end();
  assert.deepEqual(calls, ['reset 1']);
});

test('close resets the stream, unless both sides have ended it and nothing waits', async () => {
  for (const [hasEnded, localEnded, queuedBytes] of [
    [false, true, 0],
    [true, false, 0],
    [true, true, 1],
    [true, true, 0],
  ] as const) {
    const { wire, stream, calls, heard } = scene();
    if (hasEnded) wire.onEnd();
    Object.assign(stream, { localEnded, queuedBytes });
    assert.equal(wire.readable, !hasEnded);
    wire.close();
    await setImmediate();
    const isOver = hasEnded && localEnded && queuedBytes === 0;
    assert.deepEqual([calls, heard, wire.closed], [isOver ? [] : ['reset 8'], [], true]);
  }
});
