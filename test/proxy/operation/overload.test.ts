import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { startBackend } from '../../support/backend.ts';
import { connectH2, requestH2 } from '../../support/h2-client.ts';
import type { RawClient } from '../../support/raw-http.ts';
import { waitFor } from '../../support/wait.ts';
import { accessLineOf, type ProxyOptions, route, startProxy } from '../support.ts';

const NORMAL_SHED = 2;
const ALL_SHED = 3;
const ANSWERS = 20;

/** A backend that answers `/slow` when the test releases it. */
async function start(t: TestContext, options: Partial<ProxyOptions> = {}) {
  const held: (() => void)[] = [];
  let bodyBytes = 0;
  const backend = await startBackend((request, response) => {
    request.on('data', (piece: Buffer) => {
      bodyBytes += piece.length;
    });
    if (request.url === '/slow') held.push(() => response.end('slow'));
    else response.end('ok');
  });
  t.after(() => backend.close());
  const proxy = await startProxy(t, { backends: [backend], ...options });
  return { proxy, held, bodyBytes: () => bodyBytes };
}

const get = (path: string, more = '') => `GET ${path} HTTP/1.1\r\nHost: a\r\n${more}\r\n`;

async function statusOf(client: RawClient, request: string): Promise<number> {
  client.write(request);
  return (await client.readResponse()).status;
}

test('B12: a softened worker ends keep-alive, and a worker that has recovered does not', async (t) => {
  const { proxy } = await start(t);
  proxy.overload.set('softened', 0);
  const client = await proxy.connect();
  client.write(get('/'));
  const answer = await client.readResponse();
  assert.deepEqual([answer.status, answer.header('connection')], [200, 'close']);
  await client.waitForClose();
  proxy.overload.set('none', 0);
  const next = await proxy.connect();
  next.write(get('/'));
  assert.equal((await next.readResponse()).header('connection'), null);
});

test('B12: a softened worker sends GOAWAY to some connections of HTTP/2 at a time', async (t) => {
  const { proxy } = await start(t, { h2c: true });
  proxy.overload.set('softened', 0);
  const sessions = Array.from({ length: 20 }, () => connectH2(t, proxy.url));
  let goneCount = 0;
  for (const session of sessions) session.on('goaway', () => (goneCount += 1));
  for (const session of sessions) assert.equal((await requestH2(session, { ':path': '/' })).status, 200);
  await waitFor('the GOAWAYs', () => goneCount === 16);
  proxy.overload.set('softened', 0);
  const left = sessions.filter((session) => !session.closed && !session.destroyed);
  for (const session of left) assert.equal((await requestH2(session, { ':path': '/' })).status, 200);
  await waitFor('the others', () => goneCount === 20);
});

test('B12: a shedding worker answers 503 at once, before the body of the request', async (t) => {
  const { proxy, bodyBytes } = await start(t);
  proxy.overload.set('shedding', NORMAL_SHED);
  const client = await proxy.connect();
  client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nabc');
  const answer = await client.readResponse();
  assert.deepEqual(
    [answer.status, answer.header('retry-after'), answer.header('connection')],
    [503, '1', 'close'],
  );
  assert.match(JSON.parse(answer.body.toString()).type, /\/overload$/);
  const line = await accessLineOf(proxy, ({ status }) => status === 503);
  assert.deepEqual([line.reason, line.route, line.backend, line.attempts], ['overload', 'default', null, 0]);
  assert.equal(proxy.metric('sluice_shed_total', 'overload'), 1);
  // The first answer runs code that is not compiled yet, and other tests use the processors.
  for (let i = 1; i < ANSWERS; i++) assert.equal(await statusOf(await proxy.connect(), get('/')), 503);
  const fastMs = Math.min(...proxy.lines.map(({ totalMs }) => totalMs));
  assert.ok(fastMs < 10, `${fastMs} ms`);
  assert.equal(bodyBytes(), 0);
});

test('routes of low priority are refused before normal and critical ones', async (t) => {
  const routes = [
    route('low', { path: '/low' }, { priority: 'low' }),
    route('high', { path: '/high' }, { priority: 'critical' }),
    route('rest'),
  ];
  const { proxy } = await start(t, { routes });
  const statuses = async (pressure: number): Promise<number[]> => {
    proxy.overload.set('shedding', pressure);
    const client = await proxy.connect();
    // In one packet: keep-alive is off.
    client.write(get('/low') + get('/normal') + get('/high'));
    const all: number[] = [];
    while (all.length < 3) all.push((await client.readResponse()).status);
    return all;
  };
  assert.deepEqual(await statuses(0), [200, 200, 200]);
  assert.deepEqual(await statuses(1), [503, 200, 200]);
  assert.deepEqual(await statuses(NORMAL_SHED), [503, 503, 200]);
  assert.deepEqual(await statuses(ALL_SHED), [503, 503, 503]);
});

test('under overload the client with most requests in flight is refused first', async (t) => {
  const { proxy, held } = await start(t, { trustedProxies: ['127.0.0.1'] });
  const by = (client: string) => `X-Forwarded-For: ${client}\r\n`;
  proxy.overload.set('softened', 0);
  const HEAVY = '192.0.2.1';
  for (let i = 0; i < 20; i++) (await proxy.connect()).write(get('/slow', by(HEAVY)));
  await waitFor('the requests in flight', () => held.length === 20);
  // One request in ten is to be refused: every one of the heavy client's that comes when a refusal is due.
  proxy.overload.set('shedding', 1.1);
  const refused = { heavy: 0, light: 0 };
  for (let i = 0; i < 60; i++) {
    const light = await statusOf(await proxy.connect(), get('/', by(`198.51.100.${i}`)));
    if (light === 503) refused.light += 1;
    if (i % 6 === 0 && (await statusOf(await proxy.connect(), get('/', by(HEAVY)))) === 503)
      refused.heavy += 1;
  }
  assert.equal(refused.light, 0);
  assert.ok(refused.heavy >= 6, `${refused.heavy} of 10`);
  for (const release of held) release();
});
