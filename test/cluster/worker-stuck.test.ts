import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { startLoad } from '../support/load.ts';
import { type SluiceProcess, startSluice } from '../support/sluice.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { waitFor } from '../support/wait.ts';
import { ask, poolOf, startNamed, workersOf } from './support.ts';

const HANG_FILE = fileURLToPath(new URL('./fixtures/hang.cjs', import.meta.url));
/** Promised are 12 s; the rest is for a busy machine. */
const REPLACED_MS = 16_000;

async function startHanging(t: TestContext, workers: number, env: Record<string, string>) {
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const sluice = await startSluice({
    config: { workers, pools: poolOf([backend]) },
    env: { NODE_OPTIONS: `--require ${HANG_FILE}`, ...env },
  });
  t.after(() => sluice.stop());
  return sluice;
}

const logged = (sluice: SluiceProcess, msg: string) => sluice.jsonLines((line) => line.msg === msg);

/** Waits until all workers serve and none of these does, with requests on new connections meanwhile, all of which must succeed. */
async function untilReplaced(sluice: SluiceProcess, pids: number[], workers: number): Promise<void> {
  const hungAtMs = performance.now();
  const isReplaced = async () => {
    assert.equal((await ask(sluice.proxyUrl)).status, 200);
    const serving = (await workersOf(sluice.adminUrl)).filter(({ state }) => state === 'serving');
    return serving.length === workers && serving.every(({ pid }) => !pids.includes(pid));
  };
  await waitFor('all workers to serve again', isReplaced, { timeoutMs: REPLACED_MS, everyMs: 50 });
  assert.ok(performance.now() - hungAtMs < REPLACED_MS);
  const killed = logged(sluice, 'worker died').map(({ workerPid, signal }) => [workerPid, signal]);
  for (const pid of pids) assert.ok(killed.some((death) => String(death) === `${pid},SIGKILL`));
}

test('B39: a worker that hangs is killed and replaced within 12 s, others serve on, and the next hang is logged with its stack', async (t) => {
  const sluice = await startHanging(t, 2, {});
  const connections = 8;
  const load = startLoad({ url: sluice.proxyUrl, connections, pauseMs: 5 });
  t.after(() => load.stop());
  await load.atLeast(200);
  const [first = 0] = sluice.workerPids();
  process.kill(first, 'SIGUSR2');
  await untilReplaced(sluice, [first], 2);
  await load.atLeast(200);
  assert.deepEqual(Object.keys(load.result.statuses), ['200']);
  assert.ok(load.failureCount <= connections, JSON.stringify(load.result.failures));
  assert.deepEqual(logged(sluice, 'worker hangs'), []);

  const [second = 0] = sluice.workerPids();
  process.kill(second, 'SIGUSR2');
  await untilReplaced(sluice, [second], 2);
  const [line] = logged(sluice, 'worker hangs');
  assert.equal(line?.pid, second);
  assert.match(String(line.stack), /^hangForEver \(.*fixtures\/hang\.cjs:7:\d+\)/);
});

test('with SLUICE_WATCH_LOOPS=1 the first hang is logged; workers that are stopped, or wait for the system, are replaced too', async (t) => {
  const fifo = join(tempFolder(t), 'nobody-writes');
  execFileSync('mkfifo', [fifo]);
  const sluice = await startHanging(t, 3, { SLUICE_WATCH_LOOPS: '1', HANG_IN: fifo });
  const [waiting = 0, stopped = 0] = sluice.workerPids();
  process.kill(waiting, 'SIGUSR2');
  process.kill(stopped, 'SIGSTOP');
  await untilReplaced(sluice, [waiting, stopped], 3);
  const lines = logged(sluice, 'worker hangs outside of JavaScript');
  assert.deepEqual(
    lines.map(({ pid, stack }) => [pid, stack]),
    [[waiting, null]],
  );
});
