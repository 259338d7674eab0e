/** WebSockets in streams of HTTP/2 (RFC 8441). */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type ClientHttp2Session, type ClientHttp2Stream, constants } from 'node:http2';
import type { Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { connectH2 } from '../../support/h2-client.ts';
import { connectFrames, data, frame, headers, TYPES, webSocket } from '../../support/h2-frames.ts';
import { bodyOf } from '../../support/pattern.ts';
import { untilStill, waitFor } from '../../support/wait.ts';
import { wsFrame } from '../../support/ws-frames.ts';
import { accessLineOf, type ProxyOptions, startProxy, type TestProxy } from '../support.ts';
import { accepting, switching, upgradeBackend, wsBackend } from './support.ts';

interface Stream {
  stream: ClientHttp2Stream;
  /** `:status`, or -1 without an answer. */
  status: number;
  headers: Record<string, unknown>;
  text: () => string;
  ended: () => boolean;
}

async function startH2(t: TestContext, port: number, options: Partial<ProxyOptions> = {}) {
  const proxy = await startProxy(t, { backends: [{ port }], h2c: true, ...options });
  const session = connectH2(t, proxy.url);
  const [settings] = await once(session, 'remoteSettings');
  assert.equal(settings.enableConnectProtocol, true, 'extended CONNECT is offered');
  return { proxy, session };
}

async function extendedConnect(
  session: ClientHttp2Session,
  fields: Record<string, string> = {},
): Promise<Stream> {
  const pseudo = { ':method': 'CONNECT', ':protocol': 'websocket', ':path': '/chat?x=1', ':scheme': 'http' };
  const all = { ...pseudo, ':authority': 'example.com', 'sec-websocket-version': '13', ...fields };
  const stream = session.request(all, { endStream: false });
  const pieces: Buffer[] = [];
  let ended = false;
  stream.on('error', () => undefined);
  stream.on('data', (piece: Buffer) => pieces.push(piece));
  stream.on('end', () => {
    ended = true;
  });
  const answer = await Promise.race([once(stream, 'response'), once(stream, 'close').then(() => [{}])]);
  const headers = answer[0] as Record<string, unknown>;
  const text = () => Buffer.concat(pieces).toString('latin1');
  return { stream, status: Number(headers[':status'] ?? -1), headers, text, ended: () => ended };
}

const lineOf = (proxy: TestProxy) => accessLineOf(proxy, () => true);

test('B17: a stream becomes a tunnel; the backend gets a handshake of HTTP/1.1 with a key of its own', async (t) => {
  const backend = await upgradeBackend(t, (head, socket) => {
    accepting(head, socket);
    socket.write('behind');
  });
  const { proxy, session } = await startH2(t, backend.port);
  const { stream, status, headers, text, ended } = await extendedConnect(session, {
    'sec-websocket-key': 'AAAAAAAAAAAAAAAAAAAAAA==',
    origin: 'http://example.com',
  });
  assert.equal(status, 200);
  assert.deepEqual(
    ['upgrade', 'connection', 'sec-websocket-accept', 'content-length'].filter((name) => name in headers),
    [],
  );
  const head = backend.heads[0] ?? '';
  assert.match(head, /^GET \/chat\?x=1 HTTP\/1\.1\r\nHost: example\.com\r\n/);
  assert.match(head, /^Connection: Upgrade\r\nUpgrade: websocket\r$/m);
  assert.match(head, /^origin: http:\/\/example\.com\r$/m);
  const keys = [...head.matchAll(/^sec-websocket-key: (.*)\r$/gim)].map(([, key]) => key);
  assert.ok(keys.length === 1 && keys[0] !== 'AAAAAAAAAAAAAAAAAAAAAA==', String(keys));
  await waitFor('what came behind the 101', () => text() === 'behind');
  assert.equal(proxy.handler.tunnels.openCount, 1);
  stream.write('echo');
  await waitFor('the echo', () => text() === 'behindecho');
  // Half-close.
  stream.end('!');
  await waitFor('the end', () => ended() && text() === 'behindecho!');
  const line = await lineOf(proxy);
  assert.deepEqual(
    [line.status, line.protocol, line.method, line.reason, line.bytesIn, line.bytesOut, line.path],
    [101, 'websocket', 'GET', 'ok', 5, 11, '/chat'],
  );
  await waitFor('the end of the stream', () => stream.destroyed);
  assert.equal(stream.rstCode, constants.NGHTTP2_NO_ERROR);
});

test('large messages pass through the windows of HTTP/2 both ways, and other streams go on meanwhile', async (t) => {
  const { port } = await wsBackend(t);
  const { session } = await startH2(t, port);
  const one = await extendedConnect(session);
  const payload = bodyOf(1, 3_000_000);
  one.stream.write(wsFrame(0x82, payload, 0));
  const two = await extendedConnect(session);
  two.stream.write(wsFrame(0x81, 'hi', 0));
  await waitFor('the small echo', () => two.text() === '\x81\x02hi');
  await waitFor('the large echo', () => one.text().length === payload.length + 10);
  assert.ok(Buffer.from(one.text().slice(10), 'latin1').equals(payload));
});

test('a stream that is not read stops its backend, and no other one', async (t) => {
  let sentBytes = 0;
  const backend = await upgradeBackend(t, (head, socket) => {
    socket.write(switching(head));
    if (!head.startsWith('GET /flood')) {
      socket.on('data', (chunk) => socket.write(chunk));
      return;
    }
    const flood = (): void => {
      while (socket.writableLength === 0 && sentBytes < 64 << 20) {
        sentBytes += 65_536;
        socket.write(Buffer.alloc(65_536, 'x'));
      }
    };
    socket.on('drain', flood);
    flood();
  });
  const { session, proxy } = await startH2(t, backend.port);
  const flooded = await extendedConnect(session, { ':path': '/flood' });
  flooded.stream.pause();
  await untilStill('the flood', () => sentBytes);
  assert.ok(sentBytes < 32 << 20, `${sentBytes} bytes taken`);
  const other = await extendedConnect(session);
  other.stream.write('still here');
  await waitFor('the echo', () => other.text() === 'still here');
  flooded.stream.close(constants.NGHTTP2_CANCEL);
  await waitFor('the end of the tunnel', () => proxy.handler.tunnels.openCount === 1);
});

test('what waits in a stream that both sides have ended still reaches its backend', async (t) => {
  const got = { byteCount: 0, ended: false };
  const backend = await upgradeBackend(t, (head, socket) => {
    socket.write(switching(head));
    setImmediate(() => socket.pause());
    socket.on('data', (chunk) => (got.byteCount += chunk.length));
    socket.on('end', () => (got.ended = true));
  });
  const proxy = await startProxy(t, { backends: [backend], h2c: true });
  const client = await connectFrames(proxy.url);
  t.after(() => client.close());
  client.send(headers(1, webSocket(), { ends: false }));
  let sentBytes = 0;
  const send = (): number => {
    const opened = client.all(TYPES.window, 1).reduce((sum, { payload }) => sum + payload.readUInt32BE(), 0);
    for (let windowBytes = 65_535 + opened - sentBytes; windowBytes > 0; ) {
      const piece = Buffer.alloc(Math.min(windowBytes, 16_384));
      client.send(data(1, piece));
      windowBytes -= piece.length;
      sentBytes += piece.length;
    }
    return sentBytes;
  };
  await untilStill('the window of the stream', send);
  client.send(data(1, '', { ends: true }), frame(TYPES.ping, 0, 0, Buffer.alloc(8)));
  await client.wait('the end to be read', ({ type }) => type === TYPES.ping);
  for (const socket of backend.sockets) socket.end();
  await client.wait('the end of the backend', ({ type, flags }) => type === TYPES.data && (flags & 1) === 1);
  for (const socket of backend.sockets) socket.resume();
  await waitFor('every byte and the end', () => got.ended && got.byteCount === sentBytes);
  assert.equal((await lineOf(proxy)).reason, 'ok');
  assert.deepEqual(client.all(TYPES.reset, 1), []);
});

test('a reset of the stream resets the backend, and the other way round', async (t) => {
  const errors: (string | undefined)[] = [];
  const sockets: Socket[] = [];
  const backend = await upgradeBackend(t, (head, socket) => {
    sockets.push(socket);
    socket.on('error', (error: NodeJS.ErrnoException) => errors.push(error.code));
    socket.on('close', () => errors.push('closed'));
    socket.on('data', () => undefined);
    socket.write(switching(head));
  });
  const { proxy, session } = await startH2(t, backend.port);
  const first = await extendedConnect(session);
  first.stream.close(constants.NGHTTP2_CANCEL);
  await waitFor('the end at the backend', () => errors.includes('closed'));
  assert.equal((await lineOf(proxy)).reason, 'client_abort');
  const second = await extendedConnect(session);
  sockets[1]?.resetAndDestroy();
  await waitFor('the end of the stream', () => second.stream.destroyed);
  assert.equal(second.stream.rstCode, constants.NGHTTP2_CANCEL);
  await waitFor('its line', () => proxy.lines.length === 2);
  assert.equal(proxy.lines[1]?.reason, 'upstream_reset');
});

test('the end of the connection ends its tunnels', async (t) => {
  const backend = await upgradeBackend(t, accepting);
  const { proxy, session } = await startH2(t, backend.port);
  await extendedConnect(session);
  await extendedConnect(session);
  session.destroy();
  await waitFor('the end of both', () => proxy.handler.tunnels.openCount === 0);
  await waitFor('the lines', () => proxy.lines.length === 2);
  await waitFor('the ends at the backend', () => backend.sockets.every((socket) => socket.destroyed));
});

const REFUSED: [string, Record<string, string>, number][] = [
  ['a protocol that the route does not name', { ':protocol': 'tcp-x' }, 501],
  ['a length', { 'content-length': '5' }, 400],
];

for (const [name, fields, wanted] of REFUSED) {
  test(`an extended CONNECT with ${name} is ${wanted}, and nothing goes to a backend`, async (t) => {
    const backend = await upgradeBackend(t, accepting);
    const { session } = await startH2(t, backend.port);
    const { status } = await extendedConnect(session, fields);
    assert.deepEqual([status, backend.heads], [wanted, []]);
    const next = await extendedConnect(session);
    assert.equal(next.status, 200, 'the session goes on');
  });
}

test('an answer of the backend that is no 101 is relayed, but a 2xx is 502: it would mean a tunnel', async (t) => {
  let status = 403;
  const backend = await upgradeBackend(t, (_head, socket) =>
    socket.write(`HTTP/1.1 ${status} X\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno`),
  );
  const { session } = await startH2(t, backend.port);
  const refused = await extendedConnect(session);
  assert.equal(refused.status, 403);
  await waitFor('its body', () => refused.text() === 'no');
  status = 200;
  assert.equal((await extendedConnect(session)).status, 502);
});

test('B38: a drain says 1001 in the stream, and then the connection ends', async (t) => {
  const { port } = await wsBackend(t);
  const { proxy, session } = await startH2(t, port);
  const { stream, text } = await extendedConnect(session);
  const drained = proxy.server.drain({ graceMs: 0, drainMs: 10_000 });
  await waitFor('the close frame', () => text() === '\x88\x02\x03\xe9');
  stream.end(wsFrame(0x88, '\x03\xe9', 0));
  await drained;
  assert.equal((await lineOf(proxy)).reason, 'shutdown');
  assert.equal(session.destroyed || session.closed, true);
});
