import assert from 'node:assert/strict';
import { test } from 'node:test';
import { waitFor } from '../../support/wait.ts';
import { ok, startCapturingBackend } from '../capturing-backend.ts';
import { pool, route, startProxy } from '../support.ts';

const request = (method: string, target: string, version = '1.1', lines = '') =>
  `${method} ${target} HTTP/${version}\r\nHost: a\r\n${lines}\r\n`;

async function answered(t: Parameters<typeof startProxy>[0], bytes: string) {
  const backend = await startCapturingBackend(t, ({ target }) => (target === '/next' ? ok('next') : bytes));
  const proxy = await startProxy(t, { backends: [backend] });
  const client = await proxy.connect();
  const next = async () => {
    client.write(request('GET', '/next'));
    assert.equal((await client.readResponse()).body.toString(), 'next');
  };
  return { backend, proxy, client, next };
}

test('an answer to HEAD keeps the Content-Length of the body that is not sent', async (t) => {
  const { client, next } = await answered(t, 'HTTP/1.1 200 OK\r\nContent-Length: 123\r\n\r\n');
  client.write(request('HEAD', '/'));
  const answer = await client.readResponse({ method: 'HEAD' });
  assert.deepEqual(answer.all('content-length'), ['123']);
  await next();
});

test('an answer to HEAD without a length gets neither a length nor chunked framing', async (t) => {
  const { client, next } = await answered(t, 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n');
  client.write(request('HEAD', '/'));
  const answer = await client.readResponse({ method: 'HEAD' });
  assert.equal(answer.header('content-length'), null);
  assert.equal(answer.header('transfer-encoding'), null);
  await next();
});

test('HEAD gets the head of a problem without its body', async (t) => {
  const { client, proxy } = await answered(t, ok('x'));
  proxy.reload({ pools: [pool('app', [])], routes: [route('a', { path: '/a' })] });
  client.write(request('HEAD', '/'));
  const answer = await client.readResponse({ method: 'HEAD' });
  assert.equal(answer.status, 404);
  assert.ok(Number(answer.header('content-length')) > 0);
  client.write(request('GET', '/'));
  assert.equal(JSON.parse((await client.readResponse()).body.toString()).status, 404);
  assert.equal(proxy.lines[0]?.bytesOut, 0);
});

test('a 204 carries neither Content-Length nor Transfer-Encoding', async (t) => {
  const { client } = await answered(t, 'HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n');
  client.write(request('GET', '/'));
  const answer = await client.readResponse();
  assert.equal(answer.status, 204);
  assert.equal(answer.header('content-length'), null);
  assert.equal(answer.header('transfer-encoding'), null);
});

test('a 304 keeps its Content-Length and has no body', async (t) => {
  const { client, next } = await answered(
    t,
    'HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\nETag: "a"\r\n\r\n',
  );
  client.write(request('GET', '/'));
  const answer = await client.readResponse();
  assert.equal(answer.header('content-length'), '7');
  assert.equal(answer.header('etag'), '"a"');
  await next();
});

test('an empty, a chunked and a close-delimited body arrive with valid framing', async (t) => {
  const { client, next } = await answered(t, 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
  client.write(request('GET', '/'));
  assert.equal((await client.readResponse()).header('content-length'), '0');
  await next();
  const chunked = await answered(
    t,
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n',
  );
  chunked.client.write(request('GET', '/'));
  assert.equal((await chunked.client.readResponse()).body.toString(), 'abc');
  await chunked.next();
  const closing = await startCapturingBackend(t, ({ target }, socket) => {
    if (target === '/next') return ok('next');
    socket.end('HTTP/1.1 200 OK\r\n\r\nto the end');
    return null;
  });
  const proxy = await startProxy(t, { backends: [closing] });
  const client2 = await proxy.connect();
  client2.write(request('GET', '/'));
  assert.equal((await client2.readResponse()).body.toString(), 'to the end');
  client2.write(request('GET', '/next'));
  assert.equal((await client2.readResponse()).body.toString(), 'next');
});

test('unknown status codes, reason phrases and obs-text pass byte for byte', async (t) => {
  const { client, next } = await answered(
    t,
    'HTTP/1.1 299 Caf\xe9 "ok"\r\nX: \xff\r\nContent-Disposition: attachment; filename="\xc3\xa9"\r\nContent-Length: 1\r\n\r\nx',
  );
  client.write(request('GET', '/'));
  const answer = await client.readResponse();
  assert.equal(answer.status, 299);
  assert.equal(answer.reason, 'Caf\xe9 "ok"');
  assert.equal(answer.header('x'), '\xff');
  assert.equal(answer.header('content-disposition'), 'attachment; filename="\xc3\xa9"');
  await next();
});

test('trailers pass to HTTP/1.1 clients, minus framing, routing and authentication names', async (t) => {
  const { client, next } = await answered(
    t,
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\nSet-Cookie: a=b\r\nHost: evil\r\n\r\n',
  );
  client.write(request('GET', '/'));
  const answer = await client.readResponse();
  assert.equal(answer.body.toString(), 'abc');
  assert.deepEqual(answer.trailers, [['X-Sum', '1']]);
  await next();
});

const INTERIMS =
  'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nConnection: x\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n';

test('1xx answers pass to HTTP/1.1 clients, except a 100 that the client did not ask for', async (t) => {
  const { client, next } = await answered(t, INTERIMS + ok('x'));
  client.write(request('GET', '/'));
  const answer = await client.readResponse();
  assert.deepEqual(
    answer.interims.map(({ status, headers }) => [status, headers]),
    [
      [103, [['Link', '</a.css>']]],
      [102, []],
    ],
  );
  await next();
});

test('HTTP/1.0 clients get no 1xx and no chunks, and keep their connection only if they asked to', async (t) => {
  const { client } = await answered(
    t,
    `${INTERIMS}HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\nX: y\r\n\r\n`,
  );
  client.write(request('GET', '/', '1.0', 'TE: chunked\r\n'));
  const answer = await client.readResponse();
  assert.equal(answer.interims.length, 0);
  assert.equal(answer.header('transfer-encoding'), null);
  assert.equal(answer.header('connection'), 'close');
  assert.equal(answer.body.toString(), 'abcdef');
});

test('an HTTP/1.0 client with keep-alive keeps its connection when the length is known', async (t) => {
  const { client } = await answered(t, ok('abc'));
  for (let i = 0; i < 2; i++) {
    client.write(request('GET', '/', '1.0', 'Connection: keep-alive\r\n'));
    const answer = await client.readResponse();
    assert.equal(answer.header('connection'), 'keep-alive');
    assert.equal(answer.body.toString(), 'abc');
  }
});

test('an HTTP/1.0 client with keep-alive loses its connection when the length is not known', async (t) => {
  const backend = await startCapturingBackend(t, (_request, socket) => {
    socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n');
    return null;
  });
  const proxy = await startProxy(t, { backends: [backend] });
  const client = await proxy.connect();
  client.write(request('GET', '/', '1.0', 'Connection: keep-alive\r\n'));
  await client.waitForBytes('abc');
  backend.sockets[0]?.write('3\r\ndef\r\n0\r\n\r\n');
  const answer = await client.readResponse();
  assert.equal(answer.header('connection'), 'close');
  assert.equal(answer.body.toString(), 'abcdef');
});

test('Connection: close of the client is honoured', async (t) => {
  const { client } = await answered(t, ok('abc'));
  client.write(request('GET', '/', '1.1', 'Connection: close\r\n'));
  const answer = await client.readResponse();
  assert.equal(answer.header('connection'), 'close');
  await client.waitForClose();
});

for (const connection of ['keep-alive, close', 'close, keep-alive', 'close\r\nConnection: keep-alive']) {
  test(`an HTTP/1.0 client that says ${JSON.stringify(connection)} gets no second answer`, async (t) => {
    const { client } = await answered(t, ok('abc'));
    client.write(request('GET', '/', '1.0', `Connection: ${connection}\r\n`).repeat(2));
    const answer = await client.readResponse();
    assert.equal(answer.header('connection'), 'close');
    assert.equal((await client.waitForClose()).length, 0);
  });
}

test('the head of an answer is sent at once, before its body has begun', async (t) => {
  const { client, backend } = await answered(
    t,
    'HTTP/1.1 200 OK\r\nX: \xe9\r\nTransfer-Encoding: chunked\r\n\r\n',
  );
  client.write(request('GET', '/'));
  await client.waitForBytes('\r\nX: \xe9\r\n');
  backend.sockets[0]?.write('1\r\nz\r\n0\r\n\r\n');
  assert.equal((await client.readResponse()).body.toString(), 'z');
});

test('an early final answer is forwarded, the rest of the request body is not, and both connections end', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend] });
  const client = await proxy.connect();
  client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nabc');
  await waitFor('the head at the backend', () => backend.received[0]?.endsWith('abc'));
  backend.sockets[0]?.write('HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno');
  const answer = await client.readResponse();
  assert.equal(answer.status, 401);
  assert.equal(answer.header('connection'), 'close');
  client.write('y'.repeat(50_000));
  await client.waitForClose();
  assert.equal(client.error, null);
  await waitFor('the backend connection to close', () => backend.closedCount === 1);
  assert.doesNotMatch(backend.received[0] ?? '', /y{2}/);
  assert.equal(proxy.lines[0]?.reason, 'ok');
});

test('the proxy itself sends 100 Continue once the backend is connected, and does not forward Expect', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend] });
  const client = await proxy.connect();
  client.write('POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 3\r\n\r\n');
  await client.waitForBytes('HTTP/1.1 100 Continue\r\n\r\n');
  assert.equal(backend.connectionCount, 1);
  client.write('abc');
  const answer = await client.readResponse();
  assert.equal(answer.status, 200);
  assert.equal(answer.header('connection'), null);
  assert.equal(answer.interims.length, 1);
  assert.equal(backend.requests[0]?.body, 'abc');
  assert.equal(backend.requests[0]?.header('expect'), null);
});

const NONSENSE: [title: string, bytes: string][] = [
  ['no HTTP', 'hello\r\n\r\n'],
  ['two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx'],
  ['status 000', 'HTTP/1.1 000 X\r\n\r\n'],
  ['an unsolicited 101', 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n'],
];

for (const [title, bytes] of NONSENSE) {
  test(`an invalid answer of a backend (${title}) makes a 502, and the connection is not used again`, async (t) => {
    const { client, next, backend, proxy } = await answered(t, bytes);
    client.write(request('GET', '/'));
    const answer = await client.readResponse();
    assert.equal(answer.status, 502);
    assert.equal(proxy.lines[0]?.reason, 'upstream_invalid');
    await next();
    assert.equal(backend.connectionCount, 2);
  });
}
