import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startCapturingBackend, startProxy } from './support.ts';

test('a request reaches the backend and the answer comes back, twice on one connection', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend] });
  const client = await proxy.connect();
  client.write('GET /a HTTP/1.1\r\nHost: a\r\n\r\n');
  const first = await client.readResponse();
  assert.equal(first.status, 200);
  assert.equal(first.body.toString(), 'GET /a');
  console.log(first.headers, backend.requests[0]?.raw);
  client.write('POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc');
  const second = await client.readResponse();
  assert.equal(second.body.toString(), 'POST /b');
  assert.equal(backend.requests[1]?.body, 'abc');
  assert.equal(backend.connectionCount, 1);
  console.log(proxy.lines);
});
