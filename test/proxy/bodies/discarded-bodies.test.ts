/** Bodies of requests that are refused before the body is read. A short body is discarded and the connection stays open. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { startRawBackend } from '../../support/backend.ts';
import type { RawClient, RawResponse } from '../../support/raw-http.ts';
import { waitFor } from '../../support/wait.ts';
import { type CapturingBackend, startCapturingBackend } from '../capturing-backend.ts';
import { type ProxyOptions, policy, route, startProxy, type TestProxy } from '../support.ts';

const KIB = 1024;
const HEADERS_MS = 300;
/** A proxy that mistakes a body for requests would serve this. */
const EVIL = 'GET /free/evil HTTP/1.1\r\nHost: a\r\n\r\n';
const FREE = 'GET /free HTTP/1.1\r\nHost: a\r\n\r\n';
const CHUNKED_HEAD = 'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n';
const lengthHead = (bytes: number) => `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${bytes}\r\n\r\n`;
const chunkOf = (body: string) => `${body.length.toString(16)}\r\n${body}\r\n`;

interface Scene {
  proxy: TestProxy;
  backend: CapturingBackend;
  /** Has no tokens left; only /free is not limited. */
  client: RawClient;
}

async function startLimited(t: TestContext, options: ProxyOptions = {}): Promise<Scene> {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, {
    backends: [backend],
    policies: [policy('one', 1, 0.001)],
    routes: [
      route('free', { path: '/free' }),
      route('limited', {}, { rateLimit: { policies: ['one'], cost: 1 } }),
    ],
    ...options,
  });
  const client = await proxy.connect();
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  assert.equal((await client.readResponse()).status, 200);
  return { proxy, backend, client };
}

function assertRefused(answer: RawResponse, connection: 'close' | null): void {
  assert.deepEqual([answer.status, answer.header('connection')], [429, connection]);
}

function assertNothingHidden({ backend }: Scene): void {
  assert.ok(!backend.received.some((text) => text.includes('evil')), 'a body was served');
}

const LONG = EVIL.repeat(Math.floor((60 * KIB) / EVIL.length));
const SHORT_BODIES: [title: string, head: string, body: string][] = [
  ['3 bytes', lengthHead(3), 'abc'],
  ['3 bytes in a chunk', CHUNKED_HEAD, `${chunkOf('abc')}0\r\n\r\n`],
  ['60 KiB', lengthHead(LONG.length), LONG],
  ['60 KiB in chunks', CHUNKED_HEAD, `${chunkOf(EVIL).repeat(LONG.length / EVIL.length)}0\r\nX: y\r\n\r\n`],
];

for (const [title, head, body] of SHORT_BODIES) {
  test(`a client over its limit gets repeated 429s for a body of ${title} on one connection`, async (t) => {
    const scene = await startLimited(t);
    const { client, proxy } = scene;
    for (let i = 0; i < 3; i++) {
      client.write(head + body);
      assertRefused(await client.readResponse(), null);
    }
    client.write(FREE);
    assert.equal((await client.readResponse()).body.toString(), 'GET /free');
    assert.equal(proxy.server.connectionCount, 1);
    assertNothingHidden(scene);
  });

  test(`a body of ${title} may arrive after its 429, and the request behind it is served`, async (t) => {
    const scene = await startLimited(t);
    const { client, proxy } = scene;
    for (let i = 0; i < 3; i++) {
      client.write(head);
      assertRefused(await client.readResponse(), null);
      client.write(body + FREE);
      assert.equal((await client.readResponse()).body.toString(), 'GET /free');
    }
    assert.equal(client.received.length, 0);
    assert.equal(proxy.server.connectionCount, 1);
    assertNothingHidden(scene);
  });
}

for (const kib of [8, 15, 17, 30, 48]) {
  test(`the request behind a refused body of ${kib} KiB in the same packet is served`, async (t) => {
    const { client } = await startLimited(t);
    client.write(lengthHead(kib * KIB) + 'x'.repeat(kib * KIB) + FREE);
    assertRefused(await client.readResponse(), null);
    assert.equal((await client.readResponse()).body.toString(), 'GET /free');
  });
}

for (const together of [true, false]) {
  const how = together ? 'in one packet with its head' : 'that comes later';
  test(`a refused body of 70 KiB ${how} ends the connection after the answer`, async (t) => {
    const { client, backend } = await startLimited(t);
    const head = lengthHead(70 * KIB);
    const body = 'x'.repeat(70 * KIB);
    client.write(together ? head + body : head);
    assertRefused(await client.readResponse(), 'close');
    client.write(together ? FREE : body + FREE);
    assert.equal((await client.waitForClose()).length, 0);
    assert.equal(client.error, null, 'the connection was reset');
    assert.equal(backend.requests.length, 1);
  });
}

test('a refused chunked body of more than 64 KiB is cut off with a FIN', async (t) => {
  const { client, backend, proxy } = await startLimited(t);
  client.write(CHUNKED_HEAD);
  assertRefused(await client.readResponse(), null);
  let sent = 0;
  while (!client.ended && !client.closed && sent < 1_024 * KIB) {
    client.write(chunkOf('x'.repeat(KIB)));
    sent += KIB;
    await nextTurn();
  }
  assert.ok(client.ended && client.error === null, `no FIN after ${sent} bytes`);
  assert.ok(sent > 64 * KIB, `cut after only ${sent} bytes`);
  client.write(`0\r\n\r\n${FREE}`);
  client.end();
  await waitFor('the connection to be gone', () => proxy.server.connectionCount === 0);
  assert.equal(client.received.length, 0);
  assert.equal(backend.requests.length, 1);
});

test('when the backend resets during a chunked upload, the 502 says Connection: close', async (t) => {
  const backend = await startRawBackend((socket) => {
    let bytes = 0;
    socket.on('data', (data) => {
      bytes += data.length;
      if (bytes > 100 * KIB) socket.resetAndDestroy();
    });
  });
  t.after(() => backend.close());
  const proxy = await startProxy(t, { backends: [backend] });
  const client = await proxy.connect();
  client.write(CHUNKED_HEAD + chunkOf('x'.repeat(KIB)).repeat(120));
  const answer = await client.readResponse();
  assert.deepEqual([answer.status, answer.header('connection')], [502, 'close']);
});

test('nothing behind a refused body with malformed chunks is served', async (t) => {
  const { client, backend } = await startLimited(t);
  client.write(CHUNKED_HEAD);
  assertRefused(await client.readResponse(), null);
  client.write(`3\r\nabcd\r\n0\r\n\r\n${FREE}`);
  await client.waitForClose();
  assert.equal(client.error, null, 'the connection was reset');
  assert.equal(backend.requests.length, 1);
});

test('a refused body must arrive within the headers timeout, or the connection is closed', async (t) => {
  const timeouts = { headersMs: HEADERS_MS, keepAliveMs: 75_000 };
  const { client, backend } = await startLimited(t, { timeouts });
  client.write(lengthHead(KIB));
  assertRefused(await client.readResponse(), null);
  const startMs = performance.now();
  const dribbling = setInterval(() => client.write('x'), HEADERS_MS / 10);
  t.after(() => clearInterval(dribbling));
  assert.equal((await client.waitForClose()).length, 0);
  const tookMs = performance.now() - startMs;
  // 50 ms less: the test may have read the answer late.
  assert.ok(tookMs >= HEADERS_MS - 50 && tookMs < HEADERS_MS + 2_000, `${tookMs} ms`);
  assert.equal(backend.requests.length, 1);
});
