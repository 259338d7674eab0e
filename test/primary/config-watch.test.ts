import assert from 'node:assert/strict';
import {
  appendFileSync,
  mkdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { pino } from 'pino';
import { digestOf } from '../../src/config/read-file.ts';
import { ConfigWatch } from '../../src/primary/config-watch.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { waitFor } from '../support/wait.ts';

function watched(t: TestContext, path: string): { count: () => number; watch: ConfigWatch } {
  let count = 0;
  const onChange = () => {
    count++;
  };
  const watch = new ConfigWatch({ path, logger: pino({ level: 'silent' }), onChange });
  t.after(() => watch.close());
  watch.configure(true, digestOf(readFileSync(path, 'utf8')));
  return { count: () => count, watch };
}

test('a file that is written in place, replaced by a rename, or absent for a moment is noticed once per change', async (t) => {
  const folder = tempFolder(t);
  const path = join(folder, 'sluice.yaml');
  writeFileSync(path, 'one');
  const { count } = watched(t, path);
  writeFileSync(path, 'two');
  await waitFor('the write', () => count() === 1);
  writeFileSync(join(folder, '.swap'), 'three');
  renameSync(join(folder, '.swap'), path);
  await waitFor('the rename', () => count() === 2);
  renameSync(path, `${path}~`);
  await pause(300);
  writeFileSync(path, 'four');
  await waitFor('the new file', () => count() === 3);
  // Another file of the same text is no change, nor is one beside it.
  writeFileSync(path, 'four');
  writeFileSync(join(folder, 'other'), 'x');
  await pause(800);
  assert.equal(count(), 3);
});

test('the swap of a ConfigMap is noticed, and so is a link out of the folder', async (t) => {
  const folder = tempFolder(t);
  for (const version of ['..1', '..2', 'elsewhere']) {
    mkdirSync(join(folder, version));
    writeFileSync(join(folder, version, 'sluice.yaml'), version);
  }
  mkdirSync(join(folder, 'mount'));
  const data = join(folder, 'mount', '..data');
  const path = join(folder, 'mount', 'sluice.yaml');
  symlinkSync('../..1', data);
  symlinkSync('..data/sluice.yaml', path);
  const { count } = watched(t, path);
  symlinkSync('../..2', `${data}_tmp`);
  renameSync(`${data}_tmp`, data);
  await waitFor('the swap', () => count() === 1);
  // No event in the watched folder tells of this one.
  writeFileSync(join(folder, '..2', 'sluice.yaml'), 'changed');
  await waitFor('the change behind the link', () => count() === 2);
});

test('a file that is being written is left alone until it rests', async (t) => {
  const path = join(tempFolder(t), 'sluice.yaml');
  writeFileSync(path, '');
  const { count } = watched(t, path);
  for (let i = 0; i < 20; i++) {
    appendFileSync(path, 'half a file ');
    await pause(30);
  }
  assert.ok(count() <= 1, `${count()}`);
  await waitFor('the whole file', () => count() >= 1);
  const settled = count();
  await pause(800);
  assert.equal(count(), settled);
});

test('turned off it notices nothing; turned on, what has changed since the configuration in force was read', async (t) => {
  const path = join(tempFolder(t), 'sluice.yaml');
  writeFileSync(path, 'one');
  const { count, watch } = watched(t, path);
  watch.configure(false, '');
  writeFileSync(path, 'two');
  await pause(500);
  watch.configure(true, digestOf('two'));
  await pause(500);
  assert.equal(count(), 0);
  unlinkSync(path);
  writeFileSync(path, 'three');
  await waitFor('the change', () => count() === 1);
  watch.configure(false, '');
  watch.configure(true, digestOf('two'));
  await waitFor('what has changed meanwhile', () => count() === 2);
});
