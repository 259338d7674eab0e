import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ask, askJson, metricOf, poolOf, startNamed, workersOf } from '../cluster/support.ts';
import { startLoad } from '../support/load.ts';
import { startSluice } from '../support/sluice.ts';
import { waitFor } from '../support/wait.ts';

for (const accept of ['shared', 'round_robin']) {
  test(`B37: a reload under load starts further workers or drains the highest ones, and no request fails (accept: ${accept})`, async (t) => {
    const backend = await startNamed('a');
    t.after(() => backend.close());
    const configOf = (workers: number) => ({ workers, accept, pools: poolOf([backend]) });
    const sluice = await startSluice({ config: configOf(1) });
    t.after(() => sluice.stop());
    const kept = startLoad({ url: sluice.proxyUrl, connections: 8, pauseMs: 5 });
    t.after(() => kept.stop());
    const anew = startLoad({
      url: sluice.proxyUrl,
      connections: 4,
      pauseMs: 5,
      headers: { connection: 'close' },
    });
    t.after(() => anew.stop());
    for (const count of [3, 1, 2]) {
      const slow = ask(`${sluice.proxyUrl}/slow?ms=1000`);
      sluice.configure(configOf(count));
      assert.equal((await askJson(`${sluice.adminUrl}/api/v1/reload`, { method: 'POST' })).status, 200);
      const workers = await waitFor(`${count} workers`, async () => {
        const all = await workersOf(sluice.adminUrl);
        return all.length === count && all.every(({ state }) => state === 'serving') && all;
      });
      assert.equal((await slow).status, 200);
      assert.equal(sluice.workerPids().length, count);
      assert.equal(new Set(workers.map(({ revision }) => revision)).size, 1);
      const { body } = await askJson(`${sluice.adminUrl}/readyz`);
      assert.deepEqual(body.workers, { serving: count, wanted: count });
      await Promise.all([kept.atLeast(100), anew.atLeast(100)]);
    }
    for (const { failures, statuses } of [await kept.stop(), await anew.stop()]) {
      assert.deepEqual(failures, {});
      assert.deepEqual(Object.keys(statuses), ['200']);
    }
    assert.equal(await metricOf(sluice.adminUrl, 'sluice_worker_restarts_total'), 0);
  });
}
