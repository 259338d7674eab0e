import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { startSilentListener } from '../../support/silent-listener.ts';
import { waitFor } from '../../support/wait.ts';
import { ok, startCapturingBackend } from '../capturing-backend.ts';
import { startProxy } from '../support.ts';

/** Sends a byte at intervals until the connection closes. */
function dribble(write: (byte: string) => void, everyMs: number): () => void {
  const timer = setInterval(() => write('x'), everyMs);
  return () => clearInterval(timer);
}

test('B13: a client that dribbles its head gets 408 at the deadline, at most one check later', async (t) => {
  const proxy = await startProxy(t, { backends: [{ port: 1 }], timeouts: { headersMs: 500 } });
  const startMs = performance.now();
  const client = await proxy.connect();
  client.write('GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ');
  const stop = dribble((byte) => client.write(byte), 100);
  t.after(stop);
  const answer = await client.readResponse();
  stop();
  const tookMs = performance.now() - startMs;
  assert.equal(answer.status, 408);
  assert.match(JSON.parse(answer.body.toString()).type, /\/header_timeout$/);
  assert.ok(answer.header('x-request-id'));
  assert.ok(tookMs >= 490 && tookMs < 500 + 1_000 + 2_000, `${tookMs} ms`);
  await client.waitForClose();
  assert.equal(proxy.lines[0]?.reason, 'header_timeout');
  assert.equal(proxy.lines[0]?.status, 408);
});

test('B13: the head of a later request on a connection has the same deadline', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend], timeouts: { headersMs: 200 } });
  const client = await proxy.connect();
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  assert.equal((await client.readResponse()).status, 200);
  client.write('GET / HTT');
  assert.equal((await client.readResponse()).status, 408);
  await client.waitForClose();
});

test('B13: a connection that never sends a byte is closed without an answer', async (t) => {
  const proxy = await startProxy(t, { backends: [{ port: 1 }], timeouts: { headersMs: 200 } });
  const client = await proxy.connect();
  const rest = await client.waitForClose();
  assert.equal(rest.length, 0);
  assert.equal(proxy.lines.length, 0);
});

test('B14: a body may take many times bodyIdle if no pause is that long', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend], timeouts: { bodyIdleMs: 1_000 } });
  const client = await proxy.connect();
  client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n');
  for (let i = 0; i < 10; i++) {
    client.write('x');
    await waitFor('the byte to reach the backend', () => backend.received[0]?.endsWith('x'.repeat(i + 1)));
    // The pauses under test: each is shorter than bodyIdle, their sum is longer.
    await delay(150);
  }
  assert.equal((await client.readResponse()).status, 200);
});

test('B14: a body that stalls gets 408, and the backend’s connection is closed', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend], timeouts: { bodyIdleMs: 200 } });
  const client = await proxy.connect();
  client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nxxx');
  const answer = await client.readResponse();
  assert.equal(answer.status, 408);
  assert.equal(answer.header('connection'), 'close');
  await client.waitForClose();
  await waitFor('the backend connection to close', () => backend.closedCount === 1);
  assert.equal(backend.requests.length, 0);
  assert.equal(proxy.lines[0]?.reason, 'body_timeout');
  assert.equal(proxy.failures.length, 0);
});

test('B15: a backend that does not answer in time makes a 504', async (t) => {
  const backend = await startCapturingBackend(t, () => null);
  const proxy = await startProxy(t, { backends: [backend], poolTimeouts: { responseMs: 200 } });
  const client = await proxy.connect();
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  const answer = await client.readResponse();
  assert.equal(answer.status, 504);
  assert.equal(answer.header('connection'), null);
  assert.equal(proxy.lines[0]?.reason, 'upstream_timeout');
  assert.equal(proxy.metric('sluice_upstream_requests_total', 'app', '000'), 1);
  await waitFor('the backend connection to close', () => backend.closedCount === 1);
});

test('B15: when connecting to a backend times out, another backend is tried', async (t) => {
  const silentPort = await startSilentListener(t);
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, {
    backends: [{ port: silentPort, id: 'silent' }, backend],
    poolTimeouts: { connectMs: 200 },
  });
  const client = await proxy.connect();
  for (let i = 0; i < 2; i++) {
    client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    assert.equal((await client.readResponse()).status, 200);
  }
  assert.deepEqual(
    proxy.failures.map((failure) => failure.backend),
    ['silent'],
  );
});

test('B15: when connecting times out and no other backend is left, the answer is 502', async (t) => {
  const silentPort = await startSilentListener(t);
  const proxy = await startProxy(t, { backends: [{ port: silentPort }], poolTimeouts: { connectMs: 200 } });
  const client = await proxy.connect();
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  assert.equal((await client.readResponse()).status, 502);
  assert.equal(proxy.lines[0]?.reason, 'connect_failed');
});

test('B15: a response body that stalls cuts the client off instead of ending the answer', async (t) => {
  const backend = await startCapturingBackend(
    t,
    () => 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n',
  );
  const proxy = await startProxy(t, { backends: [backend], poolTimeouts: { idleMs: 200 } });
  const client = await proxy.connect();
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  const rest = (await client.waitForClose()).toString('latin1');
  assert.match(rest, /\r\n3\r\nabc\r\n$/);
  assert.equal(proxy.lines[0]?.reason, 'upstream_timeout');
  assert.equal(proxy.lines[0]?.status, 200);
});

test('B16: an idle connection stays open for keepAlive and is then closed', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, {
    backends: [backend],
    timeouts: { keepAliveMs: 400, headersMs: 5_000 },
  });
  const client = await proxy.connect();
  for (let i = 0; i < 2; i++) {
    client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    const answer = await client.readResponse();
    assert.equal(answer.header('connection'), null);
    const sentMs = performance.now();
    if (i === 1) {
      await client.waitForClose();
      const idleMs = performance.now() - sentMs;
      assert.ok(idleMs >= 395 && idleMs < 4_000, `${idleMs} ms`);
    }
  }
});

test('B16: a head that begins before keepAlive has passed is served', async (t) => {
  const backend = await startCapturingBackend(t, () => ok('x'));
  const proxy = await startProxy(t, {
    backends: [backend],
    timeouts: { keepAliveMs: 200, headersMs: 5_000 },
  });
  const client = await proxy.connect();
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  await client.readResponse();
  client.write('GET / HTTP/1.1\r\n');
  // The test is that nothing happens while keepAlive passes.
  await delay(500);
  client.write('Host: a\r\n\r\n');
  assert.equal((await client.readResponse()).status, 200);
});

test('B16: empty lines do not keep an idle connection open', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, {
    backends: [backend],
    timeouts: { keepAliveMs: 200, headersMs: 200 },
  });
  const client = await proxy.connect();
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  await client.readResponse();
  const startMs = performance.now();
  client.write('\r\n');
  assert.equal((await client.waitForClose()).length, 0);
  const tookMs = performance.now() - startMs;
  assert.ok(tookMs < 200 + 200 + 2_000 + 2_000, `${tookMs} ms`);
});
