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

test('workers have two arenas of malloc unless another number was chosen', async (t) => {
  const before = { ...process.env };
  t.after(() => {
    process.env = before;
  });
  const exec = join(tempFolder(t), 'worker.cjs');
  writeFileSync(exec, 'process.send(process.env.MALLOC_ARENA_MAX, () => process.exit());');
  const log = { level: 'info', format: 'json', file: null } as const;
  const options = { exec, execArgv: [], workerCount: () => 1, log: () => log };
  const arenas = async () => {
    const worker = forkWorker(0, { ...options, dataPath: { engine: 'wire', wire: 'handle' } }, false);
    const [[said]] = await Promise.all([once(worker, 'message'), once(worker, 'exit')]);
    return said;
  };
  delete process.env.MALLOC_ARENA_MAX;
  assert.equal(await arenas(), '2');
  process.env.MALLOC_ARENA_MAX = '5';
  assert.equal(await arenas(), '5');
});

test('workers inherit the environment without secrets, also parts of them, and the socket of systemd, which the primary alone needs', async (t) => {
  const withheld = ['DATABASE_URL', 'SLUICE_KEY_SECRET', 'NOTIFY_SOCKET', 'WATCHDOG_USEC'];
  const before = { ...process.env };
  t.after(() => {
    process.env = before;
  });
  for (const name of withheld) process.env[name] = 'x';
  // `${VAR}` of the configuration file: a whole secret, and a part of one.
  const secret = { ADMIN_TOKEN: 'abcdef-token', DB_PASSWORD: 'p4ss' };
  const kept = {
    OF_THE_USER: 'abcdef-token-of-the-user',
    SHORT: 'app',
    EMPTY: '',
    NODE_EXTRA_CA_CERTS: 'ca.pem',
    SSL_CERT_FILE: 'ca.pem',
  };
  Object.assign(process.env, secret, kept);
  withheld.push(...Object.keys(secret));
  let secrets = ['abcdef-token'];
  const exec = join(tempFolder(t), 'worker.cjs');
  writeFileSync(exec, 'process.send(Object.keys(process.env), () => process.exit());');
  const log = { level: 'info', format: 'json', file: null } as const;
  const options = { exec, execArgv: [], workerCount: () => 1, log: () => log, secrets: () => secrets };
  secrets = [...secrets, 'postgres://app:p4ss@db/app?sslrootcert=ca.pem'];
  const worker = forkWorker(0, { ...options, dataPath: { engine: 'wire', wire: 'handle' } }, false);
  const names: string[] = (await once(worker, 'message'))[0];
  if (worker.exitCode === null) await once(worker, 'exit');
  assert.deepEqual(
    Object.keys(kept).filter((name) => !names.includes(name)),
    [],
  );
  assert.deepEqual(
    withheld.filter((name) => names.includes(name)),
    [],
  );
});
