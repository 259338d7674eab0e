import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startCapturingBackend } from '../capturing-backend.ts';
import { startProxy } from '../support.ts';

test('B23: a chunked DELETE arrives with its body, and the next request on that connection is separate', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend] });
  const client = await proxy.connect();
  const smuggled = 'GET /evil HTTP/1.1\r\nHost: a\r\n\r\n';
  client.write(
    `DELETE /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n${smuggled.length.toString(16)}\r\n${smuggled}\r\n0\r\n\r\n`,
  );
  assert.equal((await client.readResponse()).body.toString(), 'DELETE /a');
  client.write('GET /next HTTP/1.1\r\nHost: a\r\n\r\n');
  assert.equal((await client.readResponse()).body.toString(), 'GET /next');
  assert.deepEqual(
    backend.requests.map(({ target, body }) => [target, body]),
    [
      ['/a', smuggled],
      ['/next', ''],
    ],
  );
  assert.equal(backend.connectionCount, 1);
});

test('B23: a POST without a body is sent with Content-Length: 0, a GET without it', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend] });
  const client = await proxy.connect();
  client.write('POST / HTTP/1.1\r\nHost: a\r\n\r\n');
  await client.readResponse();
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  await client.readResponse();
  assert.equal(backend.requests[0]?.header('content-length'), '0');
  assert.equal(backend.requests[1]?.header('content-length'), null);
});

test('B23: a body in many pieces and its trailers arrive as sent', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend] });
  const client = await proxy.connect();
  client.write('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n');
  let sent = '';
  for (let i = 0; i < 50; i++) {
    const piece = String(i).repeat(1 + (i % 7));
    sent += piece;
    client.write(`${piece.length.toString(16)};ext=1\r\n${piece}\r\n`);
    await new Promise((resolve) => setImmediate(resolve));
  }
  client.write('0\r\nX-Sum: 9\r\nContent-Type: evil\r\nX_Sum: 8\r\n\r\n');
  assert.equal((await client.readResponse()).status, 200);
  assert.equal(backend.requests[0]?.body, sent);
  assert.equal(backend.requests[0]?.trailers, 'X-Sum: 9');
});
