/** Our sessions with nghttp2 (node:http2) as the peer, over loopback, on every kind of wire. */
import assert from 'node:assert/strict';
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  createServer as createHttp2Server,
  type ServerHttp2Stream,
} from 'node:http2';
import { type AddressInfo, connect as connectTcp, createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { CODE } from '../../src/http2/frames.ts';
import type { SessionOptions } from '../../src/http2/session-host.ts';
import type { WireMaker } from '../../src/infra/wire/wire-maker.ts';
import { MAKERS } from '../infra/wire/pairs.ts';
import { bodyOf, firstMismatch } from '../support/pattern.ts';
import { waitFor } from '../support/wait.ts';
import { BODY_SIZES, echo } from './echo.ts';
import { OK, requestOf, type StreamOwner, sendAll, startSession, type TestHost } from './session-scene.ts';

const WINDOWS = [1_000, 65_535, 1 << 22];

/** Starts our server, and a client of node's that is connected to it. */
async function ourServer(
  t: TestContext,
  maker: WireMaker,
  options: Partial<SessionOptions>,
  settings = {},
): Promise<{ hosts: TestHost[]; client: ClientHttp2Session; relays: [from: Socket, to: Socket][] }> {
  const hosts: TestHost[] = [];
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    socket.on('error', () => undefined);
    const host = startSession((events) => maker.accept(socket, events), options);
    host.serve = echo;
    hosts.push(host);
  });
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  // What our server sends passes through these: a socket of an HTTP/2 session cannot be paused.
  const relays: [from: Socket, to: Socket][] = [];
  const relay = createServer((socket) => {
    const up = connectTcp((server.address() as AddressInfo).port, '127.0.0.1');
    for (const each of [socket, up]) each.setNoDelay().on('error', () => undefined);
    relays.push([up, socket]);
    socket.pipe(up).pipe(socket);
  });
  await new Promise<void>((resolve) => void relay.listen(0, '127.0.0.1', resolve));
  const client = connect(`http://127.0.0.1:${(relay.address() as AddressInfo).port}`, { settings });
  t.after(() => {
    client.destroy();
    for (const { wire } of hosts) wire.close();
    for (const each of [server, relay]) each.close();
  });
  await new Promise((resolve) => client.once('remoteSettings', resolve));
  return { hosts, client, relays };
}

/** Sends a body with a trailer. @returns what came back */
async function exchange(
  client: ClientHttp2Session,
  body: Buffer,
): Promise<{ body: Buffer; trailer: unknown }> {
  const stream: ClientHttp2Stream = client.request(
    { ':method': 'POST', ':path': '/' },
    { waitForTrailers: true },
  );
  stream.on('wantTrailers', () => stream.sendTrailers({ 'x-sum': String(body.length) }));
  let trailer: unknown;
  stream.on('trailers', (fields) => (trailer = fields['x-sum']));
  const pieces: Buffer[] = [];
  stream.on('data', (piece: Buffer) => pieces.push(piece));
  stream.end(body);
  await new Promise((resolve, reject) => stream.once('close', resolve).once('error', reject));
  return { body: Buffer.concat(pieces), trailer };
}

for (const maker of MAKERS)
  for (const windowBytes of WINDOWS)
    test(`${maker.name}: nghttp2 sends bodies to our server and gets them back, windows of ${windowBytes}`, async (t) => {
      const options = {
        streamWindowBytes: windowBytes,
        connectionWindowBytes: Math.max(windowBytes, 65_535),
      };
      const { hosts, client } = await ourServer(t, maker, options, { initialWindowSize: windowBytes });
      for (const size of BODY_SIZES.filter((bytes) => bytes <= windowBytes * 300)) {
        const sent = bodyOf(size % 50, size);
        const got = await exchange(client, sent);
        assert.equal(firstMismatch(got.body, sent), -1, `${size}`);
        assert.equal(got.trailer, String(size));
      }
      const all = await Promise.all(
        Array.from({ length: 40 }, (_, i) => exchange(client, bodyOf(i, 100_000 + i))),
      );
      for (const [i, { body }] of all.entries())
        assert.equal(firstMismatch(body, bodyOf(i, 100_000 + i)), -1, `${i}`);
      await waitFor('all streams to close', () => hosts[0]?.session.streamCount === 0);
      assert.equal(hosts[0]?.closedBy, undefined);
      assert.equal(new Set(hosts[0]?.closedStreams).size, hosts[0]?.requests.length);
    });

/** Starts a server of node's that sends back what comes, and our client that is connected to it. */
async function ourClient(t: TestContext, maker: WireMaker, options: Partial<SessionOptions>, settings = {}) {
  const server = createHttp2Server({ settings });
  server.on('sessionError', () => undefined);
  server.on('stream', (stream: ServerHttp2Stream) => {
    stream.on('error', () => undefined);
    let trailer = '';
    stream.on('trailers', (fields) => (trailer = String(fields['x-sum'])));
    stream.additionalHeaders({ ':status': 103, link: '</a>' });
    stream.respond({ ':status': 200 }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'x-sum': trailer }));
    stream.pipe(stream);
  });
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  const target = { host: '127.0.0.1', port: (server.address() as AddressInfo).port };
  const client = startSession((events) => maker.connect(target, events), { ...options, isServer: false });
  t.after(() => {
    client.wire.close();
    server.close();
  });
  await waitFor('SETTINGS', () => client.maxStreams >= 0);
  return client;
}

for (const maker of MAKERS)
  for (const windowBytes of WINDOWS)
    test(`${maker.name}: our client sends bodies to nghttp2 and gets them back, windows of ${windowBytes}`, async (t) => {
      const options = {
        streamWindowBytes: windowBytes,
        connectionWindowBytes: Math.max(windowBytes, 65_535),
      };
      const client = await ourClient(t, maker, options, { initialWindowSize: windowBytes });
      const send = (id: number, size: number): StreamOwner => {
        const request = client.open(requestOf('POST'), false);
        sendAll(request, bodyOf(id, size), { trailers: ['x-sum', String(size)] });
        return request;
      };
      for (const size of BODY_SIZES.filter((bytes) => bytes <= windowBytes * 300)) {
        const request = send(size % 50, size);
        await waitFor(`${size} bytes`, () => request.closedBy !== null, { everyMs: 2 });
        assert.equal(firstMismatch(request.body, bodyOf(size % 50, size)), -1, `${size}`);
        assert.deepEqual(
          request.fields.map(([name, value]) => [name, value]),
          [[':status', '103'], OK, ['x-sum', String(size)]],
        );
        assert.deepEqual([request.hasEnded, request.stream.isWhole], [true, true]);
      }
      const all = Array.from({ length: 40 }, (_, i) => send(i, 100_000 + i));
      await waitFor('all of them', () => all.every(({ closedBy }) => closedBy !== null));
      for (const [i, request] of all.entries())
        assert.equal(firstMismatch(request.body, bodyOf(i, 100_000 + i)), -1, `${i}`);
      assert.deepEqual([client.session.streamCount, client.closedBy], [0, undefined]);
    });

for (const maker of MAKERS) {
  test(`${maker.name}: a client that reads nothing for a time blocks our wire, and gets every byte later`, async (t) => {
    const { hosts, client, relays } = await ourServer(t, maker, {}, { initialWindowSize: 2 ** 31 - 1 });
    client.setLocalWindowSize(2 ** 31 - 1);
    const host = hosts[0] as TestHost;
    const body = bodyOf(7, 16 << 20);
    host.serve = (request) => {
      request.stream.sendFields(OK, false);
      sendAll(request, body);
    };
    const [from, to] = relays[0] as [Socket, Socket];
    from.unpipe().pause();
    const stream = client.request({ ':path': '/' });
    const check = { byteCount: 0, isRight: true };
    stream.on('data', (piece: Buffer) => {
      check.isRight &&= body.subarray(check.byteCount, check.byteCount + piece.length).equals(piece);
      check.byteCount += piece.length;
    });
    await waitFor('a blocked wire', () => host.wire.blocked);
    const small = client.request({ ':path': '/' });
    small.resume();
    await waitFor('the second request', () => host.requests.length === 2);
    assert.ok(host.requests.every(({ stream: { queuedBytes } }) => queuedBytes > 0));
    from.pipe(to);
    await new Promise((resolve) => stream.once('close', resolve));
    assert.deepEqual(check, { byteCount: body.length, isRight: true });
  });

  test(`${maker.name}: resets, PING and GOAWAY are those of nghttp2`, async (t) => {
    const { hosts, client } = await ourServer(t, maker, {});
    const host = hosts[0] as TestHost;
    host.serve = () => undefined;
    const stream = client.request({ ':method': 'POST', ':path': '/' });
    stream.on('error', () => undefined);
    await waitFor('the request', () => host.requests.length === 1);
    stream.close(CODE.CANCEL);
    await waitFor('the reset', () => host.lastRequest.closedBy === CODE.CANCEL);
    await new Promise<void>((resolve, reject) =>
      client.ping((error) => (error === null ? resolve() : reject(error))),
    );
    host.session.ping();
    await waitFor('the answer to our PING', () => host.pongCount === 1);
    const other = client.request({ ':method': 'POST', ':path': '/' });
    let code = -1;
    other.on('error', () => undefined).on('close', () => (code = other.rstCode));
    await waitFor('the request', () => host.requests.length === 2);
    host.lastRequest.stream.reset(CODE.ENHANCE_YOUR_CALM);
    await waitFor('our reset', () => code === CODE.ENHANCE_YOUR_CALM);
    const goaway = new Promise((resolve) =>
      client.once('goaway', (...told: number[]) => resolve(told.slice(0, 2))),
    );
    host.session.goaway(CODE.NO_ERROR);
    assert.deepEqual(await goaway, [CODE.NO_ERROR, 3]);
    client.close();
    await waitFor('the end', () => host.closedBy === null);
  });
}
