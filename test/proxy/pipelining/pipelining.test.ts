import assert from 'node:assert/strict';
import { test } from 'node:test';
import { waitFor } from '../../support/wait.ts';
import { ok, startCapturingBackend } from '../capturing-backend.ts';
import { startProxy } from '../support.ts';

const get = (target: string) => `GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`;

test('pipelined requests are answered in order, one after the other', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend] });
  const client = await proxy.connect();
  const targets = Array.from({ length: 300 }, (_, i) => `/${i}`);
  client.write(targets.map(get).join(''));
  for (const target of targets) assert.equal((await client.readResponse()).body.toString(), `GET ${target}`);
  assert.equal(backend.connectionCount, 1, 'requests of one client must not run at the same time');
});

test('pipelined requests keep their own bodies', async (t) => {
  const backend = await startCapturingBackend(t, ({ body }) => ok(body));
  const proxy = await startProxy(t, { backends: [backend] });
  const client = await proxy.connect();
  const post = (body: string) =>
    `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
  const big = 'z'.repeat(200_000);
  client.write(post('one') + post(big) + post('three'));
  assert.equal((await client.readResponse()).body.toString(), 'one');
  assert.equal((await client.readResponse()).body.toString(), big);
  assert.equal((await client.readResponse()).body.toString(), 'three');
});

test('a valid request before a malformed one is answered, then come the 400 and the end', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend] });
  const client = await proxy.connect();
  client.write(`${get('/1')}${get('/2')}GET / HTTP/1.1\r\nHost : a\r\n\r\n${get('/4')}`);
  assert.equal((await client.readResponse()).body.toString(), 'GET /1');
  assert.equal((await client.readResponse()).body.toString(), 'GET /2');
  const last = await client.readResponse();
  assert.equal(last.status, 400);
  assert.equal(last.header('connection'), 'close');
  assert.equal((await client.waitForClose()).length, 0);
  assert.equal(client.error, null);
  assert.equal(backend.requests.length, 2);
});

test('a valid request before a CONNECT is answered first', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend] });
  const client = await proxy.connect();
  client.write(`${get('/1')}CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n`);
  assert.equal((await client.readResponse()).body.toString(), 'GET /1');
  assert.equal((await client.readResponse()).status, 501);
  await client.waitForClose();
});

test('a request behind a refused one is not served', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend] });
  const client = await proxy.connect();
  client.write(`GET /a%00 HTTP/1.1\r\nHost: a\r\n\r\n${get('/2')}${get('/3')}`);
  assert.equal((await client.readResponse()).status, 400);
  assert.equal((await client.waitForClose()).length, 0);
  assert.equal(client.error, null, 'the connection was reset');
  assert.equal(backend.requests.length, 0);
});

test('a request behind a refused one with many headers in the same packet is not served', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend] });
  const before = await proxy.connect();
  before.write(get('/1'));
  assert.equal((await before.readResponse()).status, 200);
  // Above 32 headers node's parser hands them over in parts and runs the task queue within the packet: the refusal has
  // been sent when the next request comes up. A backend's connection waits, so serving it would show at once.
  const client = await proxy.connect();
  client.write(`GET /a%00 HTTP/1.1\r\nHost: a\r\n${'X: 1\r\n'.repeat(40)}\r\n${get('/2')}${get('/3')}`);
  assert.equal((await client.readResponse()).status, 400);
  assert.equal((await client.waitForClose()).length, 0);
  await waitFor('the connection to be gone', () => proxy.handler.traffic.inFlight === 0);
  assert.deepEqual(
    backend.requests.map(({ target }) => target),
    ['/1'],
  );
});

test('a request behind one with Connection: close is not served', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend] });
  const client = await proxy.connect();
  client.write(`GET /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n${get('/2')}`);
  const answer = await client.readResponse();
  assert.equal(answer.body.toString(), 'GET /1');
  assert.equal(answer.header('connection'), 'close');
  assert.equal((await client.waitForClose()).length, 0);
  assert.equal(backend.requests.length, 1);
});

test('a request in place of a body that was refused 100 Continue is not served', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend], limits: { bodyBytes: 10 } });
  const client = await proxy.connect();
  client.write('POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 35\r\n\r\n');
  assert.equal((await client.readResponse()).status, 413);
  client.write(get('/in-place'));
  client.write(get('/behind'));
  assert.equal((await client.waitForClose()).length, 0);
  assert.equal(backend.requests.length, 0);
});

test('a body with malformed framing gets 400 and ends both connections, also after the backend was reached', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend] });
  const client = await proxy.connect();
  client.write('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n');
  await waitFor('the chunk at the backend', () => backend.received[0]?.includes('abc'));
  client.write('nonsense\r\n');
  assert.equal((await client.readResponse()).status, 400);
  await client.waitForClose();
  await waitFor('the backend connection to close', () => backend.closedCount === 1);
  assert.equal(backend.requests.length, 0);
  assert.equal(proxy.lines.length, 1);
  assert.equal(proxy.lines[0]?.reason, 'bad_request');
});

test('a client that pipelines without reading is no longer read', async (t) => {
  const body = 'b'.repeat(20_000);
  const backend = await startCapturingBackend(t, () => ok(body));
  const proxy = await startProxy(t, { backends: [backend] });
  const client = await proxy.connect();
  client.socket.pause();
  await client.writeUntilStuck(Buffer.from(get('/').repeat(500)));
});
