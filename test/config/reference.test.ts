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

test('no key of the reference page is older than the key above it', () => {
  const page = readFileSync(`${ROOT}docs/configuration.md`, 'utf8').split('## Not supported')[0] ?? '';
  const since = new Map(
    [...page.matchAll(/^\| `([^`]+)` \|.* \| ([\d.]+) \|$/gm)].map(([, key, of]) => [key, of]),
  );
  const older = [...since].filter(([key = '', of]) => {
    const above = key.replace(/(\.\*|\[\])*\.[^.]+$/, '');
    return above !== key && Number(of) < Number(since.get(above));
  });
  assert.ok(since.size > 60);
  assert.deepEqual(older, []);
});

test('docs/metrics.md says Unix time of points in time alone', () => {
  const page = readFileSync(`${ROOT}docs/metrics.md`, 'utf8');
  const names = [...page.matchAll(/^\| `(\w+)` \|.* \| Unix time, s \|/gm)].map(([, name = '']) => name);
  assert.ok(names.length > 0);
  assert.deepEqual(
    names.filter((name) => !name.endsWith('_timestamp_seconds')),
    [],
  );
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
