import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { systemClock } from '../../src/contract/clock.ts';
import { makeLogger } from '../../src/infra/logger.ts';
import { heartbeatScripts, InstanceHeartbeat } from '../../src/primary/instance-heartbeat.ts';
import { connectTo } from '../redis/connect.ts';
import { startLoad } from '../support/load.ts';
import { startRedis } from '../support/redis.ts';
import { startSluice } from '../support/sluice.ts';
import { waitFor } from '../support/wait.ts';
import { ask, askJson, metricOf, poolOf, startNamed } from './support.ts';

/** Generous limits: the tests ask for answers and for who decided, not for refusals. */
const LIMIT = {
  enabled: true,
  leases: false,
  policies: { default: { capacity: 1_000_000, refillPerSecond: 1_000_000 } },
};

async function startWithRedis(t: TestContext) {
  const redis = await startRedis();
  t.after(() => redis.stop());
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const sluice = await startSluice({
    config: { workers: 2, pools: poolOf([backend]), redis: { url: redis.url }, rateLimit: LIMIT },
  });
  t.after(() => sluice.stop());
  const decisions = async (source: string) =>
    (await metricOf(sluice.adminUrl, 'sluice_ratelimit_decisions_total', { source })) ?? 0;
  const degraded = async () => (await askJson(`${sluice.adminUrl}/readyz`)).body.degraded;
  const localGrows = async (what: string) => {
    const before = await decisions('local');
    await waitFor(what, async () => (await decisions('local')) > before + 50, { timeoutMs: 10_000 });
  };
  const storeGrows = async (what: string) => {
    const before = await decisions('store');
    await waitFor(what, async () => (await decisions('store')) > before + 50, { timeoutMs: 10_000 });
  };
  return { redis, sluice, degraded, localGrows, storeGrows };
}

test('B32: with Redis killed and restarted under load no request fails, and the shared store returns', async (t) => {
  const { redis, sluice, degraded, localGrows, storeGrows } = await startWithRedis(t);
  const load = startLoad({ url: sluice.proxyUrl, connections: 8 });
  t.after(() => load.stop());
  await storeGrows('decisions of the store');
  redis.signal('SIGKILL');
  await redis.stop();
  await localGrows('local decisions');
  await waitFor('readyz to tell', async () => JSON.stringify(await degraded()) === '["redis"]');
  assert.equal((await askJson(`${sluice.adminUrl}/readyz`)).status, 200);
  await redis.start();
  const backAtMs = performance.now();
  await waitFor('nobody to be degraded', async () => JSON.stringify(await degraded()) === '[]', {
    timeoutMs: 10_000,
  });
  await storeGrows('decisions of the store again');
  assert.ok(performance.now() - backAtMs < 10_000);
  const result = await load.stop();
  assert.deepEqual(result.failures, {});
  assert.deepEqual(Object.keys(result.statuses), ['200']);
});

test('B32: with Redis frozen under load no request fails or hangs, and thawing brings it back', async (t) => {
  const { redis, sluice, localGrows, storeGrows } = await startWithRedis(t);
  const load = startLoad({ url: sluice.proxyUrl, connections: 8 });
  t.after(() => load.stop());
  await storeGrows('decisions of the store');
  redis.signal('SIGSTOP');
  await localGrows('local decisions');
  await waitFor(
    'the breaker to show',
    // The kernel may have given all connections to one worker; the other then has nothing to notice.
    async () => ((await metricOf(sluice.adminUrl, 'sluice_ratelimit_breaker_open')) ?? 0) >= 1,
  );
  redis.signal('SIGCONT');
  await storeGrows('decisions of the store again');
  const result = await load.stop();
  assert.deepEqual(result.failures, {});
  assert.deepEqual(Object.keys(result.statuses), ['200']);
});

const routeOf = (policy: string) => ({
  name: policy,
  match: { path: `/${policy}` },
  pool: 'app',
  rateLimit: { policy },
});

test('B32: Redis dead at the start: each policy has its say, readyz says degraded, and the store is taken when it comes', async (t) => {
  const redis = await startRedis();
  t.after(() => redis.stop());
  await redis.stop();
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const sluice = await startSluice({
    config: {
      pools: poolOf([backend]),
      routes: [routeOf('strict'), routeOf('free'), { name: 'rest', pool: 'app' }],
      redis: { url: redis.url },
      rateLimit: {
        ...LIMIT,
        policies: {
          default: { capacity: 4, refillPerSecond: 0.001 },
          strict: { capacity: 4, onStoreFailure: 'deny' },
          free: { capacity: 1, onStoreFailure: 'allow' },
        },
      },
    },
  });
  t.after(() => sluice.stop());
  const statuses = [];
  for (let i = 0; i < 6; i++) statuses.push((await ask(sluice.proxyUrl)).status);
  assert.deepEqual(statuses, [200, 200, 200, 200, 429, 429]);
  const denied = await ask(`${sluice.proxyUrl}/strict`);
  assert.deepEqual([denied.status, denied.headers['retry-after']], [503, '1']);
  for (let i = 0; i < 3; i++) assert.equal((await ask(`${sluice.proxyUrl}/free`)).status, 200);
  await waitFor(
    'readyz to tell',
    async () => JSON.stringify((await askJson(`${sluice.adminUrl}/readyz`)).body.degraded) === '["redis"]',
  );
  await redis.start();
  await waitFor(
    'the strict policy to pass',
    async () => (await ask(`${sluice.proxyUrl}/strict`)).status === 200,
  );
  await waitFor(
    'the store to be used',
    async () => JSON.stringify((await askJson(`${sluice.adminUrl}/readyz`)).body.degraded) === '[]',
    {
      timeoutMs: 10_000,
    },
  );
});

test('B32: with Redis gone a worker keeps to its part among the workers of all instances', async (t) => {
  const redis = await startRedis();
  t.after(() => redis.stop());
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const rateLimit = { enabled: true, policies: { default: { capacity: 8, refillPerSecond: 0.001 } } };
  const sluice = await startSluice({
    config: { pools: poolOf([backend]), redis: { url: redis.url }, rateLimit },
  });
  t.after(() => sluice.stop());
  const connection = connectTo(redis.url, heartbeatScripts());
  t.after(() => connection.close());
  const other = new InstanceHeartbeat({
    connection,
    prefix: 'sluice',
    workers: 3,
    assumedWorkers: () => 3,
    onChange: () => undefined,
    clock: systemClock,
    logger: makeLogger({ level: 'silent', format: 'json' }),
  });
  t.after(() => other.close());
  other.start();
  const heard = () => sluice.jsonLines(({ msg }) => msg === 'workers that share the store');
  await waitFor('both instances to be known', () => heard().at(-1)?.workers === 4);
  await redis.stop();
  const knows = () => sluice.jsonLines(({ msg }) => String(msg).startsWith('the bucket store is away'));
  await waitFor('the worker to know', () => knows().length > 0);
  const statuses = [];
  for (let i = 0; i < 4; i++) statuses.push((await ask(sluice.proxyUrl)).status);
  assert.deepEqual(statuses, [200, 200, 429, 429]);
});
