/** bin/sluice: the command as an operator has it on PATH. */
import assert from 'node:assert/strict';
import {
  chmodSync,
  constants,
  copyFileSync,
  cpSync,
  mkdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
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
  assert.deepEqual(stdout, ['mine.yaml:1: pools.app.backends[0].url: must begin with http:// or https://']);
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
  assert.deepEqual([built.code, built.stdout, built.stderr], [0, ['built serve -x'], []]);
  mkdirSync(join(folder, 'src/deep'), { recursive: true });
  writeFileSync(join(folder, 'src/deep/a.ts'), '');
  const builtAt = statSync(join(folder, 'dist/cli.js')).mtimeMs / 1000;
  utimesSync(join(folder, 'src/deep/a.ts'), builtAt - 9, builtAt - 9);
  assert.deepEqual((await run(`${join(folder, 'bin')}:${tools}`)).stderr, []);
  utimesSync(join(folder, 'src/deep/a.ts'), builtAt + 9, builtAt + 9);
  const stale = await run(`${join(folder, 'bin')}:${tools}`);
  assert.deepEqual([stale.code, stale.stdout], [0, ['built serve -x']]);
  assert.match(stale.stderr.join(), /^sluice: running dist\/, which is older than src\/: run make build/);
});

test('the launcher runs in a folder that the user may not read', async (t) => {
  // A copy, because another user may not be able to read this checkout.
  const checkout = tempFolder(t, 'sluice launcher-');
  chmodSync(checkout, 0o755);
  for (const path of ['bin/sluice', 'scripts/check-node.cjs', 'package.json'])
    cpSync(join(ROOT, path), join(checkout, path));
  mkdirSync(join(checkout, 'node_modules/.bin'), { recursive: true });
  copyFileSync(process.execPath, join(checkout, 'node_modules/.bin/node'), constants.COPYFILE_FICLONE);
  mkdirSync(join(checkout, 'src'));
  writeFileSync(join(checkout, 'src/cli.ts'), 'console.log("from src", process.argv[2] as string);\n');
  const folder = tempFolder(t, 'sluice launcher-');
  // Root may read every folder, so this one is somebody else's then. Others close their own.
  const options = { cwd: folder, ...(process.getuid?.() === 0 && { uid: 65_534, gid: 65_534 }) };
  const script = 'chmod 0 . 2>/dev/null; exec "$0" version';
  const ran = await runToEnd('/bin/sh', ['-c', script, join(checkout, 'bin/sluice')], options);
  chmodSync(folder, 0o700);
  assert.deepEqual([ran.code, ran.stderr, ran.stdout], [0, [], ['from src version']]);
});

test('package.json gives the launcher to npm', () => {
  assert.deepEqual(JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')).bin, {
    sluice: 'bin/sluice',
  });
});
