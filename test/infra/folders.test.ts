import assert from 'node:assert/strict';
import fs, { chmodSync, mkdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { test } from 'node:test';
import { makeFolder } from '../../src/infra/folders.ts';
import { runToEnd } from '../support/child.ts';
import { tempFolder } from '../support/temp-folder.ts';

const MODULE = new URL('../../src/infra/folders.ts', import.meta.url).href;

test('a folder is made with those above it, for its owner alone, and one that exists stays as it is', (t) => {
  const root = tempFolder(t);
  chmodSync(root, 0o750);
  const path = join(root, 'a/b/c');
  makeFolder(path);
  makeFolder(path);
  makeFolder(root);
  for (const each of ['a', 'a/b', 'a/b/c']) assert.equal(statSync(join(root, each)).mode & 0o777, 0o700);
  assert.equal(statSync(root).mode & 0o777, 0o750);
});

test('a folder that another process makes at the same moment is no error', (t) => {
  const path = join(tempFolder(t), 'a/b');
  const mocked = t.mock.method(fs, 'mkdirSync', (...args: Parameters<typeof mkdirSync>) => {
    mocked.mock.restore();
    syncBuiltinESMExports();
    try {
      return mkdirSync(...args);
    } finally {
      mkdirSync(path, { recursive: true });
    }
  });
  syncBuiltinESMExports();
  makeFolder(path);
  assert.equal(mocked.mock.callCount(), 1);
});

test('a folder that cannot be made is an error at once: under /proc, behind a dead link, where a file is', async (t) => {
  const root = tempFolder(t);
  writeFileSync(join(root, 'file'), '');
  symlinkSync('nowhere', join(root, 'link'));
  assert.throws(() => makeFolder(join(root, 'file')), { code: 'EEXIST' });
  assert.throws(() => makeFolder(join(root, 'file/a')), { code: 'ENOTDIR' });
  for (const path of ['/proc/nope', '/proc/nope/deep', join(root, 'link'), join(root, 'link/a')]) {
    // In a process of its own, which can be ended should it never return.
    const code = `(await import('${MODULE}')).makeFolder(process.argv[1])`;
    const words = ['--input-type=module', '-e', code, path];
    const ran = await runToEnd(process.execPath, words, { timeoutMs: 20_000 });
    assert.equal(ran.code, 1, path);
    assert.match(ran.stderr.join(), /ENOENT|EEXIST/, path);
  }
});
