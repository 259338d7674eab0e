/** Each misbehaving backend misbehaves as its file promises; else the tests that use it prove nothing. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { startClosesIdleSockets } from '../../test_backs/closes-idle-sockets.ts';
import { startFlaps } from '../../test_backs/flaps.ts';
import { startHangs } from '../../test_backs/hangs.ts';
import { startLiesAboutLength } from '../../test_backs/lies-about-length.ts';
import { startResetsMidBody } from '../../test_backs/resets-mid-body.ts';
import type { TestBackend } from '../../test_backs/server.ts';
import { connectRaw } from '../support/raw-http.ts';

async function connect(t: TestContext, backend: TestBackend) {
  t.after(() => backend.close());
  const client = await connectRaw(backend.url);
  t.after(() => client.close());
  return client;
}

const get = (path = '/') => `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`;

for (const [path, promised] of [
  ['/', 'Content-Length: 1000'],
  ['/chunked', '3e8\r\n'],
] as const) {
  test(`resets-mid-body breaks off inside the body it promised (${path})`, async (t) => {
    const client = await connect(t, await startResetsMidBody());
    client.write(get(path));
    const got = (await client.waitForClose()).toString('latin1');
    assert.ok(got.includes(promised));
    assert.ok(got.endsWith('x'.repeat(100)));
    assert.equal(client.error?.code, 'ECONNRESET');
  });
}

test('resets-mid-body sends no byte for /before-head', async (t) => {
  const client = await connect(t, await startResetsMidBody());
  client.write(get('/before-head'));
  assert.equal((await client.waitForClose()).length, 0);
  assert.equal(client.error?.code, 'ECONNRESET');
});

test('closes-idle-sockets answers with keep-alive and then ends the connection by itself', async (t) => {
  const client = await connect(t, await startClosesIdleSockets({ afterMs: 20 }));
  client.write(get());
  const response = await client.readResponse();
  assert.equal(response.header('connection'), 'keep-alive');
  assert.equal(response.body.toString(), 'ok');
  await client.waitForClose();
  assert.equal(client.error, null);
});

test('closes-idle-sockets can reset at the second request', async (t) => {
  const client = await connect(t, await startClosesIdleSockets({ when: 'next_request' }));
  client.write(get());
  await client.readResponse();
  client.write(get());
  assert.equal((await client.waitForClose()).length, 0);
  assert.equal(client.error?.code, 'ECONNRESET');
});

test('hangs accepts and sends nothing, or only the head and a byte', async (t) => {
  const silent = await connect(t, await startHangs());
  silent.write(get());
  const halfway = await connect(t, await startHangs({ at: 'body' }));
  halfway.write(get());
  await halfway.waitForBytes('Content-Length: 1000\r\n\r\nx');
  assert.deepEqual([silent.received.length, silent.closed, halfway.closed], [0, false, false]);
});

test('lies-about-length sends too little, too much, or two lengths', async (t) => {
  const short = await connect(t, await startLiesAboutLength({ how: 'short' }));
  short.write(get());
  assert.match((await short.waitForClose()).toString(), /Content-Length: 100\r\n\r\nonly this$/);
  const long = await connect(t, await startLiesAboutLength({ how: 'long' }));
  long.write(get());
  assert.equal((await long.readResponse()).body.toString(), 'ok');
  assert.equal((await long.readResponse()).body.toString(), 'stolen');
  const two = await connect(t, await startLiesAboutLength({ how: 'two_lengths' }));
  two.write(get());
  assert.deepEqual((await two.readResponse()).all('content-length'), ['2', '6']);
});

test('flaps changes its health after every n probes, and by setHealthy', async (t) => {
  const backend = await startFlaps({ every: 2 });
  t.after(() => backend.close());
  const statuses: number[] = [];
  for (let probe = 0; probe < 6; probe += 1) {
    const response = await fetch(`${backend.url}/health`);
    await response.text();
    statuses.push(response.status);
  }
  assert.deepEqual(statuses, [200, 200, 503, 503, 200, 200]);
  backend.setHealthy(true);
  assert.equal((await fetch(`${backend.url}/health`)).status, 200);
  assert.equal(await (await fetch(`${backend.url}/other`)).text(), '1');
  assert.deepEqual([backend.probeCount, backend.requestCount], [7, 1]);
});
