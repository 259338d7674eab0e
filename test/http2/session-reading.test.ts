/** When the owner of a stream hears of what has come. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CODE } from '../../src/http2/frames.ts';
import { data, headers, request } from '../support/h2-frames.ts';
import { bodyOf, firstMismatch } from '../support/pattern.ts';
import { RawSession } from './raw-session.ts';
import { answered, joinSessions, OK, sendAll, until, upload } from './session-scene.ts';

test('a stream that the peer has opened waits for resume; its window bounds what comes', async () => {
  const scene = await joinSessions({ server: { streamWindowBytes: 20_000 } });
  const { sender, reader } = await upload(scene);
  sendAll(sender, bodyOf(1, 50_000), { trailers: ['x-a', '1'] });
  await answered(scene.client);
  assert.deepEqual([reader.log, sender.stream.framedBytes], [[], 20_000]);
  assert.ok(reader.stream.unreadMemoryBytes >= 20_000 && reader.stream.unreadMemoryBytes <= 65_536);
  reader.stream.resume();
  await until('the end', () => reader.hasEnded);
  assert.equal(firstMismatch(reader.body, bodyOf(1, 50_000)), -1);
  assert.deepEqual(reader.log, ['data', 'fields, the last', 'end']);
  assert.equal(reader.stream.unreadMemoryBytes, 0);
});

test('bytes, trailers and the end wait in their order while the stream is paused', async () => {
  const scene = await joinSessions();
  const { sender, reader } = await upload(scene);
  const body = bodyOf(2, 5_000);
  sendAll(sender, body, { pieceBytes: 700, trailers: ['x-a', '1'] });
  await until('all of it', () => reader.stream.remoteEnded);
  assert.deepEqual(reader.log, []);
  reader.onPiece = () => reader.stream.pause();
  reader.stream.resume();
  assert.deepEqual(reader.log, ['data']);
  await answered(scene.client);
  assert.deepEqual(reader.log, ['data']);
  reader.stream.resume();
  assert.deepEqual(reader.log, ['data', 'fields, the last', 'end']);
  assert.equal(firstMismatch(reader.body, body), -1);
});

test('the end waits while the owner keeps the last piece, trailers or not', async () => {
  for (const trailers of [[], ['x-a', '1']]) {
    const scene = await joinSessions();
    const { sender, reader } = await upload(scene);
    reader.onPiece = () => reader.stream.pause();
    reader.stream.resume();
    for (const size of [2_000, 5]) {
      sender.stream.write(bodyOf(2, size));
      await until('the piece', () => reader.log.length > 0);
      if (size === 5) sender.stream.end(trailers);
      else reader.stream.resume();
    }
    await until('the end', () => reader.stream.remoteEnded);
    assert.deepEqual(reader.log, ['data']);
    reader.stream.resume();
    reader.stream.resume();
    assert.deepEqual(reader.log.slice(1), trailers.length > 0 ? ['fields, the last', 'end'] : ['end']);
  }
});

test('what pauses and resumes within onData gets every byte once, in order', async () => {
  const scene = await joinSessions();
  const { sender, reader } = await upload(scene);
  let count = 0;
  reader.onPiece = () => {
    count++;
    if (count % 2 === 0) reader.stream.pause();
    if (count % 4 === 0) reader.stream.resume();
    if (count % 4 === 2) setImmediate(() => reader.stream.resume());
  };
  reader.stream.resume();
  sendAll(sender, bodyOf(4, 700_000), { pieceBytes: 3_333, trailers: ['x-a', '1'] });
  await until('the end', () => reader.hasEnded);
  assert.equal(firstMismatch(reader.body, bodyOf(4, 700_000)), -1);
  assert.deepEqual(reader.log.slice(-2), ['fields, the last', 'end']);
});

test('without bytes before them, trailers and the end come while the stream is paused', async () => {
  const scene = await joinSessions();
  const { sender, reader } = await upload(scene);
  sender.stream.end(['x-a', '1']);
  await until('the end', () => reader.hasEnded);
  assert.deepEqual(reader.log, ['fields, the last', 'end']);
});

test('after the peer has ended its side, what waits can be read behind the end of the stream', async () => {
  const scene = await joinSessions();
  const { sender, reader } = await upload(scene);
  sendAll(sender, bodyOf(5, 5_000));
  await until('all of it', () => reader.stream.remoteEnded);
  reader.stream.sendFields(OK, true);
  await until('the end of both', () => reader.closedBy !== null && sender.closedBy !== null);
  assert.deepEqual([reader.log, reader.stream.isWhole], [['closed'], true]);
  reader.stream.resume();
  assert.deepEqual(reader.log, ['closed', 'data', 'end']);
  assert.equal(firstMismatch(reader.body, bodyOf(5, 5_000)), -1);
});

test('what waits is dropped when the peer resets the stream in the middle', async () => {
  const scene = await joinSessions();
  const { sender, reader } = await upload(scene);
  sender.stream.write(bodyOf(5, 5_000));
  await until('the bytes', () => reader.stream.unreadMemoryBytes > 0);
  sender.stream.reset(CODE.CANCEL);
  await until('the reset', () => reader.closedBy === CODE.CANCEL);
  assert.equal(reader.stream.unreadMemoryBytes, 0);
  reader.stream.resume();
  assert.deepEqual(reader.log, ['closed']);
});

for (const event of ['data', 'fields, the last', 'end'])
  test(`our reset from within '${event}' is the last that the owner hears`, async () => {
    const scene = await joinSessions();
    const { sender, reader } = await upload(scene);
    sendAll(sender, bodyOf(6, 5_000), { trailers: ['x-a', '1'] });
    await until('all of it', () => reader.stream.remoteEnded);
    reader.onAny = (heard) => heard === event && reader.stream.reset(CODE.CANCEL);
    reader.stream.resume();
    reader.stream.resume();
    await answered(scene.client);
    assert.equal(reader.log.at(-1), event);
    assert.deepEqual([scene.server.closedStreams, scene.server.session.streamCount], [[1], 0]);
  });

test('a reset stream that was paused gives nothing when it is resumed', async () => {
  const scene = await joinSessions();
  const { sender, reader } = await upload(scene);
  sendAll(sender, bodyOf(6, 5_000), { trailers: ['x-a', '1'] });
  await until('all of it', () => reader.stream.remoteEnded);
  reader.stream.reset(CODE.CANCEL);
  assert.equal(reader.stream.unreadMemoryBytes, 0);
  reader.stream.resume();
  assert.deepEqual(reader.log, []);
});

test('what is discarded is dropped, its window stays closed, and the stream still ends', async () => {
  const scene = await joinSessions({ server: { streamWindowBytes: 20_000 } });
  const { sender, reader } = await upload(scene);
  reader.stream.discard();
  sendAll(sender, bodyOf(7, 60_000));
  await answered(scene.client);
  assert.deepEqual([reader.log, sender.stream.framedBytes, reader.stream.unreadMemoryBytes], [[], 20_000, 0]);
  reader.stream.sendFields(OK, true);
  reader.stream.stopPeer();
  await until('the end', () => reader.closedBy === CODE.NO_ERROR && sender.closedBy === CODE.NO_ERROR);
  assert.deepEqual([reader.stream.isWhole, sender.stream.isWhole], [true, false]);
  assert.deepEqual(sender.fields, [OK]);
});

test('a stream that has ended on both sides closes, though its bytes are discarded unread', async () => {
  const scene = await joinSessions();
  const { sender, reader } = await upload(scene);
  reader.stream.sendFields(OK, true);
  sendAll(sender, bodyOf(8, 5_000));
  await until('all of it', () => reader.stream.remoteEnded);
  reader.stream.discard();
  await until('the end', () => reader.closedBy === CODE.NO_ERROR);
  assert.equal(scene.server.session.streamCount, 0);
});

for (const how of ['discard', 'stopPeer'] as const)
  test(`after ${how}() in the middle of a frame, neither its rest nor trailers nor the end are told`, () => {
    for (const isLastFrame of [true, false]) {
      const session = new RawSession().begin();
      session.send(headers(1, request([], { method: 'POST' }), { ends: false }));
      const reader = session.host.lastRequest;
      reader.stream.resume();
      const frame = data(1, bodyOf(1, 3_000), { ends: isLastFrame });
      session.feed(frame.subarray(0, 2_000));
      reader.stream.sendFields(OK, true);
      reader.stream[how]();
      session.feed(frame.subarray(2_000));
      if (!isLastFrame) session.send(headers(1, [['x-a', '1']]));
      session.written();
      assert.deepEqual(reader.log, ['data', 'closed']);
      assert.deepEqual([reader.stream.isWhole, session.host.closedBy], [true, undefined]);
      assert.deepEqual(session.host.noise, ['settings']);
    }
  });

test('what was on its way when the peer was told to stop is dropped, also while the wire is blocked', async () => {
  const scene = await joinSessions();
  const { client, server, serverWire, clientWire } = scene;
  const { sender, reader } = await upload(scene);
  reader.stream.resume();
  clientWire.isDeaf = true;
  serverWire.capacityBytes = 1;
  server.session.ping();
  reader.stream.sendFields(OK, true);
  await until('a blocked wire', () => server.wire.blocked);
  reader.stream.stopPeer();
  sendAll(sender, bodyOf(9, 40_000), { trailers: ['x-a', '1'] });
  await until(
    'the frames',
    () => clientWire.takenBytes > 40_000 && server.session.readBytes === clientWire.takenBytes,
  );
  assert.deepEqual([server.closedBy, reader.log], [undefined, []]);
  serverWire.capacityBytes = 1 << 20;
  clientWire.hear();
  await until('the end', () => reader.closedBy === CODE.NO_ERROR);
  await until('the answer', () => sender.closedBy !== null);
  assert.deepEqual([sender.fields, client.closedBy, server.noise], [[OK], undefined, ['settings']]);
});
