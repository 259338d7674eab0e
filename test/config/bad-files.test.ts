/** One file per mistake, with the exact messages of `check` and `serve`. */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { loadConfig } from '../../src/config/load.ts';
import { formatProblems } from '../../src/config/problems.ts';
import { EXPECTED_PROBLEMS } from './expected-problems.ts';

const FOLDER = fileURLToPath(new URL('./bad/', import.meta.url));

test('every file of the folder has its expected problems, and the other way round', () => {
  assert.deepEqual(readdirSync(FOLDER).sort(), Object.keys(EXPECTED_PROBLEMS).sort());
});

for (const [name, expected] of Object.entries(EXPECTED_PROBLEMS)) {
  test(`${name} is refused with every problem at its line`, () => {
    const path = `${FOLDER}${name}`;
    const loaded = loadConfig(path, {});
    assert.ok('problems' in loaded, 'the file was accepted');
    assert.deepEqual(
      formatProblems(path, loaded.problems),
      expected.map((rest) => `${path}${rest}`),
    );
  });
}

test('an unreadable file is named with the reason', () => {
  const said = (path: string) => {
    const loaded = loadConfig(path, {});
    return 'problems' in loaded ? formatProblems(path, loaded.problems) : [];
  };
  assert.deepEqual(said('/nowhere/a.yaml'), ['/nowhere/a.yaml: the file does not exist']);
  assert.deepEqual(said(FOLDER), [`${FOLDER}: is a folder, not a file`]);
  assert.deepEqual(said('/dev/zero'), ['/dev/zero: the file is larger than 1048576 bytes']);
  assert.deepEqual(said(process.execPath).length, 1);
});

test('no message contains a secret', () => {
  const secret = 'hunter2-secret';
  const env = { REDIS_URL: `http://:${secret}@h`, DATABASE_URL: `my://u:${secret}@h`, SECRET: `${secret} x` };
  const loaded = loadConfig(`${FOLDER}variable-wrong-type.yaml`, { ...env, SLUICE_TEST_WORKERS: secret });
  assert.ok('problems' in loaded);
  const lines = formatProblems('f', loaded.problems);
  assert.deepEqual(lines, [
    'f:1: workers: must be auto or a whole number from 1 to 1024',
    'f:1: redis.url: must be a URL like redis://:password@127.0.0.1:6379/0 (from the environment variable REDIS_URL)',
    'f:1: database.url: must be a URL like postgres://user:password@127.0.0.1:5432/sluice (from the environment variable DATABASE_URL)',
  ]);
});
