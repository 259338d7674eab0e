import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { startRawBackend } from '../../support/backend.ts';
import { collected } from '../../support/collected.ts';
import { connectH2, requestH2 } from '../../support/h2-client.ts';
import { connectFrames, data, headers, PREFACE, request, settings } from '../../support/h2-frames.ts';
import { waitFor } from '../../support/wait.ts';
import { ok, startCapturingBackend } from '../capturing-backend.ts';
import { accessLineOf, engineOf, startProxy } from '../support.ts';

test('a request over HTTP/2 reaches the backend in HTTP/1.1, and its access line says h2', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend], h2c: true });
  const session = connectH2(t, proxy.url);
  const answer = await requestH2(session, {
    ':path': '/a?b=1',
    ':authority': 'shop.example',
    ':scheme': 'https',
    cookie: ['a=1', 'b=2'],
    te: 'trailers',
    'x-own': 'caf\xe9',
    'user-agent': 'test/1',
    'x-forwarded-proto': 'https',
  });
  assert.equal(answer.status, 200);
  assert.equal(answer.body, 'GET /a?b=1');
  assert.equal(answer.headers.via, '1.1 sluice');
  const [seen] = backend.requests;
  assert.equal(seen?.version, 'HTTP/1.1');
  assert.deepEqual(seen?.all('host'), ['shop.example']);
  assert.deepEqual(seen?.all('cookie'), ['a=1; b=2']);
  assert.deepEqual(seen?.all('te'), ['trailers']);
  assert.deepEqual(seen?.all('x-own'), ['caf\xe9']);
  assert.deepEqual(seen?.all('x-forwarded-proto'), ['http'], 'neither :scheme nor a stranger is believed');
  assert.equal(seen?.header('content-length'), null);
  assert.equal(seen?.header('transfer-encoding'), null);
  const line = await accessLineOf(proxy, ({ path }) => path === '/a');
  assert.equal(line.protocol, 'h2');
  assert.equal(line.host, 'shop.example');
  assert.equal(line.userAgent, 'test/1');
  assert.equal(line.bytesOut, 'GET /a?b=1'.length);
});

test('a 205 has no content over HTTP/2, whatever its backend sends, and the connection to the backend goes on', async (t) => {
  const sockets: Socket[] = [];
  const backend = await startRawBackend((socket) => {
    sockets.push(socket);
    socket.on('data', (request) => {
      const path = String(request).split(' ')[1];
      const chunk = 'x'.repeat(20_000);
      if (path === '/length') socket.write('HTTP/1.1 205 Reset\r\nContent-Length: 2\r\n\r\nok');
      else socket.write(`HTTP/1.1 205 Reset\r\nTransfer-Encoding: chunked\r\n\r\n4e20\r\n${chunk}\r\n`);
    });
  });
  t.after(() => backend.close());
  const proxy = await startProxy(t, { backends: [backend], h2c: true });
  const session = connectH2(t, proxy.url);
  for (const path of ['/chunked', '/length', '/chunked']) {
    const answer = await requestH2(session, { ':path': path });
    assert.deepEqual([answer.status, answer.body, answer.rstCode], [205, '', 0]);
    assert.equal(answer.headers['content-length'], undefined);
    if (path === '/chunked') sockets[0]?.write('3\r\nend\r\n0\r\n\r\n');
    await waitFor('its end at the backend', () => proxy.backend(`127.0.0.1:${backend.port}`).inFlight === 0);
  }
  assert.equal(sockets.length, 1);
  await waitFor('the lines', () => proxy.lines.length === 3);
  assert.deepEqual(
    new Set(proxy.lines.map(({ status, reason }) => `${status} ${reason}`)),
    new Set(['205 ok']),
  );
});

for (const name of ['wire', 'node'] as const) {
  test(`an address with h2c serves HTTP/1.1 and HTTP/2, however the first bytes are cut, on engine ${name}`, async (t) => {
    const backend = await startCapturingBackend(t);
    const proxy = await startProxy(t, { backends: [backend], h2c: true, engine: engineOf(name) });
    for (const cut of [1, 3, 14, 23]) {
      const raw = await proxy.connect();
      // `P` may begin a preface, too.
      const text =
        'POST /one HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhiGET /two HTTP/1.1\r\nHost: a\r\n\r\n';
      raw.write(text.slice(0, cut));
      await setImmediate();
      raw.write(text.slice(cut));
      assert.equal((await raw.readResponse()).body.toString(), 'POST /one');
      assert.equal((await raw.readResponse()).body.toString(), 'GET /two');
      const client = await connectFrames(proxy.url, null);
      t.after(() => client.close());
      const bytes = Buffer.concat([Buffer.from(PREFACE), settings(), headers(1, request())]);
      client.send(bytes.subarray(0, cut));
      await setImmediate();
      client.send(bytes.subarray(cut));
      assert.equal(await client.status(1), 200);
    }
    assert.equal(proxy.metric('sluice_connections_accepted_total'), 8, 'each connection counts once');
  });
}

test('a preface at an address without h2c gets 400', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend] });
  const raw = await proxy.connect();
  raw.write(Buffer.concat([Buffer.from(PREFACE), settings()]));
  assert.equal((await raw.readResponse()).status, 400);
  await raw.waitForClose();
});

test('bytes that end before the protocol is known get 400, and 408 when they take too long', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend], h2c: true, timeouts: { headersMs: 200 } });
  const half = await proxy.connect();
  half.write('PRI * HT');
  half.end();
  assert.equal((await half.readResponse()).status, 400);
  const slow = await proxy.connect();
  slow.write('PRI * HT');
  assert.equal((await slow.readResponse()).status, 408);
  await slow.waitForClose();
  const silent = await proxy.connect();
  assert.equal((await silent.waitForClose()).length, 0);
});

test('bodies, trailers, HEAD, 204 and interim answers pass', async (t) => {
  const backend = await startCapturingBackend(t, ({ method, target }) => {
    if (target === '/none') return 'HTTP/1.1 204 No Content\r\n\r\n';
    if (target === '/hints') {
      return `HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nLink: </b.css>\r\n\r\n${ok('')}`;
    }
    if (target === '/chunks') {
      return 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 5\r\nX-Sum: 6\r\n\r\n';
    }
    return method === 'HEAD' ? 'HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n' : ok('');
  });
  const proxy = await startProxy(t, { backends: [backend], h2c: true });
  const session = connectH2(t, proxy.url);
  const body = 'x'.repeat(300_000);
  const post = { ':path': '/', ':method': 'POST' };
  assert.equal((await requestH2(session, post, body)).status, 200);
  assert.equal(backend.requests[0]?.body, body);
  assert.equal(backend.requests[0]?.header('transfer-encoding'), 'chunked');
  await requestH2(session, { ...post, 'content-length': '3' }, 'abc');
  assert.equal(backend.requests[1]?.header('content-length'), '3');
  assert.equal(backend.requests[1]?.body, 'abc');
  await requestH2(session, { ...post, expect: '100-continue' }, 'abc').then(({ interims }) =>
    assert.deepEqual(
      interims.map((fields) => fields[':status']),
      [100],
    ),
  );
  const headed = await requestH2(session, { ':path': '/', ':method': 'HEAD' });
  assert.deepEqual([headed.status, headed.headers['content-length'], headed.body], [200, '7', '']);
  assert.equal((await requestH2(session, { ':path': '/none' })).status, 204);
  const hints = await requestH2(session, { ':path': '/hints' });
  assert.equal(hints.interims[0]?.[':status'], 103);
  assert.equal(hints.interims[0]?.link, '</a.css>, </b.css>');
  const chunks = await requestH2(session, { ':path': '/chunks' });
  assert.deepEqual([chunks.body, chunks.trailers['x-sum']], ['abcde', '5, 6']);
  assert.equal((await requestH2(session, { ':path': '*', ':method': 'OPTIONS' })).status, 200);
  assert.equal(backend.requests.at(-1)?.target, '*');
  const lines = proxy.lines.filter(({ reason }) => reason !== 'ok');
  assert.deepEqual(lines, []);
});

test('trailers of a request pass, without those that may not', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend], h2c: true });
  const client = await connectFrames(proxy.url);
  t.after(() => client.close());
  client.send(headers(1, request([], { method: 'POST' }), { ends: false }));
  client.send(
    headers(1, [
      ['x-sum', '1'],
      ['authorization', 'x'],
    ]),
  );
  assert.equal(await client.status(1), 200);
  assert.equal(backend.requests[0]?.trailers, 'x-sum: 1');
});

test('a body, its end and its trailers that came before anybody could read them pass', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend], h2c: true });
  const client = await connectFrames(proxy.url);
  t.after(() => client.close());
  const post = (id: number, path: string) =>
    headers(id, request([], { method: 'POST', path }), { ends: false });
  // In one read: no connection to the backend is open yet.
  client.send(
    ...[post(1, '/none'), data(1, '', { ends: true })],
    ...[post(3, '/some'), data(3, 'some', { ends: true })],
    ...[post(5, '/trailers'), headers(5, [['x-sum', '1']])],
    ...[post(7, '/all'), data(7, 'all'), headers(7, [['x-sum', '2']])],
  );
  for (const id of [1, 3, 5, 7]) assert.equal(await client.status(id), 200);
  assert.deepEqual(
    backend.requests.map(({ target, body, trailers }) => `${target} ${body} ${trailers}`).sort(),
    ['/all all x-sum: 2', '/none  ', '/some some ', '/trailers  x-sum: 1'],
  );
});

test('a closed stream lets its request go, while its connection stays', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend], h2c: true });
  const { handler } = proxy;
  const served: WeakRef<object>[] = [];
  const handle = handler.handle.bind(handler);
  handler.handle = (downstream) => {
    served.push(new WeakRef(downstream));
    handle(downstream);
  };
  const session = connectH2(t, proxy.url);
  await requestH2(session, { ':method': 'POST', ':path': '/' }, 'body');
  await collected('the request', served[0]!);
  assert.deepEqual([served.length, session.closed, proxy.server.connectionCount], [1, false, 1]);
});
