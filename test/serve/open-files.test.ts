import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { ask, askJson, poolOf, QUICK_CHECK, startNamed, workersOf } from '../cluster/support.ts';
import { connectRaw, type RawClient } from '../support/raw-http.ts';
import { startSluice } from '../support/sluice.ts';
import { waitFor } from '../support/wait.ts';

/** Enough for a worker and its clients, but not for a backend connection for each client. */
const OPEN_FILES = 150;
const CLIENTS = OPEN_FILES / 2;
/** So many clients fit with a connection to a backend each, but not with two. */
const MANY = 45;

test('a worker without free file descriptors answers that it is overloaded, and does not blame the backend', async (t) => {
  const backend = await startNamed('a');
  t.after(() => backend.close());
  // Probes are too rare to matter, so only requests affect the backend's health.
  const healthCheck = { ...QUICK_CHECK, interval: '1h', timeout: '10s', fall: 1 };
  const sluice = await startSluice({
    config: { pools: poolOf([backend], { healthCheck }) },
    openFiles: OPEN_FILES,
  });
  t.after(() => sluice.stop());
  const [before] = await workersOf(sluice.adminUrl);
  const clients: RawClient[] = [];
  t.after(() => {
    for (const client of clients) client.close();
  });
  for (let i = 0; i < CLIENTS; i++) clients.push(await connectRaw(sluice.proxyUrl));
  // Idle ones need one descriptor each. While they may ask for something in a moment, they are not all accepted.
  const connectionsOf = async () => (await workersOf(sluice.adminUrl))[0]?.connections;
  await waitFor('all clients to be accepted', async () => (await connectionsOf()) === CLIENTS);
  for (const client of clients) client.write('GET /slow?ms=60000 HTTP/1.1\r\nHost: a\r\n\r\n');
  const refusedOf = () => clients.filter(({ received }) => received.length > 0);
  await waitFor('a request that finds no descriptor', () => refusedOf().length > 0);
  const answer = await (refusedOf()[0] ?? assert.fail()).readResponse();
  assert.equal(answer.status, 503);
  assert.equal(answer.header('retry-after'), '1');
  assert.match(JSON.parse(answer.body.toString()).type, /\/overload$/);
  await waitFor('its access line', () => sluice.jsonLines(({ reason }) => reason === 'overload').length > 0);
  // What the worker tells of itself needs descriptors, too.
  const inFlightOf = async () => (await workersOf(sluice.adminUrl))[0]?.inFlight ?? 0;
  await waitFor('a report without free descriptors', async () => (await inFlightOf()) > CLIENTS / 2);
  assert.deepEqual(
    (await workersOf(sluice.adminUrl)).map(({ pid }) => pid),
    [before?.pid],
  );
  // A failure would have been reported to the primary before this line.
  const { text } = await ask(`${sluice.adminUrl}/api/v1/pools`);
  const [{ backends } = assert.fail()] = JSON.parse(text).items;
  assert.equal(backends[0].state, 'up');
  assert.equal(backends[0].consecutiveFailures, 0);
  for (const client of clients) client.close();
  await waitFor('the next request to be served', async () => (await ask(sluice.proxyUrl)).text === 'a');
});

test('B20: with more clients at once than descriptors, those that wait to be accepted are served in their turn', async (t) => {
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const sluice = await startSluice({
    config: { workers: 1, pools: poolOf([backend]) },
    openFiles: OPEN_FILES,
  });
  t.after(() => sluice.stop());
  for (let round = 0; round < 3; round++) {
    const asked = Array.from({ length: 2 * OPEN_FILES }, () => ask(sluice.proxyUrl));
    const answers = (await Promise.allSettled(asked)).map((each) =>
      each.status === 'fulfilled' ? each.value.text : String(each.reason),
    );
    const failed = answers.filter((answer) => answer !== 'a');
    assert.deepEqual(failed, []);
  }
  assert.ok(sluice.jsonLines(({ msg }) => String(msg).startsWith('descriptors run out')).length > 0);
  // Nothing but the listener is there of what was accepted in between: a worker that stops listening refuses.
  await sluice.stop();
  await assert.rejects(ask(sluice.proxyUrl));
});

test('parked connections to one backend make room for those to another', async (t) => {
  const [a, b] = await Promise.all(['a', 'b'].map((name) => startNamed(name)));
  t.after(() => Promise.all([a?.close(), b?.close()]));
  const pools = { app: { backends: [{ url: a?.url }] }, other: { backends: [{ url: b?.url }] } };
  const routes = [
    { name: 'other', match: { host: 'other.test' }, pool: 'other' },
    { name: 'app', pool: 'app' },
  ];
  const sluice = await startSluice({ config: { workers: 1, pools, routes }, openFiles: OPEN_FILES });
  t.after(() => sluice.stop());
  for (const [host, text] of [
    ['app.test', 'a'],
    ['other.test', 'b'],
    ['app.test', 'a'],
  ]) {
    const headers = { host: host ?? '' };
    const asked = Array.from({ length: MANY }, () => ask(`${sluice.proxyUrl}/slow?ms=500`, { headers }));
    assert.deepEqual(new Set((await Promise.all(asked)).map((answer) => answer.text)), new Set([text]));
  }
});

test('more checked backends than open files: each is probed in its turn, and none is down', async (t) => {
  const server = createServer((_request, response) => response.end()).listen(0, '0.0.0.0');
  t.after(() => server.close());
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const addresses = Array.from(
    { length: 2 * OPEN_FILES },
    (_, i) => `127.1.${i >> 7}.${(i & 127) + 1}:${port}`,
  );
  const backends = addresses.map((address) => ({ url: `http://${address}` }));
  const healthCheck = { path: '/', interval: '60s', timeout: '10s', rise: 1, fall: 1 };
  const config = { workers: 1, pools: { app: { backends, healthCheck } } };
  const sluice = await startSluice({ config, openFiles: OPEN_FILES });
  t.after(() => sluice.stop());
  const everyProbe = async () => {
    const { body } = await askJson(`${sluice.adminUrl}/api/v1/pools`);
    const [pool] = body.items as { backends: { state: string }[] }[];
    const states = pool?.backends.map(({ state }) => state) ?? [];
    assert.ok(!states.includes('down'), 'a backend that answers is down');
    return states.length === backends.length && states.every((state) => state === 'up');
  };
  await waitFor('a passed probe of each backend', everyProbe, { timeoutMs: 60_000 });
});
