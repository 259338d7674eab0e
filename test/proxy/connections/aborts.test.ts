import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { startRawBackend } from '../../support/backend.ts';
import type { RawClient } from '../../support/raw-http.ts';
import { waitFor } from '../../support/wait.ts';
import { type CapturingBackend, ok, startCapturingBackend } from '../capturing-backend.ts';
import { accessLineOf, startProxy, type TestProxy } from '../support.ts';

const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';
const CHUNKED_HEAD = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n';

interface Scene {
  proxy: TestProxy;
  backend: CapturingBackend;
  /** Connects a client and brings it to the point where it disconnects. */
  prepare: () => Promise<RawClient>;
  leave: (client: RawClient) => void;
}

/** The fastest of three counts: other programs may delay one, but a delay of the proxy would show in all. */
async function assertAborted({ proxy, backend, prepare, leave }: Scene): Promise<void> {
  const tookMs: number[] = [];
  for (let round = 1; round <= 3; round++) {
    const client = await prepare();
    const startMs = performance.now();
    leave(client);
    await waitFor('the backend connection to be closed', () => backend.closedCount === round, { everyMs: 2 });
    tookMs.push(performance.now() - startMs);
  }
  assert.ok(Math.min(...tookMs) < 100, `destroyed after ${tookMs} ms`);
  // A FIN would keep the port of each for a minute.
  assert.equal(backend.resetCount, 3);
  await waitFor('three access lines', () => proxy.lines.length === 3);
  for (const { status, reason } of proxy.lines) assert.deepEqual([status, reason], [499, 'client_abort']);
  assert.equal(proxy.failures.length, 0);
  assert.equal(proxy.metric('sluice_retries_total'), 0);
  assert.equal(proxy.metric('sluice_requests_total', 'default', '499'), 3);
  assert.equal(proxy.metric('sluice_upstream_requests_total', '000'), 0);
}

const WAYS: [title: string, leave: (client: RawClient) => void][] = [
  ['reset', (client) => client.reset()],
  ['FIN', (client) => client.end()],
];

for (const [title, leave] of WAYS) {
  test(`B28: a client’s ${title} while the answer is awaited destroys the upstream request within 100 ms`, async (t) => {
    const backend = await startCapturingBackend(t, () => null);
    const proxy = await startProxy(t, { backends: [backend] });
    const prepare = async () => {
      const client = await proxy.connect();
      const before = backend.requests.length;
      client.write(GET);
      await waitFor('the request at the backend', () => backend.requests.length === before + 1);
      return client;
    };
    await assertAborted({ proxy, backend, prepare, leave });
  });

  test(`B28: a client’s ${title} in the middle of an answer destroys the upstream request within 100 ms`, async (t) => {
    const backend = await startCapturingBackend(t, () => CHUNKED_HEAD);
    const proxy = await startProxy(t, { backends: [backend] });
    const prepare = async () => {
      const client = await proxy.connect();
      client.write(GET);
      await client.waitForBytes('abc');
      return client;
    };
    await assertAborted({ proxy, backend, prepare, leave });
  });

  test(`B28: a client’s ${title} in the middle of its body destroys the upstream request within 100 ms`, async (t) => {
    const backend = await startCapturingBackend(t);
    const proxy = await startProxy(t, { backends: [backend] });
    const prepare = async () => {
      const client = await proxy.connect();
      const before = backend.connectionCount;
      client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc');
      await waitFor('the bytes at the backend', () => backend.received[before]?.endsWith('abc'));
      return client;
    };
    await assertAborted({ proxy, backend, prepare, leave });
    assert.equal(backend.requests.length, 0);
  });
}

test('B28: a client’s reset ends its upload, also while a blocked backend keeps the client from being read', async (t) => {
  const backend = await startRawBackend((socket) => socket.pause());
  t.after(() => backend.close());
  const proxy = await startProxy(t, { backends: [backend], limits: { bodyBytes: 1024 ** 3 } });
  const client = await proxy.connect();
  client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n');
  await client.writeUntilStuck(Buffer.alloc(1_048_576));
  client.reset();
  const seen = await waitFor('the access line', () => proxy.lines[0]);
  assert.equal(seen.reason, 'client_abort');
  assert.equal(proxy.failures.length, 0);
});

test('B28: a client’s reset ends its request, also when pipelined requests wait behind it', async (t) => {
  const backend = await startCapturingBackend(t, () => null);
  const proxy = await startProxy(t, { backends: [backend] });
  const client = await proxy.connect();
  client.write(GET.repeat(3_000));
  await waitFor('the first request', () => backend.requests.length === 1);
  await client.writeUntilStuck(Buffer.from(GET.repeat(10_000)));
  client.reset();
  await waitFor('the backend’s connection to close', () => backend.closedCount === 1);
  assert.deepEqual(
    proxy.lines.map(({ reason }) => reason),
    ['client_abort'],
  );
});

test('B28: a client’s reset after the first of many pipelined answers ends the next request', async (t) => {
  const backend = await startCapturingBackend(t, ({ target }) => (target === '/first' ? ok('') : null));
  const proxy = await startProxy(t, { backends: [backend] });
  const client = await proxy.connect();
  client.write(GET.replace('/', '/first') + GET.repeat(100));
  await client.readResponse();
  await waitFor('the second request', () => backend.requests.length === 2);
  client.reset();
  await waitFor('the backend’s connection to close', () => backend.closedCount === 1);
  assert.deepEqual(
    proxy.lines.map(({ reason }) => reason),
    ['ok', 'client_abort'],
  );
});

test('B28: when the backend disconnects in the middle of a body, the client is cut off without a last chunk', async (t) => {
  const backend = await startCapturingBackend(t, () => CHUNKED_HEAD);
  const proxy = await startProxy(t, { backends: [backend] });
  const client = await proxy.connect();
  client.write(GET);
  await client.waitForBytes('abc');
  backend.sockets[0]?.resetAndDestroy();
  const rest = (await client.waitForClose()).toString('latin1');
  assert.match(rest, /\r\n3\r\nabc\r\n$/);
  assert.equal(proxy.lines[0]?.reason, 'upstream_reset');
});

test('a body shorter than its Content-Length cuts the client off', async (t) => {
  const backend = await startCapturingBackend(t, (_request, socket) => {
    socket.end('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc');
    return null;
  });
  const proxy = await startProxy(t, { backends: [backend] });
  const client = await proxy.connect();
  client.write(GET);
  const rest = (await client.waitForClose()).toString('latin1');
  assert.match(rest, /Content-Length: 10\r\n\r\nabc$/);
  const line = await accessLineOf(proxy, () => true);
  assert.equal(line.reason, 'upstream_reset');
});

test('an HTTP/1.0 client is reset when a body without a length breaks off, so that it does not look complete', async (t) => {
  const backend = await startCapturingBackend(t, () => CHUNKED_HEAD);
  const proxy = await startProxy(t, { backends: [backend] });
  const client = await proxy.connect();
  client.write('GET / HTTP/1.0\r\nHost: a\r\n\r\n');
  await client.waitForBytes('abc');
  backend.sockets[0]?.resetAndDestroy();
  await waitFor('the reset', () => client.closed);
  assert.equal(client.error?.code, 'ECONNRESET');
});

test('a client may disconnect while it waits for a token, or after its answer', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend] });
  for (let i = 0; i < 30; i++) {
    const client = await proxy.connect();
    client.write(GET);
    if (i % 3 === 0) await new Promise((resolve) => setImmediate(resolve));
    if (i % 3 === 1) await client.readResponse();
    client.reset();
  }
  await waitFor('all requests to end', () => proxy.handler.traffic.inFlight === 0);
  const client = await proxy.connect();
  client.write('GET /still HTTP/1.1\r\nHost: a\r\n\r\n');
  assert.equal((await client.readResponse()).body.toString(), 'GET /still');
});

/** Runs in a thread: connects, sends a request and resets, `count` times, while the main thread is blocked and accepts nobody. */
const RESETTING = `
  const { port, flag, count } = require('node:worker_threads').workerData;
  const { connect } = require('node:net');
  let left = count;
  for (let i = 0; i < count; i++) {
    const socket = connect(port, '127.0.0.1', () => {
      socket.write('POST / HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 1\\r\\n\\r\\nx', () => socket.resetAndDestroy());
    });
    socket.on('close', () => {
      if (--left > 0) return;
      Atomics.store(flag, 0, 1);
      Atomics.notify(flag, 0);
    });
  }
`;

test('a client that was reset before it was accepted has no address and is not served', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend] });
  const flag = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
  const workerData = { port: Number(new URL(proxy.url).port), flag, count: 20 };
  const thread = new Worker(RESETTING, { eval: true, workerData });
  t.after(() => thread.terminate());
  assert.notEqual(Atomics.wait(flag, 0, 0, 10_000), 'timed-out', 'the thread is done');
  const last = await proxy.connect();
  last.write(GET);
  await last.readResponse();
  await waitFor('the connections to be gone', () => proxy.server.connectionCount === 1);
  assert.deepEqual(
    proxy.lines.map(({ clientIp, status }) => [clientIp, status]),
    [['127.0.0.1', 200]],
  );
});
