import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { ask, askJson, metricOf, poolOf, startNamed, workersOf } from '../cluster/support.ts';
import { openOperator } from '../redis/connect.ts';
import { startLoad } from '../support/load.ts';
import { type RedisServer, startRedis } from '../support/redis.ts';
import { type SluiceProcess, startSluice } from '../support/sluice.ts';
import { waitFor } from '../support/wait.ts';

const CAPACITY = 50;

/** `free` is never limited in the test, so its load shows whatever fails; each of the others has its own bucket of CAPACITY. */
const ROUTES = ['free', 'one', 'two', 'three'];

async function startTwo(t: TestContext) {
  const [first, second, backend] = await Promise.all([startRedis(), startRedis(), startNamed('a')]);
  t.after(() => Promise.all([first.stop(), second.stop(), backend.close()]));
  const configOf = (redis: object | undefined, more: object = {}) => ({
    workers: 2,
    pools: poolOf([backend]),
    routes: ROUTES.map((name) => ({
      name,
      match: { path: `/${name}` },
      pool: 'app',
      rateLimit: { policy: name },
    })),
    rateLimit: {
      policies: Object.fromEntries(
        ROUTES.map((name) => [
          name,
          name === 'free'
            ? { capacity: 1e9, refillPerSecond: 1e6 }
            : { capacity: CAPACITY, refillPerSecond: 0.001 },
        ]),
      ),
    },
    ...(redis && { redis }),
    ...more,
  });
  const at = ({ url }: RedisServer, more: object = {}) => ({ url, timeout: '2s', ...more });
  return { first, second, configOf, at };
}

const reload = (sluice: SluiceProcess) => askJson(`${sluice.adminUrl}/api/v1/reload`, { method: 'POST' });

async function reloadWith(sluice: SluiceProcess, config: Record<string, unknown>): Promise<void> {
  sluice.configure(config);
  const { status, body } = await reload(sluice);
  assert.deepEqual([status, body.pendingWorkers], [200, []], JSON.stringify(body));
}

/** How many of 2 × CAPACITY requests at once pass. */
async function admitted(sluice: SluiceProcess, route: string): Promise<number> {
  const answers = await Promise.all(
    Array.from({ length: 2 * CAPACITY }, () => ask(`${sluice.proxyUrl}/${route}`)),
  );
  return answers.filter(({ status }) => status === 200).length;
}

async function connectionsAt(t: TestContext, redis: RedisServer): Promise<() => Promise<string[]>> {
  const { client, close } = await openOperator(redis.url);
  t.after(close);
  return async () =>
    [...String(await client.client('LIST')).matchAll(/name=(sluice-(?:primary|w\d+)) /g)]
      .map(([, name = '']) => name)
      .sort();
}

const descriptorsOf = (pids: number[]): number =>
  pids.reduce((sum, pid) => sum + readdirSync(`/proc/${pid}/fd`).length, 0);

test('B37: a reload under load moves to another Redis and back: no request fails, limits are exact, and nothing stays at the old one', async (t) => {
  const { first, second, configOf, at } = await startTwo(t);
  const sluice = await startSluice({ config: configOf(at(first)) });
  t.after(() => sluice.stop());
  const [atFirst, atSecond] = [await connectionsAt(t, first), await connectionsAt(t, second)];
  const load = startLoad({ url: `${sluice.proxyUrl}/free`, connections: 8, pauseMs: 2 });
  t.after(() => load.stop());
  await load.atLeast(50);
  assert.equal(await admitted(sluice, 'one'), CAPACITY);

  await reloadWith(sluice, configOf(at(second)));
  assert.equal(await admitted(sluice, 'one'), CAPACITY, 'its buckets begin full');
  assert.equal(await admitted(sluice, 'two'), CAPACITY);
  const ours = ['sluice-primary', 'sluice-w0', 'sluice-w1'];
  assert.deepEqual(await atSecond(), ours);
  await waitFor('the old Redis to be left', async () => (await atFirst()).length === 0);

  // What is forked from now on uses the new one, too.
  const pids = (await workersOf(sluice.adminUrl)).map(({ pid }) => pid);
  await askJson(`${sluice.adminUrl}/api/v1/workers/restart`, { method: 'POST' });
  const slowly = { timeoutMs: 60_000 };
  const isReplaced = async () => {
    const workers = await workersOf(sluice.adminUrl);
    return workers.length === 2 && workers.every(({ pid }) => !pids.includes(pid));
  };
  await waitFor('new workers', isReplaced, slowly);
  await waitFor('their connections alone', async () => (await atSecond()).length === ours.length, slowly);
  assert.deepEqual([await atFirst(), await atSecond()], [[], ours]);
  assert.equal(await admitted(sluice, 'two'), 0);
  for (const pid of sluice.workerPids())
    for (const file of ['environ', 'cmdline'])
      assert.ok(!readFileSync(`/proc/${pid}/${file}`, 'latin1').includes('redis://'), `settings in ${file}`);

  await reloadWith(sluice, configOf(at(first)));
  assert.equal(await admitted(sluice, 'one'), 0, 'the buckets there are as they were left');
  await waitFor('the second Redis to be left', async () => (await atSecond()).length === 0);
  await load.atLeast(50);
  const { failures, statuses } = await load.stop();
  assert.deepEqual([failures, Object.keys(statuses)], [{}, ['200']]);
  assert.equal(await metricOf(sluice.adminUrl, 'sluice_worker_restarts_total'), 0);
});

test('B37: a Redis that does not answer refuses the reload, and the one in force stays', async (t) => {
  const { first, second, configOf, at } = await startTwo(t);
  const sluice = await startSluice({ config: configOf(at(first)) });
  t.after(() => sluice.stop());
  assert.equal(await admitted(sluice, 'one'), CAPACITY);
  await second.stop();
  sluice.configure(configOf(at(second), { workers: 1 }));
  const { status, body } = await reload(sluice);
  assert.equal(status, 422);
  assert.match(
    JSON.stringify(body.errors),
    /"field":"redis","line":null,"message":"the new bucket store does not answer: /,
  );
  assert.equal((await workersOf(sluice.adminUrl)).length, 2);
  assert.equal(await admitted(sluice, 'one'), 0, 'the buckets in force are used on');
  assert.deepEqual((await askJson(`${sluice.adminUrl}/readyz`)).body.degraded, []);
  await second.start();
  second.signal('SIGSTOP');
  assert.equal((await reload(sluice)).status, 422, 'silence is no answer');
  second.signal('SIGCONT');
  assert.equal((await reload(sluice)).status, 200);
  // Nor does it matter that the one which is left says nothing.
  second.signal('SIGSTOP');
  sluice.configure(configOf(at(first)));
  assert.equal((await reload(sluice)).status, 200);
  assert.equal(await admitted(sluice, 'two'), CAPACITY);
});

test('B37: a reload moves from the buckets of the primary to Redis and back, and twenty of them leave no descriptor', async (t) => {
  const { first, second, configOf, at } = await startTwo(t);
  const sluice = await startSluice({ config: configOf(undefined) });
  t.after(() => sluice.stop());
  assert.equal(await admitted(sluice, 'one'), CAPACITY);
  await reloadWith(sluice, configOf(at(first)));
  assert.equal(await admitted(sluice, 'two'), CAPACITY);
  await reloadWith(sluice, configOf(undefined));
  assert.equal(await admitted(sluice, 'one'), 0);
  assert.equal(await admitted(sluice, 'three'), CAPACITY);
  const pids = () => [sluice.pid, ...sluice.workerPids()];
  await reloadWith(sluice, configOf(at(first)));
  const [atFirst, atSecond] = [await connectionsAt(t, first), await connectionsAt(t, second)];
  const settled = () =>
    waitFor(
      'only the Redis in force',
      async () => (await atFirst()).length === 3 && (await atSecond()).length === 0,
    );
  await settled();
  const before = descriptorsOf(pids());
  for (let i = 0; i < 10; i++) {
    await reloadWith(sluice, configOf(at(second, { prefix: `p${i}` })));
    await reloadWith(sluice, configOf(at(first)));
  }
  await settled();
  await waitFor('descriptors as before', () => descriptorsOf(pids()) <= before);
});
