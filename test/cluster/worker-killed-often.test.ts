import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { startLoad } from '../support/load.ts';
import { startSluice } from '../support/sluice.ts';
import { waitFor } from '../support/wait.ts';
import { poolOf, startNamed, workersOf } from './support.ts';

const KILL_COUNT = 10;
const CONNECTIONS = 32;

test('B39: with a worker killed every second each kill costs its requests in flight, and every worker is replaced at once', async (t) => {
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const sluice = await startSluice({ config: { workers: 2, pools: poolOf([backend]) } });
  t.after(() => sluice.stop());
  // The pause leaves CPU time for the starts.
  const load = startLoad({ url: sluice.proxyUrl, connections: CONNECTIONS, pauseMs: 5 });
  t.after(() => load.stop());
  const serving = () =>
    waitFor('two serving workers', async () => {
      const workers = await workersOf(sluice.adminUrl);
      return workers.length === 2 && workers.every(({ state }) => state === 'serving') && workers;
    });
  for (let killed = 0; killed < KILL_COUNT; killed++) {
    const [before, nextKill] = [load.failureCount, pause(1_000)];
    const { pid = 0 } = (await serving())[killed % 2] ?? {};
    process.kill(pid, 'SIGKILL');
    await waitFor('the death in the log', () => deathsOf(sluice.jsonLines()).length > killed);
    await nextKill;
    await load.atLeast(100);
    const failed = load.failureCount - before;
    assert.ok(
      failed <= CONNECTIONS,
      `kill ${killed} cost ${failed}: ${JSON.stringify(load.result.failures)}`,
    );
  }
  await serving();
  const result = await load.stop();
  assert.deepEqual(Object.keys(result.statuses), ['200']);
  const isCut = (failure: string) => /^(ECONNRESET|EPIPE)( on a reused connection)?$/.test(failure);
  assert.deepEqual(
    Object.keys(result.failures).filter((failure) => !isCut(failure)),
    [],
  );
  assert.deepEqual(
    deathsOf(sluice.jsonLines()).map(({ signal, restartInMs }) => [signal, restartInMs]),
    Array.from({ length: KILL_COUNT }, () => ['SIGKILL', 0]),
  );
});

const deathsOf = (lines: Record<string, unknown>[]) => lines.filter(({ msg }) => msg === 'worker died');
