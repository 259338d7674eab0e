import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeLogger } from '../../src/infra/logging/logger.ts';
import { heartbeatScripts, InstanceHeartbeat } from '../../src/primary/instance-heartbeat.ts';
import { ask, askJson, poolOf, startNamed, workersOf } from '../cluster/support.ts';
import { connectTo } from '../redis/connect.ts';
import { changesOf } from '../support/event-stream.ts';
import { startRedis } from '../support/redis.ts';
import { startSluice } from '../support/sluice.ts';
import { waitFor } from '../support/wait.ts';

/** Generous limits: the tests check answers and who decided, not refusals. */
const LIMIT = {
  enabled: true,
  leases: false,
  policies: { default: { capacity: 1_000_000, refillPerSecond: 1_000_000 } },
};

const routeOf = (policy: string) => ({
  name: policy,
  match: { path: `/${policy}` },
  pool: 'app',
  rateLimit: { policy },
});

test('B32: without Redis at the start each policy acts as configured, readyz says degraded, and the store is used when it is up', async (t) => {
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
  const { status, body } = await askJson(`${sluice.adminUrl}/readyz`);
  assert.deepEqual([status, body.degraded], [200, ['redis']], 'from the first moment on');
  const statuses = [];
  for (let i = 0; i < 6; i++) statuses.push((await ask(sluice.proxyUrl)).status);
  assert.deepEqual(statuses, [200, 200, 200, 200, 429, 429]);
  const denied = await ask(`${sluice.proxyUrl}/strict`);
  assert.deepEqual([denied.status, denied.headers['retry-after']], [503, '1']);
  for (let i = 0; i < 3; i++) assert.equal((await ask(`${sluice.proxyUrl}/free`)).status, 200);
  const problems = async () =>
    (await askJson(`${sluice.adminUrl}/api/v1/status`)).body.problems as { code: string; text: string }[];
  const away = await waitFor('the problem', async () =>
    (await problems()).find(({ code }) => code === 'redis_away'),
  );
  assert.match(
    away.text,
    /^Redis is away since \d\d:\d\d UTC: each worker grants the whole of each limit; requests under strict get 503; requests under free pass; connection refused 127\.0\.0\.1:\d+$/,
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
  await waitFor('no problem', async () => JSON.stringify(await problems()) === '[]');
  const told = (await changesOf(t, sluice.adminUrl)).filter((text) => text.includes('Redis'));
  assert.deepEqual(
    told.map((text) => text.replace(/ 127.*/, '')),
    ['no connection to Redis: connection refused', 'connected to Redis'],
  );
});

test('B32: without Redis a worker keeps to its share among the workers of all instances', async (t) => {
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
    workers: () => 3,
    assumedWorkers: () => 3,
    onChange: () => undefined,
    logger: makeLogger({ level: 'silent', format: 'json' }),
  });
  t.after(() => other.close());
  void other.start();
  const heard = () =>
    sluice.jsonLines(({ msg }) => msg === 'the number of workers that share the store has changed');
  await waitFor('both instances to be known', () => heard().at(-1)?.workers === 4);
  await redis.stop();
  const knows = () => sluice.jsonLines(({ msg }) => String(msg).startsWith('the bucket store is away'));
  await waitFor('the worker to know', () => knows().length > 0);
  const statuses = [];
  for (let i = 0; i < 4; i++) statuses.push((await ask(sluice.proxyUrl)).status);
  assert.deepEqual(statuses, [200, 200, 429, 429]);
});

test('B32: a worker that replaces one killed without Redis has no tokens to give until Redis is back', async (t) => {
  const redis = await startRedis();
  t.after(() => redis.stop());
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const rateLimit = { enabled: true, policies: { default: { capacity: 4, refillPerSecond: 0.001 } } };
  const sluice = await startSluice({
    config: { workers: 1, pools: poolOf([backend]), redis: { url: redis.url, timeout: '1s' }, rateLimit },
  });
  t.after(() => sluice.stop());
  await redis.stop();
  const knows = () => sluice.jsonLines(({ msg }) => String(msg).startsWith('the bucket store is away'));
  const statuses = async (count: number) => {
    const seen = [];
    for (let i = 0; i < count; i++) seen.push((await ask(sluice.proxyUrl)).status);
    return seen;
  };
  await waitFor('the worker to know', () => knows().length > 0);
  assert.deepEqual(await statuses(5), [200, 200, 200, 200, 429]);
  for (let killed = 1; killed <= 2; killed++) {
    const [victim] = sluice.workerPids();
    assert.ok(victim !== undefined);
    process.kill(victim, 'SIGKILL');
    await waitFor('the replacement', async () => {
      const [worker] = await workersOf(sluice.adminUrl);
      return worker?.state === 'serving' && worker.pid !== victim;
    });
    assert.deepEqual(await statuses(3), [429, 429, 429], `after ${killed}`);
  }
  await redis.start();
  await waitFor('a token from Redis', async () => (await ask(sluice.proxyUrl)).status === 200);
});

test('readyz reports a Redis that is down or frozen, also without requests', async (t) => {
  const redis = await startRedis();
  t.after(() => redis.stop());
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const sluice = await startSluice({
    config: {
      workers: 2,
      pools: poolOf([backend]),
      redis: { url: redis.url, timeout: '200ms' },
      rateLimit: LIMIT,
    },
  });
  t.after(() => sluice.stop());
  const told = (degraded: string[]) =>
    waitFor(`degraded to be ${JSON.stringify(degraded)}`, async () => {
      const { body } = await askJson(`${sluice.adminUrl}/readyz`);
      return JSON.stringify(body.degraded) === JSON.stringify(degraded);
    });
  await told([]);
  await redis.stop();
  await told(['redis']);
  await redis.start();
  await told([]);
  redis.signal('SIGSTOP');
  await told(['redis']);
  redis.signal('SIGCONT');
  await told([]);
});
