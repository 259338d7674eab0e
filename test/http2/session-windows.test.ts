/** Flow control (RFC 9113 §5.2, §6.9), exactly. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CODE } from '../../src/http2/frames.ts';
import { data, FLAGS, frame, headers, request, settings, TYPES } from '../support/h2-frames.ts';
import { bodyOf } from '../support/pattern.ts';
import { GET, RawSession, update } from './raw-session.ts';
import { OK } from './session-scene.ts';

const POST = (stream: number): Buffer => headers(stream, request([], { method: 'POST' }), { ends: false });
const MAX = 2 ** 31 - 1;

function padded(stream: number, payload: Buffer, padBytes: number): Buffer {
  const parts = [Buffer.from([padBytes]), payload, Buffer.alloc(padBytes)];
  return frame(TYPES.data, FLAGS.padded, stream, Buffer.concat(parts));
}

/** The sum of the window updates for a stream that were written since the last call. */
function grants(session: RawSession): (stream: number) => number {
  const updates = session.written().filter(({ type }) => type === TYPES.window);
  return (stream) =>
    updates
      .filter((each) => each.stream === stream)
      .reduce((sum, { payload }) => sum + payload.readUInt32BE(0), 0);
}

for (const isKeeping of [false, true])
  test(`windows open by what was taken and by padding, never by more; pieces kept: ${isKeeping}`, () => {
    const windows = { streamWindowBytes: 40_000, connectionWindowBytes: 65_535 };
    const session = new RawSession(windows).begin();
    session.send(POST(1));
    const { stream } = session.host.lastRequest;
    const reader = session.host.lastRequest;
    if (isKeeping) reader.onPiece = () => stream.pause();
    stream.resume();
    session.written();
    let [sentBytes, streamGranted, connectionGranted, keptBytes] = [0, 0, 0, 0];
    for (let i = 0; i < 300; i++) {
      const size = (i * 997) % 9_000;
      const padBytes = i % 3 === 0 ? i % 256 : -1;
      const payload = bodyOf(1, size);
      session.send(padBytes < 0 ? data(1, payload) : padded(1, payload, padBytes));
      sentBytes += padBytes < 0 ? size : size + padBytes + 1;
      keptBytes = isKeeping ? size : 0;
      const granted = grants(session);
      streamGranted += granted(1);
      connectionGranted += granted(0);
      assert.ok(streamGranted <= sentBytes - keptBytes, `stream: ${streamGranted} of ${sentBytes} at ${i}`);
      assert.ok(connectionGranted <= sentBytes, `connection: ${connectionGranted} of ${sentBytes} at ${i}`);
      stream.resume();
      streamGranted += grants(session)(1);
      // Less than half a window is never outstanding for long.
      assert.ok(sentBytes - streamGranted < 20_000 && sentBytes - connectionGranted < 32_768, `at ${i}`);
    }
    assert.equal(session.host.closedBy, undefined);
  });

test('the whole window of a stream may come unread; one byte more ends the connection', () => {
  const session = new RawSession({ streamWindowBytes: 65_535, connectionWindowBytes: 200_000 }).begin();
  session.send(POST(1));
  assert.equal(grants(session)(0), 200_000 - 65_535);
  for (let left = 65_535; left > 0; left -= 16_384)
    session.send(data(1, Buffer.alloc(Math.min(16_384, left))));
  assert.equal(session.host.closedBy, undefined);
  session.send(data(1, 'x'));
  assert.equal(session.goawayCode(), CODE.FLOW_CONTROL_ERROR);
});

test('DATA of a closed stream counts in the window of the connection, which is given back', () => {
  const session = new RawSession({ connectionWindowBytes: 65_535 }).begin();
  session.send(POST(1));
  session.host.lastRequest.stream.reset(CODE.CANCEL);
  let granted = 0;
  for (let i = 0; i < 50; i++) {
    session.send(data(1, Buffer.alloc(16_000)));
    granted += grants(session)(0);
  }
  assert.ok(granted > 50 * 16_000 - 32_768 && granted <= 50 * 16_000, `${granted}`);
  assert.equal(session.host.closedBy, undefined);
});

test('no byte is sent beyond the windows of the peer, and every byte within them', () => {
  const session = new RawSession().begin([4, 1_000]);
  session.send(GET(1), GET(3));
  const [first, second] = session.host.requests.map(({ stream }) => stream);
  for (const stream of [first!, second!]) {
    stream.sendFields(OK, false);
    assert.equal(stream.write(bodyOf(1, 100_000)), false);
    stream.end([]);
  }
  const count = (): number[] => {
    const frames = session.written().filter(({ type }) => type === TYPES.data);
    return [1, 3].map((id) =>
      frames.filter(({ stream }) => stream === id).reduce((sum, { payload }) => sum + payload.length, 0),
    );
  };
  assert.deepEqual(count(), [1_000, 1_000]);
  session.send(update(1, 500));
  assert.deepEqual(count(), [500, 0]);
  // The windows of both become 2,000 larger; a smaller initial window makes them negative.
  session.send(settings([4, 3_000]));
  assert.deepEqual(count(), [2_000, 2_000]);
  session.send(settings([4, 0]), update(1, 2_999));
  assert.deepEqual(count(), [0, 0]);
  session.send(update(1, 2), update(3, 3_000));
  assert.deepEqual(count(), [1, 0]);
  session.send(update(1, MAX), update(3, MAX));
  const [one, three] = count() as [number, number];
  // Then the window of the connection is used up.
  assert.equal(1_000 + 1_000 + 500 + 2_000 + 2_000 + 1 + one + three, 65_535);
  assert.ok(Math.abs(one - three) <= 16_384, `${one} and ${three}`);
  session.send(update(0, MAX - 65_535));
  assert.deepEqual(count(), [100_000 - 3_501 - one, 100_000 - 3_000 - three]);
});

test('a window of 2^31 − 1 bytes is allowed; a larger one resets its stream, or ends the connection', () => {
  const session = new RawSession().begin();
  session.send(GET(1), GET(3));
  session.send(update(1, MAX - 65_535), update(0, MAX - 65_535));
  session.written();
  session.send(update(1, 1));
  assert.deepEqual(session.shown(), [`reset 1 ${CODE.FLOW_CONTROL_ERROR}`]);
  assert.equal(session.host.requests[0]?.closedBy, CODE.FLOW_CONTROL_ERROR);
  session.send(update(3, 65_536));
  assert.equal(session.host.closedBy, undefined);
  session.send(update(0, 1));
  assert.equal(session.goawayCode(), CODE.FLOW_CONTROL_ERROR);
});

test('of several initial windows in one frame the last one counts', () => {
  const session = new RawSession().begin([4, 10]);
  session.send(GET(1), settings([4, 2 ** 31 - 1], [4, 0], [4, 30], [4, 20]));
  const { stream } = session.host.lastRequest;
  stream.sendFields(OK, false);
  stream.write(bodyOf(1, 100));
  assert.deepEqual(session.shown().slice(-1), ['data 1 20']);
});

test('an initial window that makes one of a stream too large ends the connection', () => {
  const session = new RawSession().begin();
  session.send(GET(1), update(1, 1), settings([4, MAX]));
  assert.equal(session.goawayCode(), CODE.FLOW_CONTROL_ERROR);
});

test('the limit of streams that a peer has named stays until it names another', () => {
  const session = new RawSession({ isServer: false }).begin([3, 7]);
  assert.equal(session.host.maxStreams, 7);
  session.send(settings([4, 100]));
  assert.equal(session.host.maxStreams, 7);
  session.send(settings([3, 9]));
  assert.equal(session.host.maxStreams, 9);
});
