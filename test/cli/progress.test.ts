import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { runToEnd } from '../support/child.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { startTerminal } from '../support/terminal.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

test('a long command shows how far it is on a terminal, and only its lines elsewhere', async (t) => {
  const path = join(tempFolder(t, 'sluice-progress-'), 'work.ts');
  writeFileSync(
    path,
    `import { startProgress } from '${ROOT}src/cli/progress.ts';
const { begin, say, stop } = startProgress(2);
begin('first');
say('a line');
await new Promise((done) => setTimeout(done, 700));
begin('second', 3);
await new Promise((done) => setTimeout(done, 700));
stop();
stop();
console.log('end');
`,
  );
  const plain = await runToEnd(process.execPath, [path]);
  assert.deepEqual([plain.code, plain.stdout, plain.stderr], [0, ['a line', 'end'], []]);
  const terminal = startTerminal(t, `${process.execPath} ${path}`);
  await terminal.sees('0 of 2 done');
  await terminal.sees('1 of 3 done');
  await terminal.sees('end');
  assert.match(terminal.plain(), /a line\r?\n[\s\S]*second/);
  assert.equal(await terminal.exited, 0);
});

test('the install shows how many packages are there on a terminal, hides nothing that npm says, and keeps its exit code', async (t) => {
  const folder = tempFolder(t, 'sluice-install-');
  const npm = join(folder, 'npm');
  writeFileSync(npm, '#!/bin/sh\nsleep 0.7\necho "npm says $*" >&2\nexit 3\n', { mode: 0o755 });
  const env = { PATH: `${folder}:${process.env.PATH}` };
  const words = ['scripts/npm-progress.cjs', 'ci', '--omit=dev'];
  const plain = await runToEnd(process.execPath, words, { cwd: ROOT, env });
  assert.deepEqual([plain.code, plain.stdout, plain.stderr], [3, [], ['npm says ci --omit=dev']]);
  const terminal = startTerminal(t, `${process.execPath} ${words.join(' ')}`, { cwd: ROOT, env });
  await terminal.sees('packages');
  await terminal.sees('npm says ci --omit=dev --no-progress');
  assert.equal(await terminal.exited, 3);
  const [, there, all] = /(\d+) of (\d+) packages/.exec(terminal.plain()) ?? [];
  assert.ok(Number(there) > 50 && Number(all) >= Number(there), `${there} of ${all}`);
});
