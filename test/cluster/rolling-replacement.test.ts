import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startLoad } from '../support/load.ts';
import { startSluice } from '../support/sluice.ts';
import { waitFor } from '../support/wait.ts';
import { ask, askJson, metricOf, poolOf, startNamed, workersOf } from './support.ts';

const ROLLS = 3;
const WORKERS = 2;

for (const accept of ['shared', 'round_robin', 'reuse_port']) {
  test(`B39: rolling replacements of all workers under load fail no request (accept: ${accept})`, async (t) => {
    const backend = await startNamed('a');
    t.after(() => backend.close());
    const config = { workers: WORKERS, accept, pools: poolOf([backend]) };
    const sluice = await startSluice({ config });
    t.after(() => sluice.stop());
    // The pauses leave CPU time for the starts.
    const kept = startLoad({ url: sluice.proxyUrl, connections: 16, pauseMs: 5 });
    t.after(() => kept.stop());
    const headers = { connection: 'close' };
    const anew = startLoad({ url: sluice.proxyUrl, connections: 8, pauseMs: 5, headers });
    t.after(() => anew.stop());
    for (let roll = 0; roll < ROLLS; roll++) {
      const before = sluice.workerPids();
      // Longer than any roll: it must finish on the worker on which it began.
      const slow = ask(`${sluice.proxyUrl}/slow?ms=1000`);
      const restarted = await askJson(`${sluice.adminUrl}/api/v1/workers/restart`, { method: 'POST' });
      assert.deepEqual(restarted, { status: 202, body: { workers: WORKERS } });
      assert.equal((await slow).status, 200);
      await waitFor('every worker to be another process', async () => {
        const workers = await workersOf(sluice.adminUrl);
        const isNew = workers.every(({ pid, state }) => state === 'serving' && !before.includes(pid));
        return workers.length === WORKERS && isNew;
      });
      assert.equal(sluice.workerPids().length, WORKERS);
      await Promise.all([kept.atLeast(100), anew.atLeast(100)]);
    }
    for (const { failures, statuses } of [await kept.stop(), await anew.stop()]) {
      assert.deepEqual(failures, {});
      assert.deepEqual(Object.keys(statuses), ['200']);
    }
    assert.equal(await metricOf(sluice.adminUrl, 'sluice_worker_restarts_total'), 0);
    // A machine busy with the starts may rightly be called overloaded.
    const isFault = ({ level, overload }: Record<string, unknown>) =>
      Number(level) >= 40 && overload === undefined;
    assert.deepEqual(sluice.jsonLines(isFault), []);
  });
}
