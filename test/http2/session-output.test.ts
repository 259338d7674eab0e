/** What a session sends, and when. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CODE } from '../../src/http2/frames.ts';
import { frame, number32, settings, TYPES } from '../support/h2-frames.ts';
import { bodyOf } from '../support/pattern.ts';
import { GET, MANY, RawSession, serve, update } from './raw-session.ts';
import { OK, type StreamOwner, sendAll, turns } from './session-scene.ts';

const PING = frame(TYPES.ping, 0, 0, Buffer.alloc(8));
const owners = (session: RawSession): StreamOwner[] => session.host.requests;

test('END_STREAM is on the last DATA frame while that is unsent, else on an empty one', () => {
  const session = serve(3);
  const [first, second, third] = owners(session) as [StreamOwner, StreamOwner, StreamOwner];
  for (const { stream } of [first, second, third]) stream.sendFields(OK, false);
  first.stream.write(Buffer.from('body'));
  second.stream.write(Buffer.from('other'));
  first.stream.end([]);
  second.stream.end(['x-a', '1']);
  third.stream.write(Buffer.from('third'));
  assert.deepEqual(session.shown(), [
    'headers 1',
    'headers 3',
    'headers 5',
    'data 1 4 END',
    'data 3 5',
    'headers 3 END',
    'data 5 5',
  ]);
  third.stream.end([]);
  assert.deepEqual(session.shown(), ['data 5 0 END']);
  assert.deepEqual(session.host.closedStreams, [1, 3, 5]);
});

test('streams take turns, a frame each: a large answer does not hold up small ones', () => {
  const session = serve(4);
  session.wire.stuck = true;
  const [large, ...small] = owners(session) as [StreamOwner, ...StreamOwner[]];
  for (const { stream } of [large, ...small]) stream.sendFields(OK, false);
  session.written();
  sendAll(large, bodyOf(1, 1 << 20), { pieceBytes: 1 << 20 });
  for (const owner of small) sendAll(owner, bodyOf(2, 20_000));
  session.wire.drain();
  const frames = session.shown().filter((text) => text.startsWith('data'));
  assert.deepEqual(frames.slice(0, 8), [
    'data 1 16375',
    'data 3 16375',
    'data 5 16375',
    'data 7 16375',
    'data 1 16375',
    'data 3 3625 END',
    'data 5 3625 END',
    'data 7 3625 END',
  ]);
  assert.equal(frames.at(-1)?.endsWith('END'), true);
});

test('a piece written within onDrain waits for its turn, too', () => {
  const session = serve(2);
  session.wire.stuck = true;
  const [large, small] = owners(session) as [StreamOwner, StreamOwner];
  for (const { stream } of [large, small]) stream.sendFields(OK, false);
  session.written();
  sendAll(large, bodyOf(1, 400_000), { pieceBytes: 16_375 });
  sendAll(small, bodyOf(2, 30_000));
  session.wire.drain();
  const order = session.shown().filter((text) => text.startsWith('data'));
  assert.equal(order.indexOf('data 3 13625 END'), 3, order.slice(0, 6).join());
});

test('a piece does not overtake those that wait for the connection’s window', () => {
  const session = new RawSession().begin([4, MANY]);
  session.send(GET(1), GET(3));
  const [first, second] = owners(session) as [StreamOwner, StreamOwner];
  for (const { stream } of [first, second]) stream.sendFields(OK, false);
  first.stream.write(bodyOf(1, 100_000));
  session.written();
  session.send(update(0, 1_000));
  second.stream.write(bodyOf(2, 10_000));
  assert.deepEqual(session.shown(), ['data 1 1000']);
});

const OPENINGS: [name: string, open: (session: RawSession) => void][] = [
  ['a window of the stream', (session) => session.send(update(1, MANY))],
  ['a larger initial window', (session) => session.send(settings([4, MANY]))],
];
for (const [name, open] of OPENINGS)
  for (const isBlocked of [false, true])
    test(`a stream that was stopped by its window goes on after ${name}; wire blocked meanwhile: ${isBlocked}`, () => {
      const session = serve(1, [[4, 10]]);
      const [owner] = owners(session) as [StreamOwner];
      owner.stream.sendFields(OK, false);
      owner.stream.write(bodyOf(1, 40_000));
      owner.stream.end(['x-a', '1']);
      session.written();
      assert.deepEqual([owner.stream.framedBytes, owner.drainCount], [10, 0]);
      if (isBlocked) {
        session.wire.stuck = true;
        session.send(PING);
        session.written();
      }
      open(session);
      if (isBlocked) {
        session.written();
        assert.equal(owner.stream.framedBytes, 10);
        session.wire.drain();
      }
      assert.equal(session.shown().at(-1), 'headers 1 END');
      assert.deepEqual([owner.stream.framedBytes, owner.drainCount], [40_000, 1]);
      assert.deepEqual([session.host.closedStreams, owner.stream.isWhole], [[1], true]);
    });

test('what windows allow leaves by itself when they open', async () => {
  for (const open of [update(0, 40_000), update(1, 40_000), settings([4, 100_000])]) {
    const session = new RawSession().begin();
    session.send(GET(1));
    const [owner] = owners(session) as [StreamOwner];
    owner.stream.sendFields(OK, false);
    // Used up is the window of the connection, or that of the stream alone.
    if (open[8] === 1 || open[3] === TYPES.settings) session.send(update(0, MANY));
    else session.send(update(1, MANY));
    assert.equal(owner.stream.write(bodyOf(1, 65_536)), false);
    await turns(2);
    assert.equal(owner.drainCount, 0);
    session.send(open);
    await turns(1);
    assert.equal(owner.drainCount, 1);
  }
});

test('streams that the peer resets while others hold the window leave nothing behind', () => {
  const session = new RawSession().begin([4, MANY]);
  session.send(GET(1));
  const [first] = owners(session) as [StreamOwner];
  first.stream.sendFields(OK, false);
  first.stream.write(bodyOf(1, 70_000));
  first.stream.reset(CODE.CANCEL);
  for (let id = 3; id < 400; id += 2) {
    session.send(GET(id));
    const { stream } = session.host.lastRequest;
    stream.sendFields(OK, false);
    assert.equal(stream.write(Buffer.from('waits')), false);
    session.send(frame(TYPES.reset, 0, id, number32(8)));
  }
  session.written();
  assert.deepEqual([session.host.session.streamCount, session.host.session.hasQueued], [0, false]);
});
