/** A session whose wire takes nothing for a time. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CODE } from '../../src/http2/frames.ts';
import { bufferBytes } from '../proxy/bodies/memory.ts';
import { frame, TYPES } from '../support/h2-frames.ts';
import { bodyOf, firstMismatch } from '../support/pattern.ts';
import { GET, RawSession, serve } from './raw-session.ts';
import { OK, type StreamOwner } from './session-scene.ts';

const PING = frame(TYPES.ping, 0, 0, Buffer.alloc(8));
const owners = (session: RawSession): StreamOwner[] => session.host.requests;

test('while the wire is blocked heads wait in frames, and DATA with its owner', () => {
  const session = serve(3);
  session.wire.stuck = true;
  const [first, second, third] = owners(session) as [StreamOwner, StreamOwner, StreamOwner];
  first.stream.sendFields(OK, true);
  session.written();
  assert.equal(session.host.wire.blocked, true);
  second.stream.sendFields(OK, false);
  const body = Buffer.from(bodyOf(1, 50_000));
  assert.equal(second.stream.write(body), false);
  second.stream.end([]);
  third.stream.sendFields(OK, true);
  assert.deepEqual([second.stream.framedBytes, second.stream.queuedBytes], [0, 50_000]);
  assert.deepEqual([session.shown(), session.host.closedStreams], [[], []]);
  session.wire.drain();
  assert.deepEqual(session.shown(), [
    'headers 1 END',
    'headers 3',
    'headers 5 END',
    'data 3 16375',
    'data 3 16375',
    'data 3 16375',
    'data 3 875 END',
  ]);
  assert.deepEqual([second.drainCount, session.host.closedStreams], [1, [1, 5, 3]]);
});

test('answers that the peer does not read end the connection when they are too many', () => {
  const session = serve(1);
  session.wire.stuck = true;
  session.send(PING);
  session.written();
  const pings = Buffer.concat(Array.from({ length: 1_000 }, () => PING));
  for (let i = 0; i < 3; i++) session.feed(pings);
  assert.equal(session.host.closedBy, undefined);
  session.feed(pings);
  assert.match(String(session.host.closedBy), /answers are not read/);
  assert.deepEqual(owners(session)[0]?.log, ['closed']);
  session.wire.drain();
  assert.equal(session.wire.ended, true);
});

test('what a blocked wire has keeps its bytes after the end of the session', () => {
  const session = serve(1);
  session.wire.stuck = true;
  const [owner] = owners(session) as [StreamOwner];
  owner.stream.sendFields(OK, false);
  owner.stream.write(bodyOf(1, 100_000));
  session.written();
  assert.equal(session.host.wire.blocked, true);
  session.host.session.destroy(CODE.NO_ERROR);
  const other = serve(1);
  const [next] = owners(other) as [StreamOwner];
  next.stream.sendFields(OK, false);
  next.stream.write(bodyOf(9, 300_000));
  other.written();
  session.wire.drain();
  const bytes = session
    .written()
    .filter(({ type }) => type === TYPES.data)
    .map(({ payload }) => payload);
  assert.ok(bytes.length > 0);
  const sent = Buffer.concat(bytes);
  assert.equal(firstMismatch(sent, bodyOf(1, sent.length)), -1);
});

test('sessions whose wires take nothing share few large buffers, and give all of them back', () => {
  const COUNT = 200;
  const body = Buffer.from(bodyOf(1, 100_000));
  const largeBytes = 16 * 131_072;
  const begin = (): RawSession => {
    const session = serve(1);
    session.wire.stuck = true;
    const [owner] = owners(session) as [StreamOwner];
    owner.stream.sendFields(OK, false);
    owner.stream.write(body);
    session.written();
    return session;
  };
  const before = bufferBytes();
  const sessions = Array.from({ length: COUNT }, begin);
  // Each has two small buffers besides, and some memory of its own.
  const stuckBytes = bufferBytes() - before;
  assert.ok(stuckBytes < largeBytes + COUNT * 40_000, `${stuckBytes} bytes while the wires take nothing`);
  for (const { wire } of sessions) wire.drain();
  assert.ok(sessions.every((session) => owners(session)[0]?.stream.framedBytes === body.length));
  const keptBytes = bufferBytes() - before;
  assert.ok(keptBytes < largeBytes + 64 * 16_384 + COUNT * 4_000, `${keptBytes} bytes afterwards`);
  // Of a large buffer all is framed at once.
  const next = Array.from({ length: 16 }, begin);
  assert.ok(next.every((session) => owners(session)[0]?.stream.queuedBytes === 0));
  for (const { host } of next) host.session.destroy(CODE.NO_ERROR);
  assert.equal(owners(begin())[0]?.stream.queuedBytes, 0, 'what a session has ended with counts no more');
});

test('a client may open a stream for each whose end it has read, though the wire is blocked since', () => {
  const session = new RawSession({ maxStreams: 2 }).begin();
  session.send(GET(1), GET(3));
  session.written();
  session.wire.stuck = true;
  for (const { stream } of owners(session)) stream.sendFields(OK, true);
  session.written();
  session.send(GET(5), GET(7), GET(9));
  for (const { stream } of owners(session).slice(2)) stream.sendFields(OK, true);
  // The client cannot know of the end of these.
  session.send(GET(11));
  assert.deepEqual(
    owners(session).map(({ stream }) => stream.id),
    [1, 3, 5, 7],
  );
  session.wire.drain();
  assert.deepEqual(session.shown(), [
    'headers 1 END',
    'headers 3 END',
    `reset 9 ${CODE.REFUSED_STREAM}`,
    'headers 5 END',
    'headers 7 END',
    `reset 11 ${CODE.REFUSED_STREAM}`,
  ]);
  assert.equal(session.host.session.streamCount, 0);
});
