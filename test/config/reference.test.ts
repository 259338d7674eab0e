/** The reference page and the example must match the schema. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

test('docs/configuration.md and docs/metrics.md match the schema and the table of metrics', () => {
  const child = spawnSync(process.execPath, ['scripts/config-docs.ts', '--check'], {
    cwd: ROOT,
    encoding: 'utf8',
  });
  assert.deepEqual([child.status, child.stderr], [0, '']);
});

test('config/example.yaml shows every supported key of the reference page', () => {
  const page = readFileSync(`${ROOT}docs/configuration.md`, 'utf8').split('## Not supported')[0] ?? '';
  const paths = [...page.matchAll(/^\| `([^`]+)` \|/gm)].map((match) => match[1] ?? '');
  assert.ok(paths.length > 60, `${paths.length} keys`);
  const example = readFileSync(`${ROOT}config/example.yaml`, 'utf8');
  const missing = paths.filter((path) => {
    const key = path.split('.').at(-1)?.replace('[]', '');
    return !new RegExp(`^[ #-]*${key}:`, 'm').test(example);
  });
  assert.deepEqual(missing, []);
});
