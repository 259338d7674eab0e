import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { startLoad } from '../support/load.ts';
import { type SluiceProcess, startSluice } from '../support/sluice.ts';
import { waitFor } from '../support/wait.ts';
import { metricOf, startNamed } from './support.ts';

/** Starts two workers with these pools, in which only `app` gets requests, and limits that nobody reaches. */
async function start(t: TestContext, poolNames: string[]): Promise<SluiceProcess> {
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const pools = Object.fromEntries(poolNames.map((name) => [name, { backends: [{ url: backend.url }] }]));
  const routes = [{ name: 'app', pool: 'app' }];
  const rateLimit = { policies: { default: { capacity: 1_000_000, refillPerSecond: 1_000_000 } } };
  const sluice = await startSluice({ config: { workers: 2, pools, routes, rateLimit } });
  t.after(() => sluice.stop());
  t.after(() => sluice.signal('SIGCONT'));
  return sluice;
}

test('while the primary is stopped workers serve and decide alone; afterwards it counts all, and blames nobody', async (t) => {
  const sluice = await start(t, ['app']);
  const load = startLoad({ url: sluice.proxyUrl, pauseMs: 2 });
  t.after(() => load.stop());
  await load.atLeast(200);
  sluice.signal('SIGSTOP');
  const stoppedAtMs = performance.now();
  await waitFor('some seconds of answers without the primary', async () => {
    await load.atLeast(100);
    return performance.now() - stoppedAtMs > 3_000;
  });
  const result = await load.stop();
  sluice.signal('SIGCONT');
  assert.deepEqual([Object.keys(result.statuses), result.failures], [['200'], {}]);
  assert.ok(result.slowestMs < 2_000, `an answer took ${result.slowestMs} ms`);
  await waitFor('the count of every request', async () => {
    const counted = (await metricOf(sluice.adminUrl, 'sluice_requests_total')) ?? 0;
    assert.ok(counted <= result.total, `${counted} of ${result.total}`);
    return counted === result.total;
  });
  assert.deepEqual(
    sluice.jsonLines(({ msg }) => msg === 'worker is silent' || msg === 'worker died'),
    [],
  );
});

test('a worker that drains does not wait for a primary that has not read for seconds', async (t) => {
  // Their reports are so large that the pipe holds a few.
  const longNames = Array.from({ length: 600 }, (_, i) => `${'p'.repeat(56)}${i}`);
  const sluice = await start(t, ['app', ...longNames]);
  const [leaving = 0] = sluice.workerPids();
  sluice.signal('SIGSTOP');
  const stoppedAtMs = performance.now();
  await waitFor('reports to fill the pipe', () => performance.now() - stoppedAtMs > 6_000);
  process.kill(leaving, 'SIGTERM');
  await waitFor('the end of the worker', () => !sluice.workerPids().includes(leaving));
  sluice.signal('SIGCONT');
  await waitFor('another one in its place', () => sluice.workerPids().length === 2);
});
