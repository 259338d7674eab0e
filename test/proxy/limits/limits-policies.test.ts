import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ClientRecord } from '../../../src/contract/clients.ts';
import type { PolicySettings } from '../../../src/contract/settings.ts';
import { makeLimiter, policyOf, ScriptedStore } from '../../limit/limiter/limiter-lab.ts';
import { ok, startCapturingBackend } from '../capturing-backend.ts';
import { accessLineOf, type ProxyOptions, route, startProxy, type TestProxy } from '../support.ts';

const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';
const SECOND = policyOf({ name: 'second', capacity: 2, refillPerSecond: 0.001 });
const DAY = policyOf({ name: 'day', capacity: 10, refillPerSecond: 0.001 });

/** `/` is limited by all policies in order, `/NAME` by that policy alone. */
function limitedBy(policies: PolicySettings[], more: ProxyOptions = {}, cost = 1): ProxyOptions {
  const names = policies.map(({ name }) => name);
  const alone = names.map((name) =>
    route(name, { path: `/${name}` }, { rateLimit: { policies: [name], cost: 1 } }),
  );
  return {
    policies,
    routes: [...alone, route('all', {}, { rateLimit: { policies: names, cost } })],
    ...more,
  };
}

async function ask(proxy: TestProxy, request = GET) {
  const client = await proxy.connect();
  client.write(request);
  const answer = await client.readResponse();
  client.close();
  return answer;
}

const record = (fields: Partial<ClientRecord>): ClientRecord => ({
  clientId: '127.0.0.1',
  mode: 'limit',
  limits: {},
  versionUs: 2,
  ...fields,
});

test('B31: the fields of a route with several policies list each, and a 429 names the exhausted ones', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, limitedBy([SECOND, DAY], { backends: [backend] }));
  for (const left of [1, 0]) {
    const answer = await ask(proxy);
    assert.equal(answer.status, 200);
    assert.equal(answer.header('ratelimit-policy'), '"second";q=2;w=2000, "day";q=10;w=10000');
    const expected = new RegExp(`^"second";r=${left};t=\\d+, "day";r=${left + 8};t=\\d+$`);
    assert.match(answer.header('ratelimit') ?? '', expected);
  }
  for (let i = 0; i < 3; i++) {
    const refused = await ask(proxy);
    assert.equal(refused.status, 429);
    const [, resetSec] =
      /^"second";r=0;t=(\d+), "day";r=8;t=\d+$/.exec(refused.header('ratelimit') ?? '') ?? [];
    const retrySec = Number(refused.header('retry-after'));
    assert.ok(retrySec >= Number(resetSec) && retrySec <= 1000, `${retrySec}, ${resetSec}`);
    const problem = JSON.parse(refused.body.toString());
    assert.match(problem.type, /quota-exceeded$/);
    assert.deepEqual([problem.status, problem['violated-policies']], [429, ['second']]);
    assert.equal(problem.requestId, refused.header('x-request-id'));
  }
  const line = await accessLineOf(proxy, ({ status }) => status === 429);
  assert.deepEqual([line.reason, line.policies], ['limited', ['second']]);
  assert.deepEqual((await accessLineOf(proxy, ({ status }) => status === 200)).policies, null);
  const alone = await ask(proxy, 'GET /day HTTP/1.1\r\nHost: a\r\n\r\n');
  assert.match(
    alone.header('ratelimit') ?? '',
    /^"day";r=7;/,
    'refused requests must not take tokens from it',
  );
});

test('a cost is taken from every policy, and Retry-After says when that many tokens will be there', async (t) => {
  const backend = await startCapturingBackend(t);
  const policies = [policyOf({ name: 'second', capacity: 5, refillPerSecond: 0.01 }), DAY];
  const proxy = await startProxy(t, limitedBy(policies, { backends: [backend] }, 3));
  assert.match((await ask(proxy)).header('ratelimit') ?? '', /^"second";r=2;t=\d+, "day";r=7;t=\d+$/);
  const refused = await ask(proxy);
  assert.equal(refused.status, 429);
  assert.match(refused.header('ratelimit') ?? '', /^"second";r=2;t=100, "day";r=7;/);
  assert.equal(refused.header('retry-after'), '100');
});

test('a cost above a client’s own capacity is refused without Retry-After', async (t) => {
  const backend = await startCapturingBackend(t);
  const limits = { second: { capacity: 2, refillPerSecond: 1 } };
  const policies = [policyOf({ name: 'second' }), DAY];
  const proxy = await startProxy(
    t,
    limitedBy(policies, { backends: [backend], clients: [record({ limits })] }, 3),
  );
  const refused = await ask(proxy);
  assert.equal(refused.status, 429);
  assert.equal(refused.header('retry-after'), null);
  assert.equal(refused.header('ratelimit-policy'), '"second";q=2;w=2, "day";q=10;w=10000');
  const problem = JSON.parse(refused.body.toString());
  assert.match(problem.type, /quota-exceeded$/);
  assert.deepEqual([problem.reason, problem['violated-policies']], ['cost_above_capacity', ['second']]);
  const line = await accessLineOf(proxy, ({ status }) => status === 429);
  assert.deepEqual([line.reason, line.policies], ['cost_above_capacity', ['second']]);
  assert.equal(backend.requests.length, 0);
});

test('B33: own limits, shadow and modes of clients apply to each policy of a list', async (t) => {
  const backend = await startCapturingBackend(t);
  const limits = { day: { capacity: 3, refillPerSecond: 0.001 } };
  const policies = [{ ...SECOND, shadow: true }, DAY];
  const more = {
    backends: [backend],
    trustedProxies: ['127.0.0.1'],
    clients: [
      record({ clientId: '192.0.2.1', limits }),
      record({ clientId: '192.0.2.2', mode: 'blocked' }),
      record({ clientId: '192.0.2.3', mode: 'unlimited' }),
    ],
  };
  const proxy = await startProxy(t, limitedBy(policies, more));
  const as = (address: string) =>
    ask(proxy, `GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: ${address}\r\n\r\n`);
  const statuses = [];
  for (let i = 0; i < 4; i++) statuses.push((await as('192.0.2.1')).status);
  assert.deepEqual(
    statuses,
    [200, 200, 200, 429],
    'the shadow policy is exhausted after two requests, the client’s own limit after three',
  );
  assert.equal((await accessLineOf(proxy, ({ status }) => status === 429)).reason, 'limited');
  assert.ok(proxy.metric('sluice_ratelimit_decisions_total', 'second', 'shadow') > 0);
  assert.equal((await as('192.0.2.2')).status, 403);
  const free = await as('192.0.2.3');
  assert.deepEqual([free.status, free.header('ratelimit')], [200, null]);
});

test('a backend’s own fields stay beside those of Sluice', async (t) => {
  const own = 'RateLimit-Policy: "origin";q=5;w=1\r\nRateLimit: "origin";r=4;t=1\r\nX-RateLimit-Limit: 5\r\n';
  const backend = await startCapturingBackend(t, () => ok('x', own));
  const proxy = await startProxy(t, limitedBy([DAY], { backends: [backend] }));
  const answer = await ask(proxy);
  const all = (name: string) =>
    answer.headers.filter(([key]) => key.toLowerCase() === name).map(([, value]) => value);
  assert.deepEqual(all('ratelimit-policy'), ['"origin";q=5;w=1', '"day";q=10;w=10000']);
  assert.equal(all('ratelimit')[0], '"origin";r=4;t=1');
  assert.match(all('ratelimit')[1] ?? '', /^"day";r=9;/);
  proxy.reload(limitedBy([DAY], { backends: [backend], limitHeaders: 'legacy' }));
  const legacy = await ask(proxy);
  assert.equal(legacy.header('x-ratelimit-limit'), '5');
  assert.equal(legacy.header('x-ratelimit-remaining'), null);
});

test('a reload changes the limit fields to legacy or off; Retry-After stays', async (t) => {
  const backend = await startCapturingBackend(t);
  const options = limitedBy([SECOND, DAY], { backends: [backend] });
  const proxy = await startProxy(t, { ...options, limitHeaders: 'legacy' });
  const answer = await ask(proxy);
  assert.deepEqual([answer.header('ratelimit'), answer.header('ratelimit-policy')], [null, null]);
  assert.deepEqual([answer.header('x-ratelimit-limit'), answer.header('x-ratelimit-remaining')], ['2', '1']);
  const resetSec = Number(answer.header('x-ratelimit-reset')) - Date.now() / 1000;
  assert.ok(resetSec > 990 && resetSec < 1002, `full again in ${resetSec} s`);
  proxy.reload({ ...options, limitHeaders: 'off' });
  for (const status of [200, 429]) {
    const bare = await ask(proxy);
    assert.equal(bare.status, status);
    assert.deepEqual(
      bare.headers.filter(([name]) => /ratelimit/i.test(name)),
      [],
    );
    assert.equal(bare.header('retry-after') !== null, status === 429);
  }
});

test('B32: while the store is away each policy acts as configured: allow passes, deny makes a 503, but an exhausted quota counts first', async (t) => {
  const backend = await startCapturingBackend(t);
  const store = new ScriptedStore(null);
  store.available = false;
  const free = policyOf({ name: 'free', onStoreFailure: 'allow' });
  const strict = policyOf({ name: 'strict', onStoreFailure: 'deny' });
  const local = policyOf({ name: 'local', capacity: 1 });
  const { limiter, metric } = makeLimiter({ store, policies: [free, strict, local], workers: 1 });
  t.after(() => limiter.close());
  const proxy = await startProxy(t, limitedBy([free, strict, local], { backends: [backend], limiter }));
  const statusOf = async (path: string) =>
    (await ask(proxy, `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`)).status;
  for (let i = 0; i < 3; i++) assert.equal(await statusOf('/free'), 200);
  const denied = await ask(proxy, 'GET /strict HTTP/1.1\r\nHost: a\r\n\r\n');
  assert.deepEqual([denied.status, denied.header('retry-after')], [503, '1']);
  assert.equal(denied.header('ratelimit-policy')?.startsWith('"strict";'), true);
  const problem = JSON.parse(denied.body.toString());
  assert.match(problem.type, /\/store_denied$/);
  assert.equal('violated-policies' in problem, false);
  const line = await accessLineOf(proxy, ({ status }) => status === 503);
  assert.deepEqual([line.reason, line.policies], ['store_denied', ['strict']]);
  assert.equal(await statusOf('/'), 503);
  assert.equal(await statusOf('/local'), 200, 'the refused request must have given its token back');
  assert.equal(await statusOf('/'), 429);
  const decisions = 'sluice_ratelimit_decisions_total';
  assert.equal(metric(decisions, 'strict', 'refused', 'local'), 3);
  assert.equal(metric(decisions, 'free', 'allowed', 'local'), 5);
  assert.equal(backend.requests.length, 4);
});
