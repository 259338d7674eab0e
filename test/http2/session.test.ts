/** Two sessions, joined in memory. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CODE } from '../../src/http2/frames.ts';
import { bodyOf, firstMismatch } from '../support/pattern.ts';
import { BODY_SIZES, echo } from './echo.ts';
import { joinSessions, OK, requestOf, type StreamOwner, sendAll, until } from './session-scene.ts';

test('a head without a body reaches the other side, and the answer comes back', async () => {
  const { client, server } = await joinSessions();
  server.serve = ({ stream }) => stream.sendFields([...OK, 'X-Of', 'Us'], true);
  const request = client.open(requestOf('GET', '/path', ['x-a', '1', 'x-a', '2']));
  await until('the answer', () => request.closedBy !== null);
  assert.deepEqual(server.lastRequest.head, requestOf('GET', '/path', ['x-a', '1', 'x-a', '2']));
  assert.deepEqual(request.fields, [[...OK, 'x-of', 'Us']]);
  assert.deepEqual(request.log, ['fields, the last', 'end', 'closed']);
  assert.equal(request.stream.isWhole, true);
  await until('the end of the server’s stream', () => server.session.streamCount === 0);
  assert.deepEqual(server.lastRequest.log, ['closed']);
  assert.deepEqual(
    [client.closedStreams, server.closedStreams, client.session.streamCount, server.session.streamCount],
    [[1], [1], 0, 0],
  );
});

for (const windowBytes of [65_535, 1 << 20, 1_000])
  test(`bodies of all sizes go both ways, with windows of ${windowBytes} bytes`, async () => {
    const options = { streamWindowBytes: windowBytes, connectionWindowBytes: Math.max(65_535, windowBytes) };
    const scene = await joinSessions({ client: options, server: options });
    const { client, server } = scene;
    scene.clientWire.capacityBytes = scene.serverWire.capacityBytes = 50_000;
    server.serve = echo;
    for (const size of BODY_SIZES.filter((bytes) => bytes <= 400 * windowBytes)) {
      const request = client.open(requestOf('POST'), false);
      const body = bodyOf(size % 100, size);
      sendAll(request, body);
      await until(`an echo of ${size} bytes`, () => request.closedBy !== null);
      assert.equal(request.closedBy, CODE.NO_ERROR);
      assert.equal(firstMismatch(request.body, body), -1, `${size}`);
      assert.equal(request.hasEnded, true);
    }
    assert.deepEqual([client.closedBy, server.closedBy], [undefined, undefined]);
  });

test('the bodies of many streams at a time stay apart, in both directions', async () => {
  const { client, server, clientWire, serverWire } = await joinSessions();
  clientWire.capacityBytes = serverWire.capacityBytes = 30_000;
  server.serve = (request) => {
    request.stream.sendFields(OK, false);
    sendAll(request, bodyOf(Number(request.head[7]?.slice(1)), 200_000), { pieceBytes: 7_001 });
    request.stream.resume();
  };
  const requests = Array.from({ length: 60 }, (_, i) => client.open(requestOf('POST', `/${i}`), false));
  for (const [i, request] of requests.entries()) sendAll(request, bodyOf(100 + i, 150_000 + i));
  await until('the answers', () => requests.every(({ closedBy }) => closedBy === CODE.NO_ERROR));
  for (const [i, request] of requests.entries()) {
    assert.equal(firstMismatch(request.body, bodyOf(i, 200_000)), -1, `answer ${i}`);
    const { body } = server.requests[i] as StreamOwner;
    assert.equal(firstMismatch(body, bodyOf(100 + i, 150_000 + i)), -1, `request ${i}`);
  }
});

test('interim heads come before the final one, trailers behind the body, in both directions', async () => {
  const { client, server } = await joinSessions();
  server.serve = (request) => {
    request.stream.sendFields([':status', '100'], false);
    request.stream.sendFields([':status', '103', 'link', '</a>'], false);
    request.onAny = (event) => {
      if (event !== 'end') return;
      request.stream.sendFields(OK, false);
      request.stream.write(request.body);
      request.stream.end(request.fields[0]);
    };
    request.stream.resume();
  };
  const request = client.open(requestOf('POST'), false);
  sendAll(request, Buffer.from('body'), { trailers: ['x-sum', '7'] });
  await until('the answer', () => request.closedBy !== null);
  assert.deepEqual(request.fields, [
    [':status', '100'],
    [':status', '103', 'link', '</a>'],
    OK,
    ['x-sum', '7'],
  ]);
  assert.deepEqual(request.log, ['fields', 'fields', 'fields', 'data', 'fields, the last', 'end', 'closed']);
  assert.deepEqual(server.lastRequest.log, ['data', 'fields, the last', 'end', 'closed']);
});

test('a head larger than a frame is continued in others', async () => {
  const { client, server } = await joinSessions();
  server.serve = ({ stream, head }) => stream.sendFields([...OK, ...head.slice(8)], true);
  const large = ['x-a', 'a'.repeat(20_000), 'x-b', 'b'.repeat(25_000)];
  const request = client.open(requestOf('GET', '/', large));
  await until('the answer', () => request.closedBy !== null);
  assert.deepEqual(request.fields, [[...OK, ...large]]);
});

for (const from of ['client', 'server'] as const)
  test(`a reset by the ${from} closes the stream on both sides, and no other`, async () => {
    const { client, server } = await joinSessions();
    const request = client.open(requestOf('POST'), false);
    const other = client.open(requestOf('POST'), false);
    await until('the requests', () => server.requests.length === 2);
    const answer = server.requests[0] as StreamOwner;
    const [resetting, hearing] = from === 'client' ? [request, answer] : [answer, request];
    resetting.stream.reset(CODE.CANCEL);
    assert.deepEqual([resetting.stream.isClosed, resetting.closedBy], [true, null]);
    await until('the reset', () => hearing.closedBy !== null);
    assert.deepEqual(
      [hearing.closedBy, hearing.stream.isWhole, hearing.log],
      [CODE.CANCEL, false, ['closed']],
    );
    assert.deepEqual(resetting.log, []);
    // What comes for it from now on is ignored.
    hearing.stream.write(Buffer.from('late'));
    hearing.stream.end([]);
    server.requests[1]?.stream.sendFields(OK, true);
    other.stream.end([]);
    await until('the other answer', () => other.closedBy === CODE.NO_ERROR);
    const isIdle = ({ session }: { session: { streamCount: number } }): boolean => session.streamCount === 0;
    await until('both to have no stream', () => isIdle(client) && isIdle(server));
  });

test('bytes, trailers and the end of a stream that was reset meanwhile are ignored', async () => {
  const { client, server, clientWire } = await joinSessions();
  const request = client.open(requestOf('POST'), false);
  await until('the request', () => server.requests.length === 1);
  clientWire.isDeaf = true;
  server.lastRequest.stream.reset(CODE.CANCEL);
  sendAll(request, bodyOf(1, 50_000), { trailers: ['x-a', '1'] });
  await until(
    'the frames',
    () => clientWire.takenBytes > 50_000 && server.session.readBytes === clientWire.takenBytes,
  );
  clientWire.hear();
  await until('the reset', () => request.closedBy === CODE.CANCEL);
  assert.deepEqual(server.lastRequest.log, []);
  assert.deepEqual([client.closedBy, server.closedBy], [undefined, undefined]);
});

test('a GOAWAY that was announced refuses nothing before, and the answer to its PING comes behind what was on its way', async () => {
  const { client, server } = await joinSessions();
  const before = client.open();
  server.session.announceGoaway();
  const onItsWay = client.open();
  const heard: unknown[] = [];
  server.onAny = (event) => event === 'pong' && heard.push(server.requests.length);
  await until('the answer to the PING', () => server.pongCount === 1);
  assert.deepEqual([heard, client.goaways], [[2], [[2 ** 31 - 1, CODE.NO_ERROR]]]);
  server.session.goaway(CODE.NO_ERROR);
  for (const { stream } of server.requests) stream.sendFields(OK, true);
  await until('the answers', () => [before, onItsWay].every(({ closedBy }) => closedBy === CODE.NO_ERROR));
  assert.deepEqual(client.goaways[1], [3, CODE.NO_ERROR]);
});

test('GOAWAY names the last stream that is served; later ones are ignored, earlier ones end well', async () => {
  const { client, server } = await joinSessions();
  const first = client.open(requestOf('POST'), false);
  await until('the request', () => server.requests.length === 1);
  const late = client.open(requestOf());
  server.session.goaway(CODE.NO_ERROR);
  await until('the GOAWAY', () => client.goaways.length === 1);
  assert.deepEqual(client.goaways, [[1, CODE.NO_ERROR]]);
  await until('the late one to be refused', () => late.closedBy !== null);
  assert.equal(late.closedBy, CODE.REFUSED_STREAM);
  first.stream.end([]);
  server.lastRequest.stream.sendFields(OK, true);
  await until('the answer', () => first.closedBy === CODE.NO_ERROR);
  assert.equal(server.requests.length, 1);
});

test('destroy closes every stream on both sides, then the connection', async () => {
  const { client, server, clientWire } = await joinSessions();
  const owners = [client.open(), client.open(requestOf('POST'), false)];
  await until('the requests', () => server.requests.length === 2);
  server.onAny = (event) =>
    event === 'closed' && assert.ok(server.requests.every(({ closedBy }) => closedBy !== null));
  server.session.destroy(CODE.ENHANCE_YOUR_CALM);
  assert.deepEqual([server.session.isDead, server.closedBy], [true, null]);
  await until('the end', () => client.closedBy !== undefined);
  assert.deepEqual(client.goaways, [[3, CODE.ENHANCE_YOUR_CALM]]);
  assert.ok(owners.every(({ closedBy }) => closedBy !== null));
  assert.equal(clientWire.closed, true);
});

test('PING is answered, and the answer is told', async () => {
  const { client, server } = await joinSessions();
  client.session.ping();
  server.session.ping();
  await until('the answers', () => client.pongCount === 1 && server.pongCount === 1);
});

test('a stream above the limit is refused, and one may open when another has closed', async () => {
  const { client, server } = await joinSessions({ server: { maxStreams: 2 } });
  assert.equal(client.maxStreams, 2);
  const owners = [1, 2, 3].map(() => client.open());
  await until('the refusal', () => owners[2]?.closedBy === CODE.REFUSED_STREAM);
  assert.deepEqual(server.noise, ['settings', 'invalid_frames']);
  server.requests[0]?.stream.sendFields(OK, true);
  await until('the answer', () => owners[0]?.closedBy === CODE.NO_ERROR);
  client.open();
  await until('the next request', () => server.requests.length === 3);
});
