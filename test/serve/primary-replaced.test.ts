import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { ask, poolOf, startNamed } from '../cluster/support.ts';
import { freePort } from '../support/free-port.ts';
import { startLoad } from '../support/load.ts';
import { type SluiceProcess, startSluice } from '../support/sluice.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { waitFor } from '../support/wait.ts';

const KILLS = 3;

/** Starts primaries in one folder, each after the one before was killed. */
async function scene(t: TestContext, more: object = {}, data?: 'made') {
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const folder = tempFolder(t);
  const port = await freePort();
  const config = {
    listen: [{ address: `127.0.0.1:${port}` }],
    workers: 2,
    pools: poolOf([backend]),
    timeouts: { drain: '10s' },
    ...more,
  };
  const start = async (): Promise<SluiceProcess> => {
    const sluice = await startSluice({ config, folder, data });
    t.after(() => sluice.child.kill());
    return sluice;
  };
  const orphanFiles = (): string[] => readdirSync(join(folder, 'data', 'postgres', 'orphans'));
  return { start, orphanFiles, backend, url: `http://127.0.0.1:${port}` };
}

const isRefused = (url: string) =>
  ask(url).then(
    () => false,
    (error: NodeJS.ErrnoException) => error.code === 'ECONNREFUSED',
  );

for (const accept of ['shared', 'reuse_port']) {
  test(`B39: the primary is killed under load and started again, with accept: ${accept}: nobody is refused, no request fails`, async (t) => {
    const { start, orphanFiles, url } = await scene(t, { accept });
    let sluice = await start();
    const kept = startLoad({ url, connections: 8, pauseMs: 10 });
    t.after(() => kept.stop());
    const fresh = startLoad({ url, connections: 2, pauseMs: 10, headers: { connection: 'close' } });
    t.after(() => fresh.stop());
    for (let kill = 0; kill < KILLS; kill++) {
      const before = sluice;
      process.kill(before.pid, 'SIGKILL');
      await Promise.all([kept.atLeast(20), fresh.atLeast(5)]);
      assert.equal(before.workerPids().length, 2, 'its workers serve on');
      sluice = await start();
      await waitFor('the old workers to be gone', () => before.workerPids().length === 0);
      await Promise.all([kept.atLeast(20), fresh.atLeast(5)]);
    }
    for (const { failures, statuses } of [await kept.stop(), await fresh.stop()]) {
      assert.deepEqual(failures, {});
      assert.deepEqual(Object.keys(statuses), ['200']);
    }
    assert.deepEqual(orphanFiles(), []);
    assert.deepEqual(await sluice.stop(), { code: 0, signal: null });
  });
}

test('B39: of two primaries that start after one was killed, one takes over and the other ends, and no request fails', async (t) => {
  const { start, orphanFiles, url } = await scene(t, { admin: { address: `127.0.0.1:${await freePort()}` } });
  const first = await start();
  const kept = startLoad({ url, connections: 8, pauseMs: 10 });
  t.after(() => kept.stop());
  await kept.atLeast(20);
  process.kill(first.pid, 'SIGKILL');
  const started = await Promise.allSettled([start(), start()]);
  const serving = started.flatMap((each) => (each.status === 'fulfilled' ? each.value : []));
  assert.equal(serving.length, 1);
  await waitFor('the old workers to be gone', () => first.workerPids().length === 0);
  await kept.atLeast(20);
  assert.deepEqual((await kept.stop()).failures, {});
  assert.deepEqual(orphanFiles(), []);
  assert.deepEqual(await serving[0]?.stop(), { code: 0, signal: null });
});

test('B39: with accept: round_robin the next primary listens anew, and open connections do not notice', async (t) => {
  const { start, orphanFiles, url } = await scene(t, { accept: 'round_robin' }, 'made');
  const first = await start();
  const kept = startLoad({ url, connections: 8, pauseMs: 10 });
  t.after(() => kept.stop());
  await kept.atLeast(50);
  process.kill(first.pid, 'SIGKILL');
  await kept.atLeast(50);
  const second = await start();
  assert.equal((await ask(url)).status, 200);
  await waitFor('the old workers to be gone', () => first.workerPids().length === 0);
  assert.deepEqual((await kept.stop()).failures, {});
  assert.deepEqual(orphanFiles(), []);
  assert.deepEqual(await second.stop(), { code: 0, signal: null });
});

test('B39: without a new primary, workers close their listeners after primary.graceWithout, and finish', async (t) => {
  const { start, orphanFiles, url } = await scene(t, { primary: { graceWithout: '2s' } });
  const first = await start();
  process.kill(first.pid, 'SIGKILL');
  const killedAtMs = performance.now();
  await waitFor('the workers to await a new primary', () => orphanFiles().length === 4);
  assert.equal((await ask(url)).status, 200);
  const slow = ask(`${url}/slow?ms=3000`);
  await waitFor('the listeners to be closed', () => isRefused(url));
  assert.ok(performance.now() - killedAtMs >= 1_900);
  assert.equal((await slow).status, 200);
  await waitFor('the workers to be gone', () => first.workerPids().length === 0);
  assert.deepEqual(orphanFiles(), []);
});

test('B39: a worker without a primary that gets SIGTERM finishes and ends', async (t) => {
  const { start, orphanFiles } = await scene(t);
  const first = await start();
  process.kill(first.pid, 'SIGKILL');
  await waitFor('the workers to await a new primary', () => orphanFiles().length === 4);
  for (const pid of first.workerPids()) process.kill(pid, 'SIGTERM');
  await waitFor('the workers to be gone', () => first.workerPids().length === 0);
  const second = await start();
  assert.deepEqual(orphanFiles(), []);
  assert.deepEqual(await second.stop(), { code: 0, signal: null });
});

test('without primary.graceWithout, when the primary is killed its workers finish their requests and exit, and a new primary gets the port', async (t) => {
  const { start, backend, url } = await scene(t, { primary: { graceWithout: '0s' } });
  const first = await start();
  const slow = ask(`${url}/slow?ms=2000`);
  await waitFor('the slow request at the backend', () => backend.requestCount === 1);
  process.kill(first.pid, 'SIGKILL');
  await waitFor('the listeners to be closed', () => isRefused(url));
  assert.ok(first.workerPids().length > 0, 'the worker with a request in flight still runs');
  // The dead process's lock of the embedded database is taken over.
  const second = await start();
  assert.equal((await ask(url)).status, 200);
  assert.equal((await slow).text, 'a');
  await waitFor('the old workers to be gone', () => first.workerPids().length === 0);
  assert.deepEqual(await second.stop(), { code: 0, signal: null });
});
