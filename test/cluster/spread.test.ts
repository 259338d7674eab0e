import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startLoad } from '../support/load.ts';
import { startSluice } from '../support/sluice.ts';
import { waitFor } from '../support/wait.ts';
import { poolOf, startNamed, workersOf } from './support.ts';

test('connections under load spread evenly over the workers, without a failed request', async (t) => {
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const sluice = await startSluice({ config: { workers: 4, pools: poolOf([backend]) } });
  t.after(() => sluice.stop());
  const load = startLoad({ url: sluice.proxyUrl, connections: 480 });
  t.after(() => load.stop());
  await waitFor(
    'no worker to have more than 1.3 times the mean',
    async () => {
      const counts = (await workersOf(sluice.adminUrl)).map(({ connections }) => connections);
      const sum = counts.reduce((total, count) => total + count, 0);
      return sum > 450 && Math.max(...counts) <= (1.3 * sum) / counts.length;
    },
    { timeoutMs: 20_000, everyMs: 200 },
  );
  const result = await load.stop();
  assert.deepEqual(Object.keys(result.statuses), ['200']);
  assert.deepEqual(result.failures, {});
});
