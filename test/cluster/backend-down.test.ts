import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startLoad } from '../support/load.ts';
import { startSluice } from '../support/sluice.ts';
import { waitFor } from '../support/wait.ts';
import { metricOf, poolOf, QUICK_CHECK, startNamed } from './support.ts';

test('B3: a backend that goes down gets no new request after its failed probes and returns after two good ones', async (t) => {
  const a = await startNamed('a');
  t.after(() => a.close());
  let b = await startNamed('b');
  t.after(() => b.close());
  const sluice = await startSluice({
    config: { workers: 2, pools: poolOf([a, b], { healthCheck: QUICK_CHECK }) },
  });
  t.after(() => sluice.stop());
  const isUp = () => metricOf(sluice.adminUrl, 'sluice_backend_up', { backend: `127.0.0.1:${b.port}` });
  assert.equal(await isUp(), 1);
  const load = startLoad({ url: sluice.proxyUrl });
  t.after(() => load.stop());
  await load.atLeast(500);
  const port = b.port;
  await b.close();
  await waitFor('the backend to be down', async () => (await isUp()) === 0);
  // Numbers of /metrics are up to a second old: waits until the retries have not grown for two seconds.
  let seen = { retries: -1, sinceMs: 0, total: 0 };
  await waitFor('a backend that is down not to be tried any more', async () => {
    const retries = (await metricOf(sluice.adminUrl, 'sluice_retries_total')) ?? 0;
    if (retries !== seen.retries) seen = { retries, sinceMs: performance.now(), total: load.result.total };
    return performance.now() - seen.sinceMs > 2_000 && load.result.total - seen.total > 300;
  });
  b = await startNamed('b', { port });
  await waitFor('the backend to be up again', async () => (await isUp()) === 1);
  await waitFor('requests at it', () => b.requestCount > 100);
  const result = await load.stop();
  assert.deepEqual(
    Object.keys(result.statuses).filter((status) => status !== '200' && status !== '502'),
    [],
  );
  // Only requests under way at the backend when its sockets were cut may fail; all others were retried.
  assert.ok((result.statuses['502'] ?? 0) <= 16, JSON.stringify(result.statuses));
  assert.deepEqual(result.failures, {});
});
