/** Requests beyond what the backends may have at once. */
import assert from 'node:assert/strict';
import type { ServerHttp2Stream } from 'node:http2';
import { type TestContext, test } from 'node:test';
import { answerOk, NGHTTP2_REFUSED_STREAM, startH2Backend } from '../../support/h2-backends.ts';
import type { RawClient } from '../../support/raw-http.ts';
import { limitsSettings, poolSettings, routeSettings } from '../../support/settings.ts';
import { waitFor } from '../../support/wait.ts';
import { ok, startCapturingBackend } from '../capturing-backend.ts';
import { type ProxyOptions, startProxy, type TestProxy } from '../support.ts';

const GET = (path = '/') => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`;

/** A backend that answers when told to, the oldest request first. */
async function startHolding(t: TestContext) {
  const held: { path: string; answer: () => void }[] = [];
  let most = 0;
  const backend = await startCapturingBackend(t, ({ target }, socket) => {
    held.push({ path: target, answer: () => socket.write(ok(target)) });
    most = Math.max(most, held.length);
    return null;
  });
  const answer = () => held.shift()?.answer();
  return { backend, port: backend.port, held, answer, most: () => most };
}

function limited(max: number, more: Partial<ReturnType<typeof limitsSettings>> = {}) {
  return { limits: limitsSettings({ maxConcurrentPerBackend: max, ...more }) };
}

/** Sends requests, each on a connection of its own, one after the other. @returns their statuses, later */
async function ask(proxy: TestProxy, paths: string[]) {
  const clients: RawClient[] = [];
  for (const path of paths) {
    const client = await proxy.connect();
    client.write(GET(path));
    clients.push(client);
    await arrived(proxy);
  }
  return { clients, answers: () => Promise.all(clients.map((client) => client.readResponse())) };
}

/** Waits until the proxy has read what was sent before. */
async function arrived(proxy: TestProxy): Promise<void> {
  const client = await proxy.connect();
  client.write('BAD\r\n\r\n');
  await client.readResponse();
}

const served = (proxy: TestProxy) => proxy.lines.filter(({ method }) => method === 'GET');

test('B11: requests beyond the limit of every backend wait, and go in order of arrival', async (t) => {
  const holding = await startHolding(t);
  const proxy = await startProxy(t, { backends: [holding], app: limited(2) });
  const { answers } = await ask(proxy, ['/1', '/2', '/3', '/4']);
  assert.deepEqual(
    holding.held.map(({ path }) => path),
    ['/1', '/2'],
  );
  for (const expected of ['/3', '/4']) {
    holding.answer();
    await waitFor(`${expected} to be sent`, () => holding.held.at(-1)?.path === expected);
  }
  holding.answer();
  holding.answer();
  assert.deepEqual(new Set((await answers()).map(({ status }) => status)), new Set([200]));
  assert.equal(holding.most(), 2);
  await waitFor('the lines', () => served(proxy).length === 4);
  for (const { path, queueMs } of served(proxy))
    assert.equal((queueMs ?? 0) > 0, path === '/3' || path === '/4', `${path}: ${queueMs}`);
});

test('B11: a full queue is 503 at once, and a wait ends after queueTimeout; both are counted, with Retry-After', async (t) => {
  const holding = await startHolding(t);
  const app = limited(1, { queue: 1, queueTimeoutMs: 100 });
  const proxy = await startProxy(t, { backends: [holding], app });
  const { clients } = await ask(proxy, ['/held']);
  const [late, refused] = [await proxy.connect(), await proxy.connect()];
  late.write(GET('/late'));
  await arrived(proxy);
  refused.write(GET('/refused'));
  for (const client of [refused, late]) {
    const answer = await client.readResponse();
    assert.deepEqual([answer.status, answer.header('retry-after')], [503, '1']);
    assert.match(JSON.parse(answer.body.toString()).type, /\/queue_full$/);
  }
  assert.equal(proxy.metric('sluice_shed_total', 'queue'), 2);
  assert.equal(proxy.metric('sluice_queue_refusals_total', 'app'), 2);
  const [first, second] = served(proxy);
  assert.deepEqual([first?.path, first?.attempts, first?.queueMs], ['/refused', 0, 0]);
  assert.deepEqual([second?.path, second?.reason, second?.backend], ['/late', 'queue_full', null]);
  assert.ok((second?.queueMs ?? 0) >= 99, `${second?.queueMs} ms`);
  holding.answer();
  assert.equal((await clients[0]?.readResponse())?.status, 200);
});

test('B11: a client that leaves the queue gives its place to the next one, and nothing is sent for it', async (t) => {
  const holding = await startHolding(t);
  const app = limited(1, { queue: 1, queueTimeoutMs: 10_000 });
  const proxy = await startProxy(t, { backends: [holding], app });
  const { clients } = await ask(proxy, ['/1', '/gone']);
  clients[1]?.close();
  await waitFor('the client to be gone', () => served(proxy).length === 1);
  assert.equal(served(proxy)[0]?.status, 499);
  const { clients: later } = await ask(proxy, ['/2']);
  holding.answer();
  await waitFor('the next request', () => holding.held.length === 1);
  holding.answer();
  assert.equal((await later[0]?.readResponse())?.status, 200);
  assert.deepEqual(
    holding.backend.requests.map(({ target }) => target),
    ['/1', '/2'],
  );
});

test('B11: a reload loses nobody who waits, and a higher limit or a backend that comes up lets them go', async (t) => {
  const holding = await startHolding(t);
  const other = await startHolding(t);
  const options = (max: number): ProxyOptions => ({
    backends: [holding, other],
    app: limited(max, { queueTimeoutMs: 10_000 }),
  });
  const proxy = await startProxy(t, options(1));
  proxy.backend(`127.0.0.1:${other.port}`).standing = 'out';
  const { answers } = await ask(proxy, ['/1', '/2', '/3', '/4']);
  assert.deepEqual([holding.held.length, other.held.length], [1, 0]);
  proxy.backend(`127.0.0.1:${other.port}`).standing = 'up';
  await waitFor('the other backend', () => other.held.length === 1);
  proxy.reload(options(1));
  await arrived(proxy);
  assert.deepEqual([holding.held.length, other.held.length], [1, 1]);
  proxy.reload(options(2));
  await waitFor('all requests', () => holding.held.length + other.held.length === 4);
  for (const each of [holding, holding, other, other]) each.answer();
  assert.deepEqual(new Set((await answers()).map(({ status }) => status)), new Set([200]));
});

test('B11: a full backend is no reason for a backup, and an open tunnel does not count', async (t) => {
  const backend = await startCapturingBackend(t, ({ header }) =>
    header('upgrade') === null ? null : 'HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n',
  );
  const backup = await startCapturingBackend(t);
  const [one, two] = [backend, backup].map(({ port }, i) => ({
    id: String(i),
    host: '127.0.0.1',
    port,
    tls: false,
    weight: 1,
    backup: i === 1,
  }));
  assert.ok(one !== undefined && two !== undefined);
  const app = poolSettings({ backends: [one, two], ...limited(1, { queueTimeoutMs: 100 }) });
  const routes = [routeSettings('default', {}, { upgrade: ['foo'] })];
  const proxy = await startProxy(t, { pools: [app], routes });
  const tunnel = await proxy.connect();
  tunnel.write(GET().replace('\r\n\r\n', '\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n'));
  await waitFor('the tunnel', () => proxy.handler.tunnels.openCount === 1);
  await ask(proxy, ['/']);
  await waitFor('the request', () => backend.requests.length === 2);
  const full = await proxy.connect();
  full.write(GET());
  assert.equal((await full.readResponse()).status, 503);
  assert.equal(backup.requests.length, 0);
  assert.equal(proxy.backend('0').inFlight, 2);
});

test('B11: a retry waits for room at another backend, too', async (t) => {
  const dying = await startCapturingBackend(t, () => null);
  const holding = await startHolding(t);
  const proxy = await startProxy(t, { backends: [dying, holding], app: limited(1) });
  const { answers } = await ask(proxy, ['/1', '/2']);
  await waitFor('both', () => dying.requests.length === 1 && holding.held.length === 1);
  dying.sockets[0]?.resetAndDestroy();
  await waitFor('the reset', () => proxy.metric('sluice_upstream_requests_total', '000') === 1);
  assert.equal(dying.requests.length, 1);
  holding.answer();
  await waitFor('the retry', () => holding.held.length === 1);
  holding.answer();
  assert.deepEqual(
    (await answers()).map(({ status }) => status),
    [200, 200],
  );
});

/** A pool of one backend with HTTP/2, which answers or refuses when told to. */
async function startH2(t: TestContext, max: number) {
  const held: ServerHttp2Stream[] = [];
  const backend = await startH2Backend(t, (stream) => held.push(stream));
  const backends = [{ id: 'a', host: '127.0.0.1', port: backend.port, tls: false, weight: 1, backup: false }];
  const app = poolSettings({ backends, protocol: 'h2', ...limited(max) });
  return { held, proxy: await startProxy(t, { pools: [app] }) };
}

test('B11: the limit holds towards backends with HTTP/2', async (t) => {
  const { held, proxy } = await startH2(t, 2);
  const { answers } = await ask(proxy, ['/1', '/2', '/3']);
  await waitFor('two requests', () => held.length === 2);
  await arrived(proxy);
  assert.equal(held.length, 2);
  for (let left = 3; left > 0; left--) {
    await waitFor('a request', () => held.length > 0);
    answerOk(held.shift() ?? assert.fail());
  }
  assert.deepEqual(new Set((await answers()).map(({ status }) => status)), new Set([200]));
});

test('B11: a request that its backend gives back waits for room at it where another one has its place now', async (t) => {
  const { held, proxy } = await startH2(t, 1);
  const { answers } = await ask(proxy, ['/1', '/2']);
  await waitFor('the first request', () => held.length === 1);
  held.shift()?.close(NGHTTP2_REFUSED_STREAM);
  await waitFor('the second one in its place', () => held.length > 0);
  await arrived(proxy);
  assert.equal(proxy.backend('a').busy, 1);
  answerOk(held.shift() ?? assert.fail());
  await waitFor('the first one again', () => held.length === 1);
  answerOk(held.shift() ?? assert.fail());
  assert.deepEqual(
    (await answers()).map(({ status }) => status),
    [200, 200],
  );
  await waitFor('the lines', () => served(proxy).length === 2);
  assert.deepEqual(
    served(proxy).map(({ path, attempts }) => [path, attempts]),
    [
      ['/2', 1],
      ['/1', 2],
    ],
  );
  assert.equal(proxy.backend('a').busy, 0);
});
