/** What the browser loads: its size, and that nothing is loaded from elsewhere. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { buildDashboard } from '../support/dashboard.ts';
import { filesUnder } from '../support/imports.ts';

const ROOT = fileURLToPath(new URL('../../dist/', import.meta.url));
const MAX_BYTES = 150 * 1024;

test('the dashboard is at most 150 KiB, compressed by either coding', async () => {
  await buildDashboard();
  for (const ending of ['.br', '.gz']) {
    const files = filesUnder(ROOT, 'dashboard', ending);
    const bytes = files.reduce((sum, path) => sum + readFileSync(`${ROOT}${path}`).length, 0);
    assert.ok(files.length >= 3, files.join());
    assert.ok(bytes <= MAX_BYTES, `${ending}: ${bytes} bytes`);
  }
});

test('its page has no script and no style of its own, and names no other server', async () => {
  await buildDashboard();
  const page = readFileSync(`${ROOT}dashboard/index.html`, 'utf8');
  assert.doesNotMatch(page, /<style|style=|<script[^>]*>[^<]|\son\w+=|https?:/);
  assert.match(page, /<script type="module" crossorigin src="\/assets\/[\w-]+\.js"><\/script>/);
});
