import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { startRedis } from '../support/redis.ts';
import { type SluiceProcess, startSluice } from '../support/sluice.ts';
import { waitFor } from '../support/wait.ts';
import { burst, connectToAll, PATIENT } from './burst.ts';
import { poolOf, startNamed, workersOf } from './support.ts';

const POLICY = {
  enabled: true,
  policies: { default: { capacity: 100, refillPerSecond: 0.001 } },
};
const REQUESTS = 2000;

async function proveExact(t: TestContext, instances: SluiceProcess[]): Promise<void> {
  const clients = await connectToAll(instances);
  t.after(() => {
    for (const client of clients) client.close();
  });
  const counts = await burst(clients, REQUESTS);
  assert.deepEqual(counts[''], { 200: 100, 429: REQUESTS - 100 });
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
