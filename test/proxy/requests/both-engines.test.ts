/** Behaviour in which the two engines could differ although the tests of each pass. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ok, startCapturingBackend } from '../capturing-backend.ts';
import { policy, route, startProxy } from '../support.ts';

const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';
/** node checks the deadlines of heads once a second. */
const CHECK_MS = 1_000;

test('after the rest of a discarded body the connection has the idle timeout again', async (t) => {
  const backend = await startCapturingBackend(t, () => ok('x'));
  const headersMs = 300;
  const limit = policy('one', 1, 0.001);
  const proxy = await startProxy(t, {
    backends: [backend],
    timeouts: { headersMs },
    policies: [limit],
    routes: [
      route('free', { path: '/free' }),
      route('limited', {}, { rateLimit: { policies: ['one'], cost: 1 } }),
    ],
  });
  const client = await proxy.connect();
  client.write(GET);
  await client.readResponse();
  client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n');
  const refused = await client.readResponse();
  assert.deepEqual([refused.status, refused.header('connection')], [429, null]);
  client.write('abc');
  // When this later head has timed out, the deadline of the first client's body has passed too.
  const late = await proxy.connect();
  late.write('GET / HTTP/1.1\r\nHo');
  assert.equal((await late.readResponse({ timeoutMs: headersMs + 3 * CHECK_MS })).status, 408);
  client.write('GET /free HTTP/1.1\r\nHost: a\r\n\r\n');
  assert.equal((await client.readResponse()).status, 200);
});

test('a head of exactly the allowed size is served', async (t) => {
  const backend = await startCapturingBackend(t, () => ok('x'));
  const limits = { targetBytes: 2_048, headerBytes: 2_048 };
  const proxy = await startProxy(t, { backends: [backend], limits });
  const client = await proxy.connect();
  const fields = 'Host: a\r\nX-Filler: ';
  const target = `/${'t'.repeat(limits.targetBytes - 1)}`;
  const filler = 'f'.repeat(limits.headerBytes - fields.length - 2);
  client.write(`GET ${target} HTTP/1.1\r\n${fields}${filler}\r\n\r\n`);
  assert.equal((await client.readResponse()).status, 200);
});

test('connections opened after a reload have its headers timeout', async (t) => {
  const backend = await startCapturingBackend(t, () => ok('x'));
  const proxy = await startProxy(t, { backends: [backend] });
  proxy.reload({ backends: [backend], timeouts: { headersMs: 200 } });
  const client = await proxy.connect();
  client.write('GET / HTTP/1.1\r\nHo');
  assert.equal((await client.readResponse({ timeoutMs: 200 + 3 * CHECK_MS })).status, 408);
});

test('a client that pipelines while its first request waits for an answer is no longer read', async (t) => {
  const backend = await startCapturingBackend(t, () => null);
  const proxy = await startProxy(t, { backends: [backend] });
  const client = await proxy.connect();
  await client.writeUntilStuck(Buffer.from(GET.repeat(500)));
});
