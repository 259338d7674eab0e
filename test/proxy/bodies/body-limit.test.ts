import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LINGER_IDLE_MS } from '../../../src/worker/inbound/lingering-connection.ts';
import { waitFor } from '../../support/wait.ts';
import { startCapturingBackend } from '../capturing-backend.ts';
import { startProxy } from '../support.ts';

const LIMITS = { limits: { bodyBytes: 1000 } };

test('B18: a body over the limit by Content-Length gets 413 before a byte of it is read, and the client gets the answer', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend], ...LIMITS });
  const client = await proxy.connect();
  client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000000\r\n\r\n');
  client.write('x'.repeat(5_000_000));
  const answer = await client.readResponse();
  assert.equal(answer.status, 413);
  assert.equal(answer.header('connection'), 'close');
  await client.waitForClose();
  assert.equal(client.error, null, 'the connection was reset');
  assert.equal(backend.received.length, 0);
  assert.equal(proxy.lines[0]?.reason, 'body_too_large');
});

test('B18: a chunked body is counted, and no byte above the limit is sent upstream', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend], ...LIMITS });
  const client = await proxy.connect();
  client.write('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n');
  for (let i = 0; i < 20; i++) {
    client.write(`64\r\n${'y'.repeat(100)}\r\n`);
    await new Promise((resolve) => setImmediate(resolve));
  }
  const answer = await client.readResponse();
  assert.equal(answer.status, 413);
  await client.waitForClose();
  assert.equal(client.error, null, 'the connection was reset');
  const sent = backend.received.join('').replace(/^[\s\S]*?\r\n\r\n/, '');
  assert.ok((sent.match(/y/g) ?? []).length <= 1000, `${sent.length} bytes went upstream`);
  assert.equal(backend.requests.length, 0);
});

test('B18: a body of exactly the limit passes, chunked and with a length', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend], ...LIMITS });
  const client = await proxy.connect();
  client.write(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n${'x'.repeat(1000)}`);
  assert.equal((await client.readResponse()).status, 200);
  client.write(
    `POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n${'x'.repeat(1000)}\r\n0\r\n\r\n`,
  );
  assert.equal((await client.readResponse()).status, 200);
  assert.equal(proxy.lines[1]?.bytesIn, 1000);
});

test('B18: 100 Continue is not sent before a 413', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend], ...LIMITS });
  const client = await proxy.connect();
  client.write('POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1001\r\n\r\n');
  const answer = await client.readResponse();
  assert.equal(answer.status, 413);
  assert.equal(answer.interims.length, 0);
  await client.waitForClose();
});

test('B18: a client that keeps sending its refused body slowly still gets the answer', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend], ...LIMITS });
  const client = await proxy.connect();
  client.socket.pause();
  client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n');
  const enoughMs = performance.now() + LINGER_IDLE_MS + 500;
  const sendMore = () => {
    client.write('x'.repeat(100));
    return performance.now() > enoughMs;
  };
  await waitFor('longer than a silent client may take', sendMore, { everyMs: 50 });
  client.socket.resume();
  assert.equal((await client.readResponse()).status, 413);
  assert.equal(client.error, null, 'the connection was reset');
});
