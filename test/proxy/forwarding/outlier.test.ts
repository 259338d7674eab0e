import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startBackend, startRawBackend } from '../../support/backend.ts';
import { waitFor } from '../../support/wait.ts';
import { pool, startProxy, type TestProxy } from '../support.ts';

const OUTLIER = {
  consecutiveErrors: 5,
  baseEjectionMs: 30_000,
  maxEjectionMs: 300_000,
  maxEjectedPercent: 50,
};

async function statuses(proxy: TestProxy, count: number): Promise<number[]> {
  const all: number[] = [];
  for (let i = 0; i < count; i++) all.push((await fetch(proxy.url)).status);
  return all;
}

const countOf = (all: number[], status: number): number => all.filter((each) => each === status).length;

test('B4: a worker stops using a backend at once after five errors in a row, and tells the primary each', async (t) => {
  const good = await startBackend((_, res) => res.end());
  t.after(() => good.close());
  const bad = await startBackend((_, res) => res.writeHead(500).end());
  t.after(() => bad.close());
  const proxy = await startProxy(t, { pools: [pool('app', [good.port, bad.port], { outlier: OUTLIER })] });
  const all = await statuses(proxy, 40);
  assert.equal(countOf(all, 500), 5);
  const backend = `127.0.0.1:${bad.port}`;
  assert.deepEqual(
    proxy.errors,
    [1, 2, 3, 4, 5].map((streak) => ({ pool: 'app', backend, streak, detail: 'status 500' })),
  );
  proxy.plan().learn({ states: [{ pool: 'app', backend, standing: 'up', rampedMs: null }], panics: [] });
  assert.equal(countOf(await statuses(proxy, 12), 500), 5, 'the primary has refused: it is used again');
  await waitFor('the end of the doubt', async () => countOf(await statuses(proxy, 2), 500) > 0);
});

test('B4: a status below 500 ends the row; without `outlier` nothing is counted', async (t) => {
  let served = 0;
  const flaky = await startBackend((_, res) => res.writeHead(++served % 5 === 0 ? 404 : 503).end());
  t.after(() => flaky.close());
  const settings = pool('app', [flaky.port], { outlier: OUTLIER });
  const proxy = await startProxy(t, { pools: [settings] });
  assert.equal(countOf(await statuses(proxy, 20), 503), 16);
  assert.equal(Math.max(...proxy.errors.map(({ streak }) => streak)), 4);
  assert.ok(proxy.errors.length <= 10, 'no more than five a second are told');
  proxy.reload({ pools: [pool('app', [flaky.port])] });
  proxy.errors.length = 0;
  await statuses(proxy, 4);
  assert.deepEqual(proxy.errors, []);
});

test('B4, B10: time-outs, resets and failed connections count; a lost idle connection and a client that leaves do not', async (t) => {
  let requests = 0;
  const resetting = await startRawBackend((socket) => {
    socket.on('data', () => {
      requests += 1;
      // The first request of each connection is answered, the second one is reset.
      if (requests % 2 === 1) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
      else socket.resetAndDestroy();
    });
  });
  t.after(() => resetting.close());
  const outlier = { ...OUTLIER, consecutiveErrors: 1 };
  const proxy = await startProxy(t, { pools: [pool('app', [resetting.port], { outlier })] });
  const posts = [await fetch(proxy.url, { method: 'POST' }), await fetch(proxy.url, { method: 'POST' })];
  assert.deepEqual(
    posts.map(({ status }) => status),
    [200, 502],
  );
  assert.deepEqual(proxy.errors, [], 'the connection was reused');

  const hung = await startBackend(() => undefined);
  t.after(() => hung.close());
  const timeouts = { connectMs: 5_000, responseMs: 200, idleMs: 5_000 };
  const slow = await startProxy(t, { pools: [pool('app', [hung.port], { outlier, timeouts })] });
  const leaving = new AbortController();
  const left = fetch(slow.url, { signal: leaving.signal });
  await waitFor('the request', () => hung.requestCount === 1);
  leaving.abort();
  await assert.rejects(left);
  await waitFor('its end', () => slow.lines.length === 1);
  assert.deepEqual(slow.errors, []);
  assert.equal((await fetch(slow.url)).status, 504);
  assert.equal(slow.errors.length, 1);

  const dead = await startBackend(() => undefined);
  await dead.close();
  const refused = await startProxy(t, { pools: [pool('app', [dead.port], { outlier })] });
  assert.equal((await fetch(refused.url)).status, 502);
  assert.equal(refused.errors.length, 1);
});
