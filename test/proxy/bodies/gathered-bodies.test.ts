import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { keptTotalBytes } from '../../../src/upstream/kept-body.ts';
import { startBackend } from '../../support/backend.ts';
import type { RawClient } from '../../support/raw-http.ts';
import { waitFor } from '../../support/wait.ts';
import { accessLineOf, type ProxyOptions, pool, startProxy } from '../support.ts';

const MAX_CONCURRENT = 4;
const post = (length: number, more = '') =>
  `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${length}\r\n${more}\r\n`;

/** A pool whose backend has half of the requests that it may have at once: their bodies do not come. */
async function start(t: TestContext, timeouts: ProxyOptions['timeouts'] = {}) {
  const bodies: number[] = [];
  const backend = await startBackend((request, response) => {
    let bytes = 0;
    request.on('data', (piece: Buffer) => {
      bytes += piece.length;
    });
    request.on('end', () => {
      bodies.push(bytes);
      response.end(String(bytes));
    });
  });
  t.after(() => backend.close());
  const limits = { maxConcurrentPerBackend: MAX_CONCURRENT, queue: 0, queueTimeoutMs: 1_000 };
  const proxy = await startProxy(t, { pools: [pool('app', [backend.port], { limits })], timeouts });
  const slow: RawClient[] = [];
  const atBackend = () => [...proxy.plan().backends()][0]?.backend.inFlight ?? 0;
  for (let i = 0; i < MAX_CONCURRENT / 2; i++) {
    const client = await proxy.connect();
    client.write(`${post(100)}begin`);
    slow.push(client);
    await waitFor('the slow request at the backend', () => atBackend() === i + 1);
  }
  return { backend, proxy, slow, atBackend, bodies };
}

test('where backends are busy, slow bodies take no further connection, and whole ones pass', async (t) => {
  const { proxy, slow, atBackend, bodies } = await start(t);
  for (let i = 0; i < 20; i++) {
    const client = await proxy.connect();
    client.write(`${post(10)}01234`);
    slow.push(client);
  }
  await waitFor('the slow requests', () => proxy.handler.traffic.inFlight === slow.length);
  const quick = await proxy.connect();
  for (let i = 0; i < 3; i++) {
    quick.write(`${post(5)}hello`);
    assert.equal((await quick.readResponse()).body.toString(), '5');
    quick.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    assert.equal((await quick.readResponse()).body.toString(), '0');
  }
  assert.equal(atBackend(), MAX_CONCURRENT / 2);
  // Those that come to their end are served.
  const last = slow.at(-1) ?? assert.fail();
  last.write('56789');
  assert.equal((await last.readResponse()).body.toString(), '10');
  assert.ok(bodies.includes(10));
  const line = await accessLineOf(proxy, ({ bytesIn }) => bytesIn === 10);
  assert.deepEqual([line.attempts, line.reason], [1, 'ok']);
});

test('a client that waits for 100 Continue gets it before its body is gathered; a large body flows once it has begun in earnest', async (t) => {
  const { proxy, atBackend } = await start(t);
  const client = await proxy.connect();
  client.write(post(4, 'Expect: 100-continue\r\n'));
  await client.waitForBytes('100 Continue');
  assert.equal(atBackend(), MAX_CONCURRENT / 2);
  client.write('body');
  assert.equal((await client.readResponse()).body.toString(), '4');
  const large = await proxy.connect();
  large.write(post(300_000));
  large.write('x'.repeat(100_000));
  await waitFor('the large request at the backend', () => atBackend() === MAX_CONCURRENT / 2 + 1);
  large.write('x'.repeat(200_000));
  assert.equal((await large.readResponse()).body.toString(), '300000');
});

test('B14: a gathered body that stalls gets 408', async (t) => {
  const { proxy, slow } = await start(t, { bodyIdleMs: 300 });
  const stalled = await proxy.connect();
  stalled.write(`${post(10)}01234`);
  for (const client of [stalled, ...slow]) assert.equal((await client.readResponse()).status, 408);
  assert.equal(keptTotalBytes(), 0);
});

test('a client that leaves while its body is gathered leaves nothing behind, and no backend has heard of it', async (t) => {
  const { proxy } = await start(t);
  const gone = await proxy.connect();
  gone.write(`${post(10)}01234`);
  await waitFor('its bytes', () => keptTotalBytes() > 0);
  gone.close();
  const line = await accessLineOf(proxy, ({ reason }) => reason === 'client_abort');
  assert.deepEqual([line.attempts, line.backend, line.bytesIn], [0, null, 5]);
  assert.equal(keptTotalBytes(), 0);
});

test('where backends are busy, a body in chunks flows as it comes', async (t) => {
  const { proxy, atBackend } = await start(t);
  const chunked = await proxy.connect();
  chunked.write('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n');
  await waitFor('the request at the backend', () => atBackend() === MAX_CONCURRENT / 2 + 1);
  chunked.write('0\r\n\r\n');
  assert.equal((await chunked.readResponse()).body.toString(), '5');
});

test('a gathered body that finds no room leaves nothing behind', async (t) => {
  const { proxy, atBackend } = await start(t);
  const refused = await proxy.connect();
  refused.write(`${post(10)}01234`);
  await waitFor('its bytes', () => keptTotalBytes() > 0);
  for (let i = 0; i < MAX_CONCURRENT / 2; i++) {
    const full = await proxy.connect();
    full.write('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n');
  }
  await waitFor('no room', () => atBackend() === MAX_CONCURRENT);
  refused.write('56789');
  assert.equal((await refused.readResponse()).status, 503);
  assert.equal(keptTotalBytes(), 0);
});
