import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Panic, Standing } from '../../../src/contract/health.ts';
import { type HttpTestBackend, startBackend } from '../../support/backend.ts';
import { waitFor } from '../../support/wait.ts';
import { pool, startProxy, type TestProxy } from '../support.ts';

function learn(proxy: TestProxy, panic: Panic, standings: Record<number, Standing>): void {
  const states = Object.entries(standings).map(([port, standing]) => ({
    pool: 'app',
    backend: `127.0.0.1:${port}`,
    standing,
    rampedMs: null,
  }));
  proxy.plan().learn({ states, panics: [{ pool: 'app', panic }] });
}

async function statusOf(proxy: TestProxy, method = 'GET'): Promise<number> {
  return (await fetch(proxy.url, { method })).status;
}

function counts(backends: HttpTestBackend[]): number[] {
  return backends.map(({ requestCount }) => requestCount);
}

test('B5: in a panic all backends are used, those that are down after one request that succeeds; drained ones are not', async (t) => {
  const backends = await Promise.all(Array.from({ length: 4 }, () => startBackend((_, res) => res.end())));
  for (const backend of backends) t.after(() => backend.close());
  const [a, b, c, drained] = backends.map(({ port }) => port) as [number, number, number, number];
  const proxy = await startProxy(t, { pools: [pool('app', [a, b, c, drained])] });
  learn(proxy, 'no', { [b]: 'out', [c]: 'out', [drained]: 'off' });
  for (let i = 0; i < 6; i++) assert.equal(await statusOf(proxy), 200);
  assert.deepEqual(counts(backends), [6, 0, 0, 0]);
  learn(proxy, 'shared', {});
  for (let i = 0; i < 30; i++) assert.equal(await statusOf(proxy), 200);
  assert.deepEqual(counts(backends), [16, 10, 10, 0]);
  learn(proxy, 'no', {});
  for (let i = 0; i < 6; i++) assert.equal(await statusOf(proxy), 200);
  assert.deepEqual(counts(backends), [22, 10, 10, 0]);
});

test('B5: in a panic a backend that fails gets one request a second, and its part once one succeeds', async (t) => {
  let isBroken = true;
  const good = await startBackend((_, res) => res.end());
  t.after(() => good.close());
  const bad = await startBackend((_, res) => res.writeHead(isBroken ? 500 : 200).end());
  t.after(() => bad.close());
  const proxy = await startProxy(t, { pools: [pool('app', [good.port, bad.port])] });
  learn(proxy, 'shared', { [bad.port]: 'out' });
  const startMs = performance.now();
  let failed = 0;
  for (let i = 0; i < 100; i++) if ((await statusOf(proxy)) === 500) failed++;
  const seconds = (performance.now() - startMs) / 1000;
  assert.ok(failed >= 1 && failed <= 1 + Math.ceil(seconds), `${failed} of 100 in ${seconds} s`);
  isBroken = false;
  const before = bad.requestCount;
  await waitFor('it to get its part', async () => {
    await statusOf(proxy);
    return bad.requestCount > before + 5;
  });
});

test('B5: in a panic a backend that hangs holds one request of a worker, and the others are answered', async (t) => {
  const good = await startBackend((_, res) => res.end());
  t.after(() => good.close());
  const hung = await startBackend(() => undefined);
  t.after(() => hung.close());
  const proxy = await startProxy(t, { pools: [pool('app', [hung.port, good.port])] });
  learn(proxy, 'shared', { [hung.port]: 'out' });
  const leaving = new AbortController();
  const first = fetch(proxy.url, { signal: leaving.signal });
  await waitFor('the trial', () => hung.requestCount === 1);
  for (let i = 0; i < 10; i++) assert.equal(await statusOf(proxy), 200);
  assert.equal(hung.requestCount, 1);
  leaving.abort();
  await assert.rejects(first);
  await waitFor('the exchange to end', () => proxy.backend(`127.0.0.1:${hung.port}`).inFlight === 0);
  assert.equal(
    proxy.backend(`127.0.0.1:${hung.port}`).trial,
    'free',
    'a client that leaves says nothing of it',
  );
});

test('with no healthy backend those that are down are tried, each of them; behind a backup they come last', async (t) => {
  const good = await startBackend((_, res) => res.end());
  t.after(() => good.close());
  const dead = await Promise.all(Array.from({ length: 2 }, () => startBackend((_, res) => res.end())));
  for (const each of dead) await each.close();
  const [x, y] = dead.map(({ port }) => port) as [number, number];
  const settings = pool('app', [x, y, good.port]);
  const proxy = await startProxy(t, { pools: [settings] });
  learn(proxy, 'shared', { [x]: 'out', [y]: 'out', [good.port]: 'out' });
  for (let i = 0; i < 10; i++)
    assert.equal(await statusOf(proxy, 'POST'), 200, 'nothing was sent to the others');
  settings.backends[2]!.backup = true;
  proxy.reload({ pools: [settings] });
  learn(proxy, 'last', { [x]: 'out', [y]: 'out', [good.port]: 'up' });
  const before = proxy.failures.length;
  for (let i = 0; i < 10; i++) assert.equal(await statusOf(proxy), 200);
  assert.equal(proxy.failures.length, before, 'only the backup is used');
});

test('while no backend is up, one that cannot be connected is tried, and the answer is 503 with Retry-After', async (t) => {
  const dead = await startBackend((_, res) => res.end());
  await dead.close();
  const proxy = await startProxy(t, { pools: [pool('app', [dead.port])] });
  assert.equal(await statusOf(proxy), 502, 'it counts as up');
  learn(proxy, 'shared', { [dead.port]: 'out' });
  const answer = await fetch(proxy.url);
  assert.equal(answer.status, 503);
  assert.match(answer.headers.get('retry-after') ?? '', /^[1-9]\d*$/);
  await waitFor('the access lines', () => proxy.lines.length === 2);
  const { reason, attempts } = proxy.lines[1]!;
  assert.deepEqual([reason, attempts], ['no_backend', 1]);
});
