import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

test('every attack in docs/security.md names tests that exist', () => {
  const page = readFileSync(join(ROOT, 'docs/security.md'), 'utf8');
  const table = page.slice(page.indexOf('## What is refused'), page.indexOf('## What is not defended'));
  const rows = table.split('\n').filter((line) => line.startsWith('| ') && !line.startsWith('| attack'));
  assert.ok(rows.length > 20);
  for (const row of rows.filter((line) => !line.startsWith('| ---'))) {
    const named = [...row.matchAll(/`(test\/[^`]+)`/g)].map(([, path = '']) => path);
    assert.ok(named.length > 0, row);
    for (const path of named) assert.ok(existsSync(join(ROOT, path)), path);
  }
});
