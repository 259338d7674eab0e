import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { forkWorker, workerArguments } from '../../../src/primary/workers/fork-worker.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const NO_DEBUGGER = '--disable-sigusr1';

test('workers get the arguments of their primary, no debugger by a signal, and a young generation of 8 MiB unless one was chosen', () => {
  assert.deepEqual(workerArguments([], ''), [NO_DEBUGGER, '--max-semi-space-size=8']);
  const inspected = workerArguments(['--inspect'], '--no-warnings');
  assert.deepEqual(inspected, ['--inspect', NO_DEBUGGER, '--max-semi-space-size=8']);
  assert.deepEqual(workerArguments(['--max-semi-space-size=32'], ''), [
    '--max-semi-space-size=32',
    NO_DEBUGGER,
  ]);
  assert.deepEqual(workerArguments([], '--max_semi_space_size=32'), [NO_DEBUGGER]);
});

test('workers inherit the environment without the secrets and the socket of systemd that the primary alone needs', async (t) => {
  const withheld = ['DATABASE_URL', 'SLUICE_KEY_SECRET', 'NOTIFY_SOCKET', 'WATCHDOG_USEC'];
  const before = { ...process.env };
  t.after(() => {
    process.env = before;
  });
  for (const name of [...withheld, 'OF_THE_USER']) process.env[name] = 'x';
  const exec = join(tempFolder(t), 'worker.cjs');
  writeFileSync(exec, 'process.send(Object.keys(process.env), () => process.exit());');
  const log = { level: 'info', format: 'json', file: null } as const;
  const options = { exec, execArgv: [], workerCount: () => 1, log: () => log };
  const worker = forkWorker(0, { ...options, dataPath: { engine: 'wire', wire: 'handle' } }, false);
  const names: string[] = (await once(worker, 'message'))[0];
  if (worker.exitCode === null) await once(worker, 'exit');
  assert.ok(names.includes('OF_THE_USER'));
  assert.deepEqual(
    withheld.filter((name) => names.includes(name)),
    [],
  );
});
