import assert from 'node:assert/strict';
import type { ServerHttp2Stream } from 'node:http2';
import { type TestContext, test } from 'node:test';
import { freePort } from '../../support/free-port.ts';
import {
  answerOk,
  fieldBlock,
  NGHTTP2_REFUSED_STREAM,
  startFrameBackend,
  startH2Backend,
} from '../../support/h2-backends.ts';
import { FLAGS, frame, number32, settings, TYPES } from '../../support/h2-frames.ts';
import { waitFor } from '../../support/wait.ts';
import { accessLineOf, pool, startProxy, type TestProxy } from '../support.ts';

function startH2Proxy(t: TestContext, ports: number[]): Promise<TestProxy> {
  return startProxy(t, { pools: [pool('app', ports, { protocol: 'h2' })] });
}

test('a request of HTTP/1.1 is answered by a backend that speaks HTTP/2', async (t) => {
  const backend = await startH2Backend(t, (stream) => {
    stream.respond({ ':status': 201, server: 'h2', 'x-request-id': 'not ours' }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'x-sum': '3', x_sum: '4' }));
    stream.end('made');
  });
  const proxy = await startH2Proxy(t, [backend.port]);
  const client = await proxy.connect();
  client.write('GET /a?b HTTP/1.1\r\nHost: shop\r\nConnection: x-hop\r\nX-Hop: 1\r\nCookie: c=1\r\n\r\n');
  const answer = await client.readResponse();
  assert.equal(answer.status, 201);
  assert.equal(answer.reason, 'Created');
  assert.equal(answer.body.toString(), 'made');
  assert.deepEqual(answer.trailers, [
    ['x-sum', '3'],
    ['x_sum', '4'],
  ]);
  assert.equal(answer.header('server'), 'h2');
  assert.equal(answer.header('via'), '1.1 sluice');
  assert.equal(answer.all('x-request-id').length, 1);
  const fields = new Map(chunked(backend.requests[0] ?? []));
  assert.equal(fields.get(':authority'), 'shop');
  assert.equal(fields.get(':path'), '/a?b');
  assert.equal(fields.get('cookie'), 'c=1');
  assert.equal(fields.get('x-forwarded-for'), '127.0.0.1');
  assert.equal(fields.has('x-hop'), false);
  assert.equal(fields.has('host'), false);
  const line = await accessLineOf(proxy, ({ status }) => status === 201);
  assert.deepEqual(
    [line.backend, line.reason, line.protocol],
    [`127.0.0.1:${backend.port}`, 'ok', 'http/1.1'],
  );
});

function chunked(raw: readonly string[]): [string, string][] {
  return Array.from({ length: raw.length / 2 }, (_, i) => [raw[2 * i] ?? '', raw[2 * i + 1] ?? '']);
}

test('uploads and downloads of many pieces pass whole', async (t) => {
  const backend = await startH2Backend(t, (stream) => {
    stream.respond({ ':status': 200 });
    stream.pipe(stream);
  });
  const proxy = await startH2Proxy(t, [backend.port]);
  const body = Buffer.alloc(1_048_576, 'abcdefg');
  const answers = await Promise.all(
    Array.from({ length: 4 }, async () => {
      const answer = await fetch(proxy.url, { method: 'POST', body });
      return Buffer.from(await answer.arrayBuffer());
    }),
  );
  for (const answer of answers) assert.ok(answer.equals(body));
  assert.equal(backend.sessions.length, 1);
});

test('trailers of a request pass, without those that may not', async (t) => {
  const trailers: string[] = [];
  const backend = await startH2Backend(t, (stream) => {
    stream.on('trailers', (_headers, _flags, raw: string[]) => trailers.push(...raw));
    stream.on('end', () => answerOk(stream));
    stream.resume();
  });
  const proxy = await startH2Proxy(t, [backend.port]);
  const client = await proxy.connect();
  client.write('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n');
  client.write('3\r\nabc\r\n0\r\nX-Sum: 1\r\nAuthorization: x\r\n\r\n');
  assert.equal((await client.readResponse()).status, 200);
  assert.deepEqual(trailers, ['x-sum', '1']);
});

test('B28: a client that leaves resets its stream at the backend and no other', async (t) => {
  const backend = await startH2Backend(t, () => undefined);
  const proxy = await startH2Proxy(t, [backend.port]);
  const [gone, stays] = [await proxy.connect(), await proxy.connect()];
  for (const client of [gone, stays]) client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  await waitFor('both requests', () => backend.streams.length === 2);
  gone.end();
  await waitFor('the reset', () => backend.streams.some((stream) => stream.rstCode === 8));
  answerOk(backend.streams.find((stream) => !stream.destroyed)!);
  assert.equal((await stays.readResponse()).status, 200);
  assert.equal((await accessLineOf(proxy, ({ status }) => status === 499)).reason, 'client_abort');
  assert.equal(proxy.metric('sluice_retries_total'), 0);
});

test('B8: a request that its backend refused unprocessed goes to another one, whatever its method', async (t) => {
  const refusing = await startH2Backend(t, (stream) => stream.close(NGHTTP2_REFUSED_STREAM));
  const willing = await startH2Backend(t, answerOk);
  const proxy = await startH2Proxy(t, [refusing.port, willing.port]);
  for (const method of ['GET', 'POST', 'DELETE']) {
    const client = await proxy.connect();
    client.write(
      `${method} / HTTP/1.1\r\nHost: a\r\n${method === 'POST' ? 'Content-Length: 0\r\n' : ''}\r\n`,
    );
    assert.equal((await client.readResponse()).status, 200);
  }
  assert.equal(willing.streams.length, 3);
  assert.ok(refusing.streams.length > 0);
});

test('a request that every backend refuses unprocessed is 503 with Retry-After', async (t) => {
  const refusing = await startH2Backend(t, (stream) => stream.close(NGHTTP2_REFUSED_STREAM));
  const proxy = await startH2Proxy(t, [refusing.port]);
  const answer = await fetch(proxy.url);
  assert.equal(answer.status, 503);
  assert.equal(answer.headers.get('retry-after'), '1');
  const line = await accessLineOf(proxy, () => true);
  assert.deepEqual([line.reason, line.attempts], ['backend_busy', 2]);
});

/** A backend that collects the body of each request and answers with it, after it refused this many. */
async function startEcho(t: TestContext, refusals = 0) {
  let left = refusals;
  return startH2Backend(t, (stream) => {
    if (left-- > 0) {
      stream.close(NGHTTP2_REFUSED_STREAM);
      return;
    }
    let body = '';
    stream.on('data', (piece: Buffer) => {
      body += piece.toString();
    });
    stream.on('end', () => {
      stream.respond({ ':status': 200 });
      stream.end(body);
    });
  });
}

test('B8: a request whose body was begun goes to another backend with it, where the first one refused it', async (t) => {
  const refusing = await startEcho(t, Number.POSITIVE_INFINITY);
  const willing = await startEcho(t);
  const proxy = await startH2Proxy(t, [refusing.port, willing.port]);
  for (let i = 1; i <= 4; i++) {
    const seen = refusing.streams.length;
    const client = await proxy.connect();
    client.write('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n');
    await waitFor(
      'a backend to have the request',
      () => refusing.streams.length + willing.streams.length > seen,
    );
    client.write('3\r\ndef\r\n0\r\n\r\n');
    const answer = await client.readResponse();
    assert.equal(answer.status, 200);
    assert.equal(answer.body.toString(), 'abcdef');
    assert.equal(willing.streams.length, i);
  }
  assert.ok(refusing.streams.length > 0);
  const refused = await accessLineOf(proxy, ({ attempts }) => attempts === 2);
  assert.deepEqual([refused.bytesIn, refused.backend], [6, `127.0.0.1:${willing.port}`]);
});

/** A backend that says nothing before `open`, then takes one body and answers it. */
async function startSlowBackend(t: TestContext) {
  let body = '';
  const { port, sockets } = await startFrameBackend(
    t,
    (socket, { type, flags, streamId }, payload) => {
      if (type !== TYPES.data) return;
      body += payload.toString();
      for (const id of [0, streamId]) socket.write(frame(TYPES.window, 0, id, number32(65_535)));
      if ((flags & FLAGS.endStream) !== 0)
        socket.write(frame(TYPES.headers, 5, streamId, fieldBlock([':status', '200'])));
    },
    null,
  );
  return { port, sockets, body: () => body, open: () => sockets[0]?.write(settings()) };
}

const LARGE = 'large upload '.repeat(30_000).slice(0, 300_000);

/** Waits until the proxy has read what was sent before. */
async function hasRead(proxy: TestProxy): Promise<void> {
  const client = await proxy.connect();
  client.write('BAD\r\n\r\n');
  assert.equal((await client.readResponse()).status, 400);
}

test('B8: what a client sends while the other backend is being connected waits', async (t) => {
  const refusing = await startEcho(t, Number.POSITIVE_INFINITY);
  const slow = await startSlowBackend(t);
  const proxy = await startH2Proxy(t, [refusing.port, slow.port]);
  const client = await proxy.connect();
  client.write('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n');
  await waitFor('the second backend', () => slow.sockets.length === 1);
  client.write('3\r\ndef\r\n0\r\n\r\n');
  await hasRead(proxy);
  slow.open();
  assert.equal((await client.readResponse()).status, 200);
  assert.equal(slow.body(), 'abcdef');
});

test('B8: an upload goes to a third backend, and none of it is read before one is connected', async (t) => {
  const slow = await startSlowBackend(t);
  const proxy = await startH2Proxy(t, [await freePort(), await freePort(), slow.port]);
  const client = await proxy.connect();
  client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\nExpect: 100-continue\r\n\r\n');
  client.write(LARGE);
  await waitFor('the third backend', () => slow.sockets.length === 1);
  await hasRead(proxy);
  assert.equal(client.received.length, 0);
  slow.open();
  const { status, interims } = await client.readResponse();
  assert.deepEqual([status, interims.map((each) => each.status)], [200, [100]]);
  assert.ok(slow.body() === LARGE);
});

test('B8: an upload that was begun goes to a third backend, and no more of it is read before that is connected', async (t) => {
  const leaving = await startFrameBackend(
    t,
    (socket, { type, connection, flags }) => {
      if (connection > 0) return;
      if (type === TYPES.settings && (flags & FLAGS.ack) === 0) socket.write(settings());
      if (type === TYPES.data) socket.write(frame(TYPES.goaway, 0, 0, Buffer.alloc(8)));
    },
    null,
  );
  const slow = await startSlowBackend(t);
  const proxy = await startH2Proxy(t, [leaving.port, await freePort(), slow.port]);
  const client = await proxy.connect();
  client.write(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n${LARGE.slice(0, 3)}`);
  await waitFor('the second connection', () => leaving.sockets.length === 2);
  client.write(LARGE.slice(3));
  await hasRead(proxy);
  leaving.sockets[1]?.destroy();
  await waitFor('the third backend', () => slow.sockets.length === 1);
  await hasRead(proxy);
  slow.open();
  assert.equal((await client.readResponse()).status, 200);
  assert.ok(slow.body() === LARGE);
});

test('a refused request goes to the same backend again where there is no other', async (t) => {
  const backend = await startEcho(t, 1);
  const proxy = await startH2Proxy(t, [backend.port]);
  const answer = await fetch(proxy.url, { method: 'POST', body: 'abc' });
  assert.equal(await answer.text(), 'abc');
});

test('a refused upload of which more was sent than Sluice keeps is 503', async (t) => {
  const refusing = await startH2Backend(t, (stream) => {
    let bytes = 0;
    stream.on('data', (piece: Buffer) => {
      bytes += piece.length;
      if (bytes === 100_000) stream.close(NGHTTP2_REFUSED_STREAM);
    });
  });
  const proxy = await startH2Proxy(t, [refusing.port]);
  const answer = await fetch(proxy.url, { method: 'POST', body: Buffer.alloc(100_000) });
  assert.equal(answer.status, 503);
  assert.equal((await accessLineOf(proxy, () => true)).reason, 'backend_busy');
});

test('B10: a GET on a connection that is lost without an answer is repeated once on a new one', async (t) => {
  const backend = await startH2Backend(t, (stream, { ':path': path }) => {
    if (path === '/lost' && backend.sessions.length === 1) backend.sockets[0]?.resetAndDestroy();
    else answerOk(stream);
  });
  const proxy = await startH2Proxy(t, [backend.port]);
  assert.equal((await fetch(proxy.url)).status, 200);
  assert.equal((await fetch(`${proxy.url}/lost`)).status, 200);
  assert.equal(backend.sessions.length, 2);
  assert.equal(proxy.metric('sluice_retries_total', 'reused_socket'), 1);
});

test('B10: where all connections to a backend are lost at once, a GET is repeated on none of them, and the backend is left', async (t) => {
  const held: string[] = [];
  const settings = { maxConcurrentStreams: 2 };
  const dying = await startH2Backend(
    t,
    (stream, { ':path': path }) => {
      if (path === '/first') answerOk(stream);
      else held.push(String(path));
    },
    { settings },
  );
  const other = await startH2Backend(t, answerOk);
  const proxy = await startH2Proxy(t, [dying.port, other.port]);
  assert.equal((await fetch(`${proxy.url}/first`)).status, 200);
  const answers = new Map<string, Promise<Response>>();
  for (let i = 1; held.length < 3; i++) {
    answers.set(`/${i}`, fetch(`${proxy.url}/${i}`));
    await waitFor('a backend', () => held.length + other.streams.length === i);
  }
  assert.equal(dying.sessions.length, 2);
  dying.server.close();
  for (const socket of dying.sockets) socket.resetAndDestroy();
  const statuses = await Promise.all(held.map(async (path) => (await answers.get(path))?.status));
  assert.deepEqual(statuses, [200, 200, 200]);
  assert.equal(proxy.metric('sluice_retries_total', 'reused_socket'), 2);
  assert.equal(proxy.metric('sluice_retries_total', 'reset'), 1, 'the third was the first of its connection');
});

test('a connection that cannot be opened is one failure of its backend, however many requests wait for it', async (t) => {
  const silent = await startFrameBackend(t, () => undefined, null);
  const timeouts = { connectMs: 300, responseMs: 5_000, idleMs: 5_000 };
  const app = pool('app', [silent.port], { protocol: 'h2', timeouts });
  const proxy = await startProxy(t, { pools: [app] });
  const ask = async (resets: boolean) => {
    const seen = silent.sockets.length;
    const answers = [1, 2, 3].map(() => fetch(proxy.url));
    await waitFor('the connection', () => silent.sockets.length > seen);
    await waitFor('all to wait', () => proxy.handler.traffic.inFlight === 3);
    if (resets) silent.sockets[seen]?.resetAndDestroy();
    return (await Promise.all(answers)).map(({ status }) => status);
  };
  for (const resets of [true, false]) {
    assert.deepEqual(await ask(resets), [502, 502, 502]);
    await waitFor('the failure', () => proxy.failures.length > 0);
    assert.equal(proxy.failures.splice(0).length, 1);
  }
  const reasons = proxy.lines.map(({ reason }) => reason);
  assert.deepEqual(new Set(reasons), new Set(['connect_failed']));
});

test('a reload that changes the protocol of a pool makes new connections, and requests under way finish', async (t) => {
  const held: ServerHttp2Stream[] = [];
  const backend = await startH2Backend(t, (stream) => held.push(stream));
  const proxy = await startH2Proxy(t, [backend.port]);
  const answer = fetch(proxy.url);
  await waitFor('the request', () => held.length === 1);
  proxy.reload({ pools: [pool('app', [backend.port], { protocol: 'http1' })] });
  answerOk(held[0]!);
  assert.equal(await (await answer).text(), 'ok');
  await waitFor('the old connection to close', () => backend.sessions[0]?.destroyed === true);
});

test('a client that does not read costs no other one its answer, although the backend refuses streams on their connection', async (t) => {
  // node:http2 refuses every new stream while what waits in a session takes more than its memory.
  const backend = await startH2Backend(t, (stream, { ':path': path }) => {
    stream.respond({ ':status': 200 });
    stream.end(path === '/large' ? Buffer.alloc(30 << 20) : 'ok');
  });
  const proxy = await startH2Proxy(t, [backend.port]);
  const get = async (init?: RequestInit) => (await fetch(proxy.url, init)).status;
  for (let turn = 1; turn <= 3; turn++) {
    const stopped = await proxy.connect();
    stopped.socket.pause();
    stopped.write('GET /large HTTP/1.1\r\nHost: a\r\n\r\n');
    await waitFor('the request', () => backend.streams.length >= 11 * (turn - 1) + 1);
    for (let i = 0; i < 10; i++) assert.equal(await get(), 200);
  }
  // It may have been processed (B10).
  const stopped = await proxy.connect();
  stopped.socket.pause();
  stopped.write('GET /large HTTP/1.1\r\nHost: a\r\n\r\n');
  await waitFor('the request', () => backend.streams.length >= 34);
  assert.equal(await get({ method: 'POST', body: 'a' }), 502);
  assert.equal(await get({ method: 'POST', body: 'a' }), 200);
  assert.equal(backend.sessions.length, 5);
});

test('an answer without content is over with its head, although its backend never ends the stream', async (t) => {
  const answers: Record<string, Buffer> = {
    '/head': fieldBlock([':status', '200'], ['content-length', '5']),
    '/204': fieldBlock([':status', '204']),
    '/304': fieldBlock([':status', '304'], ['etag', '"a"']),
    '/empty': fieldBlock([':status', '200'], ['content-length', '0']),
  };
  const paths = Object.keys(answers);
  const resets: number[] = [];
  const backend = await startFrameBackend(t, (socket, { type, streamId }) => {
    if (type === TYPES.reset) resets.push(streamId);
    else if (type === TYPES.headers)
      socket.write(
        frame(TYPES.headers, FLAGS.endHeaders, streamId, Object.values(answers)[(streamId - 1) / 2]!),
      );
  });
  const proxy = await startH2Proxy(t, [backend.port]);
  const client = await proxy.connect();
  for (const path of paths) {
    const method = path === '/head' ? 'HEAD' : 'GET';
    client.write(`${method} ${path} HTTP/1.1\r\nHost: a\r\n\r\n`);
    const answer = await client.readResponse({ method });
    assert.deepEqual([answer.status, answer.header('connection')], [Number(path.slice(1)) || 200, null]);
  }
  await waitFor('the ends of the streams', () => resets.length === paths.length);
  await waitFor('the lines', () => proxy.lines.length === paths.length);
  assert.deepEqual(
    proxy.lines.map(({ path, reason }) => [path, reason]),
    paths.map((path) => [path, 'ok']),
  );
  assert.equal(proxy.backend(`127.0.0.1:${backend.port}`).inFlight, 0);
});
