/** Bodies of requests that are sent again. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';
import { KEPT_MAX_BYTES, keptTotalBytes } from '../../../src/upstream/kept-body.ts';
import { startH2Backend } from '../../support/h2-backends.ts';
import { connectH2 } from '../../support/h2-client.ts';
import { poolSettings, retrySettings } from '../../support/settings.ts';
import { waitFor } from '../../support/wait.ts';
import { startCapturingBackend } from '../capturing-backend.ts';
import { startProxy } from '../support.ts';

/** A backend that resets a connection once it has this many bytes of a request's body. */
async function startDying(t: TestContext, afterBytes: number) {
  const backend = await startCapturingBackend(t, () => null);
  const watch = setInterval(() => {
    for (const [i, text] of backend.received.entries()) {
      const body = text.length - text.indexOf('\r\n\r\n') - 4;
      if (text.includes('\r\n\r\n') && body >= afterBytes) backend.sockets[i]?.resetAndDestroy();
    }
  }, 5);
  t.after(() => clearInterval(watch));
  return backend;
}

test('B8: a PUT is sent again with what was read of its body, and with what the client sends meanwhile', async (t) => {
  for (const framing of ['Content-Length: 9', 'Transfer-Encoding: chunked']) {
    const piece = (text: string) => (framing.startsWith('C') ? text : `${text.length}\r\n${text}\r\n`);
    const dying = await startDying(t, 3);
    const good = await startCapturingBackend(t);
    const proxy = await startProxy(t, { backends: [dying, good] });
    const client = await proxy.connect();
    client.write(`PUT / HTTP/1.1\r\nHost: a\r\n${framing}\r\n\r\n${piece('abc')}`);
    await waitFor('the other backend', () => good.received[0]?.includes('abc') === true);
    client.write(piece('defghi'));
    if (!framing.startsWith('C')) client.write('0\r\nX-Sum: 9\r\n\r\n');
    assert.equal((await client.readResponse()).status, 200);
    assert.equal(good.requests[0]?.body, 'abcdefghi');
    if (!framing.startsWith('C')) assert.equal(good.requests[0]?.trailers.trim(), 'X-Sum: 9');
    assert.deepEqual([proxy.lines[0]?.attempts, proxy.lines[0]?.bytesIn], [2, 9]);
    assert.equal(keptTotalBytes(), 0);
  }
});

test('B8: of a body, 64 KiB are kept; with one byte more the request is not sent again, and nothing of it is held', async (t) => {
  for (const [bytes, status] of [
    [KEPT_MAX_BYTES, 200],
    [KEPT_MAX_BYTES + 1, 502],
  ] as const) {
    const dying = await startDying(t, bytes);
    const good = await startCapturingBackend(t);
    const proxy = await startProxy(t, { backends: [dying, good] });
    const client = await proxy.connect();
    const body = 'x'.repeat(bytes);
    client.write(`PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: ${bytes}\r\n\r\n${body}`);
    const answer = await client.readResponse();
    assert.equal(answer.status, status);
    assert.equal(good.requests.length, status === 200 ? 1 : 0);
    if (status === 200) assert.ok(good.requests[0]?.body === body);
    assert.equal(keptTotalBytes(), 0);
  }
});

test('B8: a PUT of a client with HTTP/2 is sent again, too', async (t) => {
  const dying = await startDying(t, 3);
  const good = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [dying, good], h2c: true });
  const session = connectH2(t, proxy.url);
  const stream = session.request({ ':method': 'PUT', ':path': '/', ':authority': 'a' });
  stream.write('abc');
  await waitFor('the other backend', () => good.received[0]?.includes('abc') === true);
  stream.end('def');
  const [headers] = await once(stream, 'response');
  assert.equal(headers[':status'], 200);
  stream.resume();
  await once(stream, 'close');
  assert.equal(good.requests[0]?.body, 'abcdef');
});

test('B8: a POST keeps nothing towards HTTP/1.1, and a PUT lets go when its answer begins', async (t) => {
  const backend = await startCapturingBackend(t, () => null);
  const proxy = await startProxy(t, { backends: [backend] });
  const [post, put] = [await proxy.connect(), await proxy.connect()];
  post.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc');
  put.write('PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabcd');
  // After the empty line: the ids in the head may contain the same letters.
  const bodies = () => backend.received.join('').match(/\r\n\r\nabc/g);
  await waitFor('both bodies', () => bodies()?.length === 2);
  // The memory of one body.
  assert.equal(keptTotalBytes(), 1_024);
  for (const socket of backend.sockets) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nx');
  await waitFor('the answers to begin', () => keptTotalBytes() === 0);
  for (const client of [post, put]) client.close();
  await waitFor('the ends', () => proxy.lines.length === 2);
});

test('B8: what was read of a PUT goes to another backend over HTTP/2 after a reset of its connection', async (t) => {
  const dying = await startH2Backend(t, (stream) => {
    stream.on('data', () => dying.sockets[0]?.resetAndDestroy());
  });
  const bodies: string[] = [];
  const good = await startH2Backend(t, (stream) => {
    let body = '';
    stream.on('data', (piece: Buffer) => {
      body += piece.toString();
    });
    stream.on('end', () => {
      bodies.push(body);
      stream.respond({ ':status': 200 });
      stream.end();
    });
  });
  const backends = [dying, good].map(({ port }) => ({
    id: String(port),
    host: '127.0.0.1',
    port,
    tls: false,
    weight: 1,
    backup: false,
  }));
  const app = poolSettings({ backends, protocol: 'h2', retry: retrySettings() });
  const proxy = await startProxy(t, { pools: [app] });
  for (let i = 0; i < 2; i++) {
    const answer = await fetch(proxy.url, { method: 'PUT', body: 'abc' });
    assert.equal(answer.status, 200);
  }
  assert.deepEqual(bodies, ['abc', 'abc']);
  assert.equal(proxy.metric('sluice_retries_total', 'reset'), 1);
});
