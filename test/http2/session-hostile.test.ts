/** What breaks the protocol, what only costs, and owners that end things from within events. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CODE } from '../../src/http2/frames.ts';
import { collected } from '../support/collected.ts';
import {
  block,
  data,
  FLAGS,
  frame,
  headers,
  number32,
  PREFACE,
  request,
  settings,
  TYPES,
} from '../support/h2-frames.ts';
import { GET, RawSession } from './raw-session.ts';
import { OK, requestOf } from './session-scene.ts';

const POST = (stream: number): Buffer => headers(stream, request([], { method: 'POST' }), { ends: false });
const CUT = frame(TYPES.headers, 0, 1, block(request()));

/** What ends the connection, and by which code (RFC 9113). */
const FATAL: [title: string, frames: Buffer[], code: number][] = [
  ['a frame above 16,384 bytes', [frame(0xfa, 0, 0, '', 16_385)], CODE.FRAME_SIZE_ERROR],
  ['DATA on stream 0', [data(0, 'x')], CODE.PROTOCOL_ERROR],
  ['DATA on an idle stream', [data(1, 'x')], CODE.PROTOCOL_ERROR],
  ['DATA behind END_STREAM', [GET(1), data(1, 'x')], CODE.STREAM_CLOSED],
  [
    'DATA with more padding than payload',
    [POST(1), frame(TYPES.data, FLAGS.padded, 1, '\x05abc')],
    CODE.PROTOCOL_ERROR,
  ],
  ['padded DATA without payload', [POST(1), frame(TYPES.data, FLAGS.padded, 1)], CODE.FRAME_SIZE_ERROR],
  ['HEADERS on stream 0', [GET(0)], CODE.PROTOCOL_ERROR],
  ['HEADERS on an even stream', [GET(2)], CODE.PROTOCOL_ERROR],
  ['HEADERS on an even stream below those that were opened', [GET(5), GET(4)], CODE.PROTOCOL_ERROR],
  ['HEADERS behind END_STREAM', [GET(1), GET(1)], CODE.STREAM_CLOSED],
  ['HEADERS with more padding than payload', [frame(TYPES.headers, 12, 1, '\x09abc')], CODE.PROTOCOL_ERROR],
  ['HEADERS with half a priority', [frame(TYPES.headers, 36, 1, 'abc')], CODE.PROTOCOL_ERROR],
  ['a block that cannot be decoded', [frame(TYPES.headers, 4, 1, '\x80')], CODE.COMPRESSION_ERROR],
  ['another frame within a block', [CUT, frame(TYPES.ping, 0, 0, Buffer.alloc(8))], CODE.PROTOCOL_ERROR],
  ['DATA within a block', [POST(3), frame(TYPES.headers, 0, 5, ''), data(3, 'x')], CODE.PROTOCOL_ERROR],
  ['CONTINUATION of another stream', [CUT, frame(TYPES.continuation, 4, 3)], CODE.PROTOCOL_ERROR],
  ['CONTINUATION of nothing', [frame(TYPES.continuation, 4, 1)], CODE.PROTOCOL_ERROR],
  ['PRIORITY on stream 0', [frame(TYPES.priority, 0, 0, Buffer.alloc(5))], CODE.PROTOCOL_ERROR],
  ['RST_STREAM on an idle stream', [frame(TYPES.reset, 0, 1, number32(8))], CODE.PROTOCOL_ERROR],
  ['RST_STREAM of a wrong size', [POST(1), frame(TYPES.reset, 0, 1, 'abc')], CODE.FRAME_SIZE_ERROR],
  ['SETTINGS on a stream', [frame(TYPES.settings, 0, 1)], CODE.PROTOCOL_ERROR],
  ['SETTINGS of a wrong size', [frame(TYPES.settings, 0, 0, 'abc')], CODE.FRAME_SIZE_ERROR],
  ['SETTINGS ACK with a payload', [frame(TYPES.settings, 1, 0, 'abcdef')], CODE.FRAME_SIZE_ERROR],
  ['ENABLE_PUSH above 1', [settings([2, 2])], CODE.PROTOCOL_ERROR],
  ['ENABLE_CONNECT_PROTOCOL above 1', [settings([8, 2])], CODE.PROTOCOL_ERROR],
  ['too large an initial window', [settings([4, 2 ** 31])], CODE.FLOW_CONTROL_ERROR],
  ['too small frames', [settings([5, 16_383])], CODE.PROTOCOL_ERROR],
  ['too large frames', [settings([5, 2 ** 24])], CODE.PROTOCOL_ERROR],
  ['PUSH_PROMISE', [frame(TYPES.push, 4, 1, number32(2))], CODE.PROTOCOL_ERROR],
  ['PING on a stream', [frame(TYPES.ping, 0, 1, Buffer.alloc(8))], CODE.PROTOCOL_ERROR],
  ['PING of a wrong size', [frame(TYPES.ping, 0, 0, 'abc')], CODE.FRAME_SIZE_ERROR],
  ['PING ACK that was not asked for', [frame(TYPES.ping, 1, 0, Buffer.alloc(8))], CODE.PROTOCOL_ERROR],
  ['GOAWAY on a stream', [frame(TYPES.goaway, 0, 1, number32(0, 0))], CODE.PROTOCOL_ERROR],
  ['GOAWAY of a wrong size', [frame(TYPES.goaway, 0, 0, 'abc')], CODE.FRAME_SIZE_ERROR],
  ['WINDOW_UPDATE of a wrong size', [frame(TYPES.window, 0, 0, 'abc')], CODE.FRAME_SIZE_ERROR],
  ['WINDOW_UPDATE by 0', [frame(TYPES.window, 0, 0, number32(0))], CODE.PROTOCOL_ERROR],
  ['WINDOW_UPDATE on an idle stream', [frame(TYPES.window, 0, 1, number32(1))], CODE.PROTOCOL_ERROR],
];

test('what breaks the protocol ends the connection by its code, and each stream hears it', () => {
  for (const [title, frames, code] of FATAL) {
    const session = new RawSession().begin();
    session.send(...frames);
    assert.equal(session.goawayCode(), code, title);
    const { host } = session;
    assert.ok(host.closedBy instanceof Error, title);
    assert.ok(
      host.requests.every(({ log }) => log.filter((event) => event === 'closed').length === 1),
      title,
    );
    assert.deepEqual([host.session.streamCount, session.wire.ended], [0, true], title);
    const before = [...host.noise];
    session.send(GET(99), frame(TYPES.ping, 0, 0, Buffer.alloc(8)));
    assert.deepEqual(host.noise, before, `${title}: nothing is read afterwards`);
  }
});

test('SETTINGS must come first, behind the preface', () => {
  for (const first of [
    GET(1),
    data(1, ''),
    frame(TYPES.settings, 1, 0),
    frame(TYPES.ping, 0, 0, Buffer.alloc(8)),
  ]) {
    const session = new RawSession();
    session.send(Buffer.from(PREFACE, 'latin1'), first);
    assert.equal(session.goawayCode(), CODE.PROTOCOL_ERROR);
    assert.match(String(session.host.closedBy), /SETTINGS must come first/);
  }
  const session = new RawSession();
  session.feed(Buffer.from(`${PREFACE.slice(0, 20)}x`, 'latin1'));
  assert.equal(session.goawayCode(), CODE.PROTOCOL_ERROR);
});

test('frames for streams that have closed do no harm', () => {
  const session = new RawSession().begin();
  session.send(POST(1), POST(3));
  session.host.requests[0]?.stream.reset(CODE.CANCEL);
  session.send(
    data(1, 'x'),
    frame(TYPES.window, 0, 1, number32(5)),
    headers(1, [['x-a', '1']]),
    data(1, '', { ends: true }),
    frame(TYPES.reset, 0, 1, number32(8)),
    data(3, 'y', { ends: true }),
  );
  assert.deepEqual([session.host.closedBy, session.host.requests[0]?.log], [undefined, []]);
  assert.equal(session.host.requests[1]?.stream.remoteEnded, true);
});

test('trailers that are malformed, or that do not end the stream, reset it', () => {
  for (const bad of [
    headers(1, [[':path', '/']]),
    headers(1, [['x-a', '1']], { ends: false }),
    headers(1, [['Upper', '1']]),
    headers(1, [['connection', 'close']]),
  ]) {
    const session = new RawSession().begin();
    session.send(POST(1));
    session.written();
    session.send(bad);
    assert.deepEqual(session.shown(), [`reset 1 ${CODE.PROTOCOL_ERROR}`]);
    assert.deepEqual(session.host.lastRequest.log, ['closed']);
    assert.deepEqual(session.host.noise, ['settings', 'invalid_frames']);
  }
});

test('a client resets a stream whose answer is malformed, and no other', () => {
  const bads: Buffer[][] = [
    [data(1, 'x')],
    [headers(1, [['x-a', '1']])],
    [headers(1, [[':status', '101']], { ends: false })],
    [headers(1, [[':status', '100']])],
    [headers(1, [[':status', '200']], { ends: false }), headers(1, [[':status', '200']])],
    [headers(1, [[':status', '100']], { ends: false }), data(1, 'x')],
  ];
  for (const [i, bad] of bads.entries()) {
    const session = new RawSession({ isServer: false }).begin();
    const [first, second] = [session.host.open(), session.host.open()];
    session.written();
    session.send(...bad, headers(3, [[':status', '200']]));
    assert.deepEqual(session.shown(), [`reset 1 ${CODE.PROTOCOL_ERROR}`], `${i}`);
    assert.deepEqual([first.closedBy, second.closedBy], [CODE.PROTOCOL_ERROR, CODE.NO_ERROR], `${i}`);
    assert.equal(session.host.closedBy, undefined);
  }
});

/** Makes the host of a server hear everything. */
function everything(session: RawSession): void {
  session.begin();
  session.send(
    POST(1),
    POST(3),
    frame(TYPES.ping, 0, 0, Buffer.alloc(8)),
    frame(TYPES.priority, 0, 1, Buffer.alloc(5)),
    frame(TYPES.reset, 0, 1, number32(8)),
    headers(5, [['bad', '']]),
    headers(7, request([['x-a', 'a'.repeat(9_000)]])),
    data(3, ''),
    data(3, 'a', { ends: true }),
    frame(TYPES.goaway, 0, 0, number32(0, 0)),
    GET(9),
    settings([4, 10]),
  );
  session.host.lastRequest?.stream.sendFields(OK, true);
  session.written();
}

test('a host that ends the session within any event hears nothing afterwards', () => {
  const events = [
    'settings',
    'ping',
    'control',
    'reset',
    'invalid_frames',
    'oversized_heads',
    'stream closed',
    'goaway',
  ];
  for (const event of events) {
    const session = new RawSession({ maxListBytes: 4_000 });
    const { host } = session;
    const heard: string[] = [];
    host.onAny = (each) => {
      heard.push(each);
      if (each === event) host.session.destroy(CODE.NO_ERROR);
    };
    everything(session);
    assert.ok(heard.includes(event), event);
    assert.equal(heard.at(-1), 'closed', `${event}: ${heard}`);
    assert.equal(heard.filter((each) => each === 'closed').length, 1, event);
    assert.equal(host.session.streamCount, 0, event);
    assert.equal(new Set(host.closedStreams).size, host.closedStreams.length, event);
    for (const { log } of host.requests)
      assert.ok(
        log.filter((each) => each === 'closed').length <= 1 && log.indexOf('closed') === log.length - 1,
      );
  }
});

test('the owner of a stream hears of its end before the host, and both before the end of the session', () => {
  for (const ender of ['the host', 'the owner']) {
    const session = new RawSession({ isServer: false }).begin();
    const heard: string[] = [];
    const { host } = session;
    const owner = host.open();
    const end = (by: string): void => {
      if (by === ender) host.session.destroy(CODE.NO_ERROR);
    };
    owner.onAny = (event) => {
      heard.push(event);
      if (event === 'closed') end('the owner');
    };
    host.onAny = (event) => {
      heard.push(`host: ${event}`);
      if (event === 'stream closed') end('the host');
    };
    session.send(frame(TYPES.reset, 0, 1, number32(CODE.REFUSED_STREAM)));
    const wanted = ['host: reset', 'closed', 'host: stream closed', 'host: closed'];
    // The owner notes its event before it ends the session.
    assert.deepEqual(heard, wanted, ender);
    assert.deepEqual([host.closedStreams, owner.closedBy], [[1], CODE.REFUSED_STREAM]);
  }
});

test('what is opened or asked for on a session that has ended does no harm', () => {
  const session = new RawSession({ isServer: false }).begin();
  const request_ = session.host.open(requestOf('POST'), false);
  session.host.session.destroy(CODE.NO_ERROR);
  session.host.session.ping();
  session.host.session.goaway(CODE.NO_ERROR);
  request_.stream.write(Buffer.from('x'));
  request_.stream.end([]);
  request_.stream.reset(CODE.CANCEL);
  request_.stream.stopPeer();
  session.host.session.destroy(CODE.NO_ERROR);
  session.host.session.onDrain();
  session.host.session.onEnd();
  assert.deepEqual([request_.log, session.host.session.streamCount], [['closed'], 0]);
});

test('a session that was destroyed is let go with its wire, however long the peer might have had', async () => {
  let session: RawSession | null = new RawSession().begin();
  const inner = new WeakRef(session.host.session);
  session.send(frame(TYPES.window, 0, 0, number32(0)));
  session.host.session.onEnd();
  assert.equal(session.host.isWireClosed, true);
  session = null;
  const startMs = performance.now();
  await collected('the session', inner);
  assert.ok(performance.now() - startMs < 1_500, 'its timer has kept it');
});
