/** What is sent again, where, and how often. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import type { RetrySettings } from '../../../src/contract/pool-settings.ts';
import { connectH2 } from '../../support/h2-client.ts';
import { retrySettings } from '../../support/settings.ts';
import { waitFor } from '../../support/wait.ts';
import { type CapturingBackend, ok, startCapturingBackend } from '../capturing-backend.ts';
import { accessLineOf, startProxy } from '../support.ts';

const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';
const SOFT_503 = 'HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n';

async function startPool(
  t: TestContext,
  backends: CapturingBackend[],
  retry: Partial<RetrySettings> = {},
  responseMs = 10_000,
) {
  const app = { retry: retrySettings(retry) };
  const proxy = await startProxy(t, { backends, app, poolTimeouts: { responseMs } });
  return { proxy, client: await proxy.connect() };
}

/** A backend that does this to every request. */
function failing(t: TestContext, way: 'reset' | 'silent' | string): Promise<CapturingBackend> {
  return startCapturingBackend(t, (_request, socket) => {
    if (way === 'reset') socket.resetAndDestroy();
    return way === 'reset' || way === 'silent' ? null : way;
  });
}

test('B8: a reset, a silent backend and a status of onStatus are each retried once, on the other backend', async (t) => {
  for (const [way, reason] of [
    ['reset', 'reset'],
    ['silent', 'timeout'],
    [`${SOFT_503}\r\nbusy`, 'status'],
    [`${SOFT_503}\r\n`, 'status'],
  ] as const) {
    const bad = await failing(t, way);
    const good = await startCapturingBackend(t);
    const { proxy, client } = await startPool(t, [bad, good], { onStatus: [503], perTryMs: 60 });
    for (let i = 0; i < 2; i++) {
      client.write(GET);
      assert.equal((await client.readResponse()).status, 200, `${way} ${i}`);
    }
    assert.equal(bad.requests.length, 1);
    assert.equal(proxy.metric('sluice_retries_total', 'app', reason), 1);
    assert.deepEqual(proxy.lines.map(({ attempts, backend }) => [attempts, backend]).sort(), [
      [1, `127.0.0.1:${good.port}`],
      [2, `127.0.0.1:${good.port}`],
    ]);
  }
});

test('B8: the failure is the answer after `attempts` further tries, each at another backend while there is one', async (t) => {
  for (const [way, status] of [
    ['reset', 502],
    ['silent', 504],
    [`${SOFT_503}\r\nbusy`, 503],
  ] as const) {
    const backends = [await failing(t, way), await failing(t, way), await failing(t, way)];
    const { proxy, client } = await startPool(t, backends, { attempts: 3, onStatus: [503], perTryMs: 40 });
    client.write(GET);
    const answer = await client.readResponse();
    assert.equal(answer.status, status);
    if (status === 503) assert.equal(answer.body.toString(), 'busy', "the backend's own answer passes");
    assert.deepEqual(backends.map(({ requests }) => requests.length).sort(), [1, 1, 2]);
    assert.equal(proxy.lines[0]?.attempts, 4);
  }
});

test('B8: a POST whose bytes were sent is repeated only by choice', async (t) => {
  for (const [nonIdempotent, status] of [
    [false, 502],
    [true, 200],
  ] as const) {
    const bad = await failing(t, 'reset');
    const good = await startCapturingBackend(t);
    const { client } = await startPool(t, [bad, good], { nonIdempotent });
    client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc');
    assert.equal((await client.readResponse()).status, status);
    assert.deepEqual(
      good.requests.map(({ body }) => body),
      nonIdempotent ? ['abc'] : [],
    );
  }
});

test('Retry-After of up to a second is waited for, a longer one passes on with its answer', async (t) => {
  let after = '1';
  const backend = await startCapturingBackend(t, ({ target }) =>
    target === '/well' || backend.requests.length % 2 === 0
      ? ok('ok')
      : `${SOFT_503}Retry-After: ${after}\r\n\r\nbusy`,
  );
  const { proxy, client } = await startPool(t, [backend], { onStatus: [503] });
  client.write(GET);
  assert.equal((await client.readResponse()).status, 200);
  assert.ok((proxy.lines[0]?.totalMs ?? 0) >= 990, `${proxy.lines[0]?.totalMs} ms`);
  after = '2';
  client.write(GET);
  const answer = await client.readResponse();
  assert.deepEqual([answer.status, answer.header('retry-after')], [503, '2']);
});

test('no request takes longer than timeouts.response, with all its attempts', async (t) => {
  const backends = [await failing(t, 'silent'), await failing(t, 'silent'), await failing(t, 'silent')];
  const { proxy, client } = await startPool(t, backends, { attempts: 9, perTryMs: 100 }, 250);
  client.write(GET);
  assert.equal((await client.readResponse()).status, 504);
  const { totalMs = 0, attempts = 0, reason = '' } = proxy.lines[0] ?? {};
  assert.ok(totalMs >= 250 && totalMs < 1_000, `${totalMs} ms`);
  assert.ok(attempts >= 2 && attempts <= 4, `${attempts} attempts`);
  assert.equal(reason, 'upstream_timeout');
});

test('B14: an upload that went to a second backend may last longer than timeouts.response', async (t) => {
  const dead = await startCapturingBackend(t);
  await dead.close();
  const good = await startCapturingBackend(t);
  const { proxy, client } = await startPool(t, [dead, good], {}, 150);
  client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n');
  const sinceMs = performance.now();
  for (const piece of ['abc', 'def', 'ghi']) {
    const pieceMs = performance.now();
    client.write(piece);
    await waitFor('a pause', () => performance.now() > pieceMs + 100);
  }
  assert.equal((await client.readResponse()).status, 200);
  assert.ok(performance.now() - sinceMs > 150);
  assert.equal(proxy.lines[0]?.attempts, 2);
});

test('a failure that is the answer may leave slowly, past timeouts.response', async (t) => {
  const dead = await Promise.all([1, 2].map(() => startCapturingBackend(t)));
  await Promise.all(dead.map((each) => each.close()));
  const poolTimeouts = { responseMs: 100 };
  const proxy = await startProxy(t, { backends: dead, h2c: true, poolTimeouts });
  const session = connectH2(t, proxy.url, { settings: { initialWindowSize: 0 } });
  const stream = session.request({ ':path': '/', ':authority': 'a' });
  const [headers] = await once(stream, 'response');
  assert.equal(headers[':status'], 502);
  const sinceMs = performance.now();
  await waitFor('the time to pass', () => performance.now() > sinceMs + 300);
  session.settings({ initialWindowSize: 65_535 });
  assert.match(await text(stream), /connect_failed/);
  assert.equal((await accessLineOf(proxy, () => true)).status, 502);
});

test('B28: a client that leaves between two attempts gets no further one', async (t) => {
  const backend = await failing(t, `${SOFT_503}Retry-After: 1\r\n\r\nbusy`);
  const { proxy, client } = await startPool(t, [backend], { onStatus: [503] });
  client.write(GET);
  await waitFor('the attempt to fail', () => proxy.metric('sluice_upstream_requests_total', '503') === 1);
  client.close();
  await waitFor('the end', () => proxy.lines.length === 1);
  assert.deepEqual([proxy.lines[0]?.status, proxy.lines[0]?.attempts], [499, 1]);
  assert.equal(proxy.metric('sluice_retries_total', 'app'), 0);
});

test('an answer that follows an interim one, and an upgrade that was sent, are not retried', async (t) => {
  const early = 'HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n';
  const bad = await failing(t, `${early}${SOFT_503}\r\nbusy`);
  const { client } = await startPool(t, [bad, bad], { onStatus: [503] });
  client.write(GET);
  assert.equal((await client.readResponse()).status, 503);
  const upgrade = 'Connection: Upgrade\r\nUpgrade: websocket\r\n';
  const key = 'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n';
  client.write(GET.replace('\r\n\r\n', `\r\n${upgrade}${key}\r\n`));
  assert.equal((await client.readResponse()).status, 503);
  assert.equal(bad.requests.length, 2);
});

test('all reasons of retries are counted from 0 on', async (t) => {
  const { proxy } = await startPool(t, [await startCapturingBackend(t)]);
  for (const reason of ['connect', 'reused_socket', 'status', 'timeout', 'reset'])
    assert.equal(proxy.metric('sluice_retries_total', 'app', reason), 0);
});
