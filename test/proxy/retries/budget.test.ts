/** How many retries are in flight at once. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RetryBudget } from '../../../src/proxy/retry-budget.ts';
import { shareOf } from '../../../src/proxy/share.ts';
import { retrySettings } from '../../support/settings.ts';
import { waitFor } from '../../support/wait.ts';
import { ok, startCapturingBackend } from '../capturing-backend.ts';
import { startProxy } from '../support.ts';

const GET = (path: string) => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`;

test('a number per machine is shared by its workers without a rest, at least one each', () => {
  for (const [perMachine, workerCount, expected] of [
    [3, 2, [1, 2]],
    [1024, 3, [341, 341, 342]],
    [1, 2, [1, 1]],
  ] as const)
    assert.deepEqual(
      expected.map((_, workerIndex) => shareOf(perMachine, { workerIndex, workerCount })),
      expected,
    );
});

test('B9: permits are free up to the share of minConcurrent, or of the active requests', () => {
  const budget = new RetryBudget();
  budget.configure(retrySettings(), { workerIndex: 0, workerCount: 1 });
  const taken = () => {
    let count = 0;
    while (budget.take()) count++;
    return count;
  };
  assert.equal(taken(), 3);
  budget.active = 19;
  assert.equal(taken(), 0);
  budget.active = 50;
  assert.equal(taken(), 7);
  const granted: number[] = [];
  const waiters = [1, 2, 3].map((number) => ({ onPermit: () => granted.push(number) }));
  for (const waiter of waiters) assert.equal(budget.wait(waiter), true);
  budget.leave(waiters[1] as (typeof waiters)[0]);
  budget.give();
  assert.deepEqual(granted, [1]);
  assert.equal(budget.take(), false, 'others wait');
  budget.give();
  assert.deepEqual(granted, [1, 3]);
});

test('B9: with every backend failing, at most 3 or 20 % of the requests are retries, and a retry waits 250 ms at most for its turn', async (t) => {
  const open: { reset: () => void; path: string }[] = [];
  const seen = new Map<string, number>();
  let retries = 0;
  let mostRetries = 0;
  const backend = await startCapturingBackend(t, ({ target }, socket) => {
    const attempt = (seen.get(target) ?? 0) + 1;
    seen.set(target, attempt);
    if (attempt === 1) open.push({ reset: () => socket.resetAndDestroy(), path: target });
    else {
      mostRetries = Math.max(mostRetries, ++retries);
      setTimeout(() => {
        retries--;
        socket.resetAndDestroy();
      }, 100);
    }
    return null;
  });
  const proxy = await startProxy(t, { backends: [backend, { port: backend.port, id: 'other' }] });
  const clients = await Promise.all(Array.from({ length: 40 }, () => proxy.connect()));
  for (const [i, client] of clients.entries()) client.write(GET(`/${i}`));
  await waitFor('all requests', () => open.length === 40);
  for (const { reset } of open) reset();
  const statuses = await Promise.all(clients.map(async (client) => (await client.readResponse()).status));
  assert.deepEqual(new Set(statuses), new Set([502]));
  assert.ok(mostRetries <= 8 && mostRetries >= 3, `${mostRetries} retries at once`);
  const retried = proxy.metric('sluice_retries_total', 'reset');
  assert.ok(retried >= 8 && retried < 40, `${retried} retried`);
  const slowest = Math.max(...proxy.lines.map(({ totalMs }) => totalMs));
  assert.ok(slowest < 3_000, `${slowest} ms`);
});

test('B9: an answer with a status that is retried waits for its turn, and passes on if that does not come', async (t) => {
  const seen = new Map<string, number>();
  let isBetter = true;
  const backend = await startCapturingBackend(t, ({ target }, socket) => {
    const attempt = (seen.get(target) ?? 0) + 1;
    seen.set(target, attempt);
    if (attempt === 1) return 'HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy';
    if (isBetter) setTimeout(() => socket.write(ok('well')), 10);
    return null;
  });
  const retry = retrySettings({ onStatus: [503], budgetPercent: 0, minConcurrent: 1 });
  const proxy = await startProxy(t, {
    backends: [backend],
    app: { retry },
    poolTimeouts: { responseMs: 900 },
  });
  // One retry after the other, all of them within the 250 ms that a retry waits.
  const clients = await Promise.all(Array.from({ length: 4 }, () => proxy.connect()));
  const ask = async (prefix: string) => {
    for (const [i, client] of clients.entries()) client.write(GET(`${prefix}${i}`));
    return Promise.all(clients.map(async (client) => (await client.readResponse()).body.toString()));
  };
  assert.deepEqual(new Set(await ask('/one/')), new Set(['well']));
  isBetter = false;
  const answers = await ask('/two/');
  assert.equal(answers.filter((body) => body === 'busy').length, 3);
  assert.equal(proxy.lines.filter(({ status, attempts }) => status === 503 && attempts === 1).length, 3);
  assert.equal(proxy.metric('sluice_retries_total', 'status'), 5);
});

test('B9: a retry that finds a backend dead keeps its permit for the next one', async (t) => {
  const dead = await startCapturingBackend(t);
  await dead.close();
  const firsts: (() => void)[] = [];
  const seen = new Set<string>();
  let retries = 0;
  let mostRetries = 0;
  const startBackend = () =>
    startCapturingBackend(t, ({ target }, socket) => {
      const reset = () => socket.resetAndDestroy();
      if (!seen.has(target)) {
        seen.add(target);
        firsts.push(reset);
        return null;
      }
      mostRetries = Math.max(mostRetries, ++retries);
      setTimeout(() => {
        retries--;
        reset();
      }, 300);
      return null;
    });
  const backends = [await startBackend(), dead, await startBackend()];
  const app = { retry: retrySettings({ budgetPercent: 0, minConcurrent: 1 }) };
  const proxy = await startProxy(t, { backends, app });
  const clients = await Promise.all(Array.from({ length: 40 }, () => proxy.connect()));
  for (const [i, client] of clients.entries()) client.write(GET(`/${i}`));
  await waitFor('all requests', () => firsts.length === clients.length);
  for (const reset of firsts) reset();
  for (const client of clients) assert.equal((await client.readResponse()).status, 502);
  assert.equal(mostRetries, 1);
});

test('failed connections are replaced at once, whatever the budget', async (t) => {
  const dead = await startCapturingBackend(t);
  await dead.close();
  const good = await startCapturingBackend(t);
  const app = { retry: retrySettings({ attempts: 0, budgetPercent: 0, minConcurrent: 1 }) };
  const proxy = await startProxy(t, { backends: [dead, good], app });
  const clients = await Promise.all(Array.from({ length: 20 }, () => proxy.connect()));
  for (const client of clients) client.write(GET('/'));
  const statuses = await Promise.all(clients.map(async (client) => (await client.readResponse()).status));
  assert.deepEqual(new Set(statuses), new Set([200]));
  assert.equal(proxy.metric('sluice_retries_total', 'connect'), 10);
});
