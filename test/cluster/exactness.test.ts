import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { connectRaw, type RawClient } from '../support/raw-http.ts';
import { startRedis } from '../support/redis.ts';
import { type SluiceProcess, startSluice } from '../support/sluice.ts';
import { waitFor } from '../support/wait.ts';
import { poolOf, startNamed, workersOf } from './support.ts';

/** Connections are opened until every worker has some, which the kernel decides. */
const PATIENT = { timeouts: { headers: '120s' } };
const POLICY = {
  enabled: true,
  policies: { default: { capacity: 100, refillPerSecond: 0.001 } },
};
const CONNECTIONS = 200;
const REQUESTS = 2000;

/** Opens connections until every worker has some; the kernel chooses the worker. */
async function connectToAll(instances: SluiceProcess[]): Promise<RawClient[]> {
  const clients: RawClient[] = [];
  await waitFor(
    'connections at every worker',
    async () => {
      const more = clients.length === 0 ? CONNECTIONS : 8;
      for (let i = 0; i < more; i++) {
        clients.push(await connectRaw(instances[i % instances.length]!.proxyUrl));
      }
      return waitFor(
        'reports',
        async () => {
          const workers = (
            await Promise.all(instances.map((instance) => workersOf(instance.adminUrl)))
          ).flat();
          const sum = workers.reduce((total, worker) => total + worker.connections, 0);
          return sum === clients.length && workers.every((worker) => worker.connections > 0);
        },
        { timeoutMs: 3_000, everyMs: 100 },
      ).catch(() => false);
    },
    { timeoutMs: 30_000 },
  );
  return clients;
}

/** Sends all requests at once, pipelined over the connections, and counts the statuses. */
async function burst(clients: RawClient[]): Promise<Map<number, number>> {
  const counts = new Map<number, number>();
  // Evenly over all of them, because one may be a worker's only connection.
  const shares = clients.map((client, i) => ({
    client,
    share: Math.floor(((i + 1) * REQUESTS) / clients.length) - Math.floor((i * REQUESTS) / clients.length),
  }));
  for (const { client, share } of shares) client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(share));
  await Promise.all(
    shares.map(async ({ client, share }) => {
      for (let i = 0; i < share; i++) {
        const { status } = await client.readResponse({ timeoutMs: 20_000 });
        counts.set(status, (counts.get(status) ?? 0) + 1);
      }
    }),
  );
  return counts;
}

async function proveExact(t: TestContext, instances: SluiceProcess[]): Promise<void> {
  const clients = await connectToAll(instances);
  t.after(() => {
    for (const client of clients) client.close();
  });
  const counts = await burst(clients);
  assert.deepEqual(Object.fromEntries(counts), { 200: 100, 429: REQUESTS - 100 });
  await waitFor('every worker to have taken part', async () => {
    const workers = (await Promise.all(instances.map((instance) => workersOf(instance.adminUrl)))).flat();
    return workers.every((worker) => worker.requestsTotal > 0);
  });
}

test('B30: 2,000 concurrent requests over 2 instances of 4 workers and one Redis admit exactly 100', async (t) => {
  const redis = await startRedis();
  t.after(() => redis.stop());
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const config = {
    ...PATIENT,
    workers: 4,
    pools: poolOf([backend]),
    // Longer than the default 20 ms, because a busy machine may delay Redis, and B30 applies only to workers that reach the store.
    redis: { url: redis.url, timeout: '1s' },
    rateLimit: { ...POLICY, instances: 2 },
    secrets: { apiKeys: 'the same on both' },
  };
  const instances: SluiceProcess[] = [];
  for (let i = 0; i < 2; i++) {
    const instance = await startSluice({ config });
    t.after(() => instance.stop());
    instances.push(instance);
  }
  await proveExact(t, instances);
});

test('B30: 2,000 concurrent requests over 8 workers with the embedded store admit exactly 100', async (t) => {
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const instance = await startSluice({
    config: { ...PATIENT, workers: 8, pools: poolOf([backend]), rateLimit: POLICY },
  });
  t.after(() => instance.stop());
  await proveExact(t, [instance]);
});
