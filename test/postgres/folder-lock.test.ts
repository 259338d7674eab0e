import assert from 'node:assert/strict';
import { chmodSync, existsSync, readdirSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { lockFolder } from '../../src/infra/postgres/folder-lock.ts';
import { runToEnd, spawnChild } from '../support/child.ts';
import { makeTempFolder } from '../support/temp-folder.ts';

const MODULE = new URL('../../src/infra/postgres/folder-lock.ts', import.meta.url).href;
/** Locks the folder of its first argument as the user of its second, reports it, and runs until it is killed. */
const HOLDER = `
  const { lockFolder } = await import('${MODULE}');
  if (process.argv[2]) process.setuid(Number(process.argv[2]));
  try {
    lockFolder(process.argv[1], 'a holder');
    console.log('locked');
    setInterval(() => undefined, 1_000);
  } catch (error) {
    console.log(error.code, error.message);
  }
`;
const WORDS = ['--input-type=module', '-e', HOLDER];

test('one holder at a time, released for the next, also within one process', () => {
  const folder = makeTempFolder();
  const unlock = lockFolder(folder, 'first');
  assert.throws(() => lockFolder(folder, 'second'), {
    code: 'folder_locked',
    message: /\(first, since /,
  });
  assert.throws(() => lockFolder(folder, 'second'), { code: 'folder_locked' }, 'a refusal released it');
  unlock();
  unlock();
  assert.deepEqual(readdirSync(folder), ['lock']);
  lockFolder(folder, 'third')();
});

test('of many simultaneous processes one gets the lock, and another one when that is killed', async (t) => {
  const folder = makeTempFolder();
  const children = Array.from({ length: 5 }, () => spawnChild(process.execPath, [...WORDS, folder]));
  for (const child of children) t.after(() => child.kill());
  const lines = await Promise.all(children.map((child) => child.waitForLine(/locked/)));
  const holders = children.filter((_, i) => lines[i] === 'locked');
  assert.equal(holders.length, 1, lines.join('\n'));
  const [holder] = holders;
  assert.throws(() => lockFolder(folder, 'next'), {
    message: new RegExp(`process ${holder?.pid} on `),
  });
  holder?.signal('SIGKILL');
  await holder?.exited;
  assert.ok(existsSync(join(folder, 'lock-holder')), 'it could not clean up');
  lockFolder(folder, 'next')();
});

test('a process of another container on the same folder is refused with the host of the holder', async (t) => {
  const folder = makeTempFolder();
  const unlock = lockFolder(folder, 'outside');
  t.after(unlock);
  const holder = [process.execPath, ...WORDS, folder];
  // In another pid namespace, where the system lets this user make one.
  const unshare =
    'exec $(unshare --user --pid true && echo unshare --user --map-root-user --pid --fork) "$@"';
  const { stdout } = await runToEnd('/bin/sh', ['-c', unshare, 'sh', ...holder]);
  assert.match(
    stdout.join(),
    new RegExp(`^folder_locked .* by process ${process.pid} on \\S+ \\(outside, since`),
  );
});

test('a folder without write permission is refused with the reason and the setting to change', async () => {
  const folder = makeTempFolder();
  // Root may write everywhere, so the holder becomes another user.
  const user = process.getuid?.() === 0 ? ['65534'] : [];
  chmodSync(folder, 0o500);
  const { stdout } = await runToEnd(process.execPath, [...WORDS, folder, ...user]);
  assert.match(
    stdout.join(),
    /^folder_locked cannot lock the folder .*EACCES.*: set database\.embeddedPath to/,
  );
});

test('a folder under one that holds no folders is refused at once', async () => {
  const { stdout } = await runToEnd(process.execPath, [...WORDS, '/proc/nope'], { timeoutMs: 20_000 });
  assert.match(stdout.join(), /^folder_locked cannot lock the folder \/proc\/nope .*ENOENT/);
});

test('a folder is locked although the holder cannot be written down, as on a full disk', () => {
  const folder = makeTempFolder();
  const holderPath = join(folder, 'lock-holder');
  symlinkSync(join(folder, 'none', 'file'), holderPath);
  const unlock = lockFolder(folder, 'first');
  const refusal = { code: 'folder_locked', message: /is in use by another process: stop it/ };
  assert.throws(() => lockFolder(folder, 'second'), refusal);
  // A full disk leaves an empty file.
  unlinkSync(holderPath);
  writeFileSync(holderPath, '');
  assert.throws(() => lockFolder(folder, 'second'), refusal);
  unlock();
  assert.deepEqual(readdirSync(folder), ['lock']);
});
