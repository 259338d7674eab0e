import assert from 'node:assert/strict';
import { test } from 'node:test';
import { changesOf } from '../support/event-stream.ts';
import { startRedis } from '../support/redis.ts';
import { type SluiceProcess, startSluice } from '../support/sluice.ts';
import { waitFor } from '../support/wait.ts';
import { ask, askJson, poolOf, startMigrated, startNamed } from './support.ts';

const LIMIT = {
  enabled: true,
  leases: false,
  policies: {
    default: { capacity: 5, refillPerSecond: 0.001 },
    day: { capacity: 50, refillPerSecond: 0.001 },
  },
};
/** `/both` is limited by two policies, all else by `default`. */
const ROUTES = [
  { name: 'both', match: { path: '/both' }, pool: 'app', rateLimit: { policy: ['default', 'day'], cost: 2 } },
  { name: 'rest', pool: 'app' },
];

function askAs(sluice: SluiceProcess, address: string, path = '/') {
  return ask(`${sluice.proxyUrl}${path}`, { headers: { 'x-forwarded-for': address } });
}

async function statusAs(sluice: SluiceProcess, address: string): Promise<number> {
  return (await askAs(sluice, address)).status;
}

async function policyOf(sluice: SluiceProcess, address: string, path?: string): Promise<unknown> {
  return (await askAs(sluice, address, path)).headers['ratelimit-policy'];
}

/** Tokens left under each policy, from the answer of one machine. */
async function leftOf(sluice: SluiceProcess, address: string): Promise<number[]> {
  const field = (await askAs(sluice, address, '/both')).headers.ratelimit;
  return [...String(field).matchAll(/;r=(\d+)/g)].map((match) => Number(match[1]));
}

test('clients created, changed and deleted at the admin port act on traffic of every machine within a second', async (t) => {
  const { url } = await startMigrated(t);
  const redis = await startRedis();
  t.after(() => redis.stop());
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const config = {
    workers: 2,
    trustedProxies: ['127.0.0.0/8'],
    pools: poolOf([backend]),
    routes: ROUTES,
    // Longer than the default, because on a busy machine Redis may get no CPU for 20 ms, and a worker would decide alone.
    redis: { url: redis.url, timeout: '1s' },
    database: { url },
    rateLimit: LIMIT,
  };
  const one = await startSluice({ config });
  t.after(() => one.stop());
  const other = await startSluice({ config });
  t.after(() => other.stop());
  const clients = `${one.adminUrl}/api/v1/clients`;
  const soon = { timeoutMs: 2_000 };

  assert.equal(
    (await askJson(clients, { method: 'POST', body: { clientId: '192.0.2.1', mode: 'blocked' } })).status,
    201,
  );
  await waitFor(
    'both machines to block',
    async () => {
      const statuses = await Promise.all([one, other].map((sluice) => statusAs(sluice, '192.0.2.1')));
      return statuses.every((status) => status === 403);
    },
    soon,
  );

  assert.equal(
    (await askJson(`${clients}/192.0.2.1`, { method: 'PATCH', body: { mode: 'unlimited' } })).status,
    200,
  );
  await waitFor(
    'all workers of both machines to let it pass without fields',
    async () => {
      // Several answers per machine, because its workers learn of a change one by one. A blocked answer has no such field either.
      const asked = [one, other].flatMap((sluice) => Array.from({ length: 6 }, () => sluice));
      const answers = await Promise.all(asked.map((sluice) => askAs(sluice, '192.0.2.1')));
      return answers.every(
        ({ status, headers }) => status === 200 && headers['ratelimit-policy'] === undefined,
      );
    },
    soon,
  );
  for (let i = 0; i < 10; i++) assert.equal(await statusAs(other, '192.0.2.1'), 200);

  const own = { clientId: '198.51.100.0/24', capacity: 7, refillPerSecond: 0.5 };
  assert.equal((await askJson(clients, { method: 'POST', body: own })).status, 201);
  await waitFor(
    'both machines to use the range of its own',
    async () => {
      const policies = await Promise.all([policyOf(one, '198.51.100.7'), policyOf(other, '198.51.100.99')]);
      return policies.every((policy) => policy === '"default";q=7;w=14');
    },
    soon,
  );
  const statuses = [];
  for (let i = 0; i < 10; i++) statuses.push(await statusAs(i % 2 === 0 ? one : other, `198.51.100.${i}`));
  assert.ok(statuses.includes(429), `the range shares one bucket: ${statuses}`);

  const { body: bucket } = await askJson(`${clients}/${encodeURIComponent('198.51.100.0/24')}/bucket`);
  const [live] = bucket.items as {
    policy: string;
    level: number;
    capacity: number;
    refillPerSecond: number;
  }[];
  assert.deepEqual([live?.policy, live?.capacity, live?.refillPerSecond], ['default', 7, 0.5]);
  assert.ok(live !== undefined && live.level < 4, `a bucket that was just drained is at ${live?.level}`);
  assert.equal((await askJson(`${clients}/nobody/bucket`)).status, 404);

  assert.equal(
    (await ask(`${clients}/${encodeURIComponent('198.51.100.0/24')}`, { method: 'DELETE' })).status,
    204,
  );
  await waitFor(
    'both machines to return to the policy',
    async () => {
      const policies = await Promise.all([policyOf(one, '198.51.100.7'), policyOf(other, '198.51.100.7')]);
      return policies.every((policy) => policy === '"default";q=5;w=5000');
    },
    soon,
  );

  // The new rate applies from the next request for the bucket.
  const idle = { clientId: '192.0.2.20', capacity: 5, refillPerSecond: 0.001 };
  assert.equal((await askJson(clients, { method: 'POST', body: idle })).status, 201);
  await waitFor('its bucket to be empty', async () => (await statusAs(one, '192.0.2.20')) === 429, soon);
  const raised = { refillPerSecond: 100 };
  assert.equal((await askJson(`${clients}/192.0.2.20`, { method: 'PATCH', body: raised })).status, 200);
  const ofOther = `${other.adminUrl}/api/v1/clients/192.0.2.20/bucket`;
  await waitFor(
    'a request to bring it the new rate',
    async () => (await statusAs(one, '192.0.2.20')) === 200,
    soon,
  );
  await waitFor(
    'the bucket to fill by the new rate',
    async () => ((await askJson(ofOther)).body.items as { level: number }[])[0]?.level === 5,
    soon,
  );
  assert.deepEqual([await statusAs(one, '192.0.2.20'), await statusAs(other, '192.0.2.20')], [200, 200]);

  // A list of policies: each follows the client's own limits for it, and grants nothing extra.
  assert.deepEqual(await leftOf(one, '192.0.2.9'), [3, 48]);
  const listed = { clientId: '192.0.2.9', limits: { day: { capacity: 100, refillPerSecond: 0.5 } } };
  assert.equal((await askJson(clients, { method: 'POST', body: listed })).status, 201);
  await waitFor(
    'both machines to use the client’s own limit for one policy of the list',
    async () => {
      const policies = await Promise.all(
        [one, other].map((sluice) => policyOf(sluice, '192.0.2.9', '/both')),
      );
      return policies.every((policy) => policy === '"default";q=5;w=5000, "day";q=100;w=200');
    },
    soon,
  );
  const [ofDefault = 0, ofDay = 0] = await leftOf(other, '192.0.2.9');
  assert.ok(ofDefault <= 1 && ofDay >= 44 && ofDay <= 50, `left: ${ofDefault}, ${ofDay}; growth is no gift`);
  const cut = { limits: { day: { capacity: 1, refillPerSecond: 0.001 } } };
  assert.equal((await askJson(`${clients}/192.0.2.9`, { method: 'PATCH', body: cut })).status, 200);
  await waitFor(
    'both machines to refuse for good what costs more than the client’s bucket holds',
    async () => {
      const answers = await Promise.all([one, other].map((sluice) => askAs(sluice, '192.0.2.9', '/both')));
      return answers.every(({ status, headers }) => status === 429 && headers['retry-after'] === undefined);
    },
    soon,
  );
});

test('while Postgres is restarted or stopped, limits stay and admin writes answer 503; then it recovers', async (t) => {
  const { postgres, url } = await startMigrated(t);
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const sluice = await startSluice({
    config: {
      trustedProxies: ['127.0.0.0/8'],
      pools: poolOf([backend]),
      database: { url },
      rateLimit: LIMIT,
    },
  });
  t.after(() => sluice.stop());
  const clients = `${sluice.adminUrl}/api/v1/clients`;
  assert.equal(
    (await askJson(clients, { method: 'POST', body: { clientId: '192.0.2.1', mode: 'blocked' } })).status,
    201,
  );
  await waitFor('the block', async () => (await statusAs(sluice, '192.0.2.1')) === 403);
  await postgres.stop();
  await waitFor(
    'readyz to report it',
    async () => JSON.stringify((await askJson(`${sluice.adminUrl}/readyz`)).body.degraded) === '["postgres"]',
  );
  assert.equal(await statusAs(sluice, '192.0.2.1'), 403);
  const refused = await askJson(clients, { method: 'POST', body: { clientId: 'late' } });
  assert.equal(refused.status, 503);
  await postgres.start();
  await waitFor(
    'it to recover',
    async () => JSON.stringify((await askJson(`${sluice.adminUrl}/readyz`)).body.degraded) === '[]',
    {
      timeoutMs: 15_000,
    },
  );
  assert.equal((await askJson(`${clients}/late`)).status, 404);
  const told = (await changesOf(t, sluice.adminUrl)).filter((text) => /PostgreSQL|failed/.test(text));
  assert.match(told[0] ?? '', /^PostgreSQL cannot be read: /);
  assert.ok(told.includes('POST /api/v1/clients failed: the database cannot be reached'), told.join());
  assert.equal(told.at(-1), 'PostgreSQL can be read again');
  assert.equal(
    (await askJson(`${clients}/192.0.2.1`, { method: 'PATCH', body: { mode: 'limit' } })).status,
    200,
  );
  await waitFor('the change to act', async () => (await statusAs(sluice, '192.0.2.1')) === 200, {
    timeoutMs: 2_000,
  });
});

test('without Postgres at the start, Sluice serves with the default policy and loads the clients when Postgres is up', async (t) => {
  const { postgres, url } = await startMigrated(t);
  await postgres.stop();
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const sluice = await startSluice({
    config: { pools: poolOf([backend]), database: { url }, rateLimit: LIMIT },
  });
  t.after(() => sluice.stop());
  const ready = await askJson(`${sluice.adminUrl}/readyz`);
  assert.equal(ready.status, 200);
  assert.deepEqual(ready.body.degraded, ['postgres']);
  assert.equal((await ask(sluice.proxyUrl)).headers['ratelimit-policy'], '"default";q=5;w=5000');
  await postgres.start();
  await waitFor(
    'the database to be taken',
    async () => JSON.stringify((await askJson(`${sluice.adminUrl}/readyz`)).body.degraded) === '[]',
    {
      timeoutMs: 15_000,
    },
  );
  assert.equal(
    (await askJson(`${sluice.adminUrl}/api/v1/clients`, { method: 'POST', body: { clientId: 'acme' } }))
      .status,
    201,
  );
});
