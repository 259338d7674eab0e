/** bin/sluice: the command as an operator has it on PATH. */
import assert from 'node:assert/strict';
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { runToEnd } from '../support/child.ts';
import { tempFolder } from '../support/temp-folder.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const LAUNCHER = join(ROOT, 'bin/sluice');

test('the launcher runs from any folder and through links on PATH, and reads files of the caller', async (t) => {
  const folder = tempFolder(t, 'sluice launcher-');
  mkdirSync(join(folder, 'bin'));
  symlinkSync(LAUNCHER, join(folder, 'bin/first'));
  symlinkSync('first', join(folder, 'bin/sluice'));
  writeFileSync(join(folder, 'mine.yaml'), 'pools: { app: { backends: [{ url: "ftp://a" }] } }\n');
  const PATH = `${join(folder, 'bin')}:${process.env.PATH}`;
  const { code, stdout } = await runToEnd('sluice', ['check', '--config', 'mine.yaml'], {
    cwd: folder,
    env: { PATH },
  });
  assert.equal(code, 2);
  assert.deepEqual(stdout, ['mine.yaml:1: pools.app.backends[0].url: must begin with http://']);
});

test('the launcher runs dist/ if it is built, and without a Node.js says how to get one', async (t) => {
  const folder = tempFolder(t, 'sluice launcher-');
  mkdirSync(join(folder, 'bin'));
  mkdirSync(join(folder, 'dist'));
  cpSync(LAUNCHER, join(folder, 'bin/sluice'));
  writeFileSync(join(folder, 'dist/cli.js'), 'console.log("built", process.argv.slice(2).join(" "))');
  symlinkSync(process.execPath, join(folder, 'bin/node'));
  const run = (PATH: string) =>
    runToEnd('/bin/sh', [join(folder, 'bin/sluice'), 'serve', '-x'], { env: { PATH } });
  const tools = '/usr/bin:/bin';
  const built = await run(`${join(folder, 'bin')}:${tools}`);
  assert.deepEqual([built.code, built.stdout], [0, ['built serve -x']]);
});

test('package.json gives the launcher to npm', () => {
  assert.deepEqual(JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')).bin, {
    sluice: 'bin/sluice',
  });
});
