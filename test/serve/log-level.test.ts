import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ask, askJson, poolOf, startNamed, workersOf } from '../cluster/support.ts';
import { startSluice } from '../support/sluice.ts';
import { waitFor } from '../support/wait.ts';

test('the log level changes in the primary and all workers, also in those that start later, until the next reload', async (t) => {
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const sluice = await startSluice({ config: { workers: 2, pools: poolOf([backend]) } });
  t.after(() => sluice.stop());
  const setLevel = async (level: string) => {
    const answer = await askJson(`${sluice.adminUrl}/api/v1/log-level`, { method: 'PUT', body: { level } });
    assert.deepEqual(answer, { status: 200, body: { level } });
  };
  /** A worker logs a SIGHUP at the level `debug`. */
  const debugLines = (worker: number) =>
    sluice.jsonLines((line) => line.worker === worker && /signal ignored/.test(String(line.msg)));
  const changes = () => sluice.jsonLines(({ msg }) => /log level is changed/.test(String(msg)));
  const pidOf = async (worker: number) => (await workersOf(sluice.adminUrl))[worker]?.pid ?? 0;
  const hearsDebug = (worker: number) =>
    waitFor(`a debug line of worker ${worker}`, async () => {
      process.kill(await pidOf(worker), 'SIGHUP');
      return debugLines(worker).length > 0;
    });
  const silent = await pidOf(1);
  process.kill(silent, 'SIGHUP');
  await ask(sluice.proxyUrl);
  assert.deepEqual(debugLines(1), []);

  await setLevel('debug');
  await hearsDebug(0);
  await hearsDebug(1);
  const { logLevel, before: level, peer, requestId } = changes()[0] ?? {};
  assert.deepEqual([logLevel, level, peer, typeof requestId], ['debug', 'info', '127.0.0.1', 'string']);
  const pid = await pidOf(0);
  process.kill(pid, 'SIGKILL');
  await waitFor('a replacement', async () => ![0, pid].includes(await pidOf(0)));
  await waitFor('both workers to serve', async () =>
    (await workersOf(sluice.adminUrl)).every(({ state }) => state === 'serving'),
  );
  const before = debugLines(0).length;
  await waitFor('a debug line of the replacement', async () => {
    process.kill(await pidOf(0), 'SIGHUP');
    return debugLines(0).length > before;
  });
  const { body: config } = await askJson(`${sluice.adminUrl}/api/v1/config`);
  assert.equal((config.log as { level: string }).level, 'debug');

  assert.equal((await ask(`${sluice.adminUrl}/api/v1/reload`, { method: 'POST' })).status, 200);
  assert.deepEqual((await askJson(`${sluice.adminUrl}/api/v1/log-level`)).body, { level: 'info' });
  const heard = debugLines(1).length;
  process.kill(silent, 'SIGHUP');
  await ask(sluice.proxyUrl);
  assert.equal(debugLines(1).length, heard);

  // Each line is written under the more talkative of both levels.
  await setLevel('silent');
  await setLevel('info');
  await waitFor('the lines about all changes', () => changes().length === 3);
});
