import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { PoolSettings } from '../../../src/contract/pool-settings.ts';
import { HealthFile } from '../../../src/primary/health/health-file.ts';
import { HealthRegistry } from '../../../src/primary/health/health-registry.ts';
import { makeTempFolder, removeTempFolder } from '../../support/temp-folder.ts';
import { waitFor } from '../../support/wait.ts';
import { keepLog, makePool } from '../workers/fixtures/harness.ts';

function poolOf(more: Partial<PoolSettings> = {}, portOfB = 2): PoolSettings {
  const backends = ['a', 'b', 'c'].map((id, i) => ({
    id,
    host: '127.0.0.1',
    port: id === 'b' ? portOfB : i + 1,
    tls: false,
    weight: 1,
    backup: false,
  }));
  const outlier = { consecutiveErrors: 5, baseEjectionMs: 1, maxEjectionMs: 1, maxEjectedPercent: 50 };
  return makePool({ backends, outlier, ...more });
}

function open(t: TestContext) {
  const folder = makeTempFolder('health-');
  t.after(() => removeTempFolder(folder));
  const path = join(folder, 'data', 'health.json');
  const { logger, lines } = keepLog();
  const start = (pool = poolOf()) => {
    const registry = new HealthRegistry();
    const file = new HealthFile({ path, saved: () => registry.saved(), logger });
    t.after(() => file.close());
    registry.restore(file.load());
    registry.configure([pool]);
    return { registry, file, states: () => registry.states().map(({ state }) => state) };
  };
  return { path, lines, start };
}

const PASS = { atMs: 1, ok: true, durationMs: 1, detail: 'status 200' };
const UNTIL_MS = Date.now() + 60_000;
const EJECTION = { ejectionReason: '5 consecutive errors', ejectedUntilMs: UNTIL_MS, timesEjected: 2 };

/** a is up and ejected, b is up, c is drained and unknown. */
function play(registry: HealthRegistry): void {
  for (const id of ['a', 'b']) registry.record('app', id, PASS);
  registry.setEjection('app', 'a', EJECTION);
  registry.setEnabled('app', 'c', false);
}

test('drains, ejections and what was up are known to the next primary, and the first probe decides alone', async (t) => {
  const { path, start, lines } = open(t);
  const first = start();
  play(first.registry);
  await first.file.close();
  assert.equal(statSync(path).mode & 0o777, 0o600);
  const { registry, states } = start();
  assert.deepEqual(states(), ['ejected', 'up', 'draining']);
  assert.deepEqual(registry.ejection('app', 'a')?.timesEjected, 2);
  assert.equal(registry.state('app', 'a')?.ejectedUntilMs, UNTIL_MS);
  assert.equal(registry.availability()[1]?.rampedMs, null, 'no slow start');
  registry.record('app', 'b', { ...PASS, ok: false, detail: 'timeout' });
  assert.equal(registry.state('app', 'b')?.state, 'down');
  assert.deepEqual(lines, []);
});

test('each change is written soon, by a whole file in place of the other', async (t) => {
  const { path, start } = open(t);
  const { registry, file } = start();
  assert.ok(!existsSync(path));
  registry.setEnabled('app', 'c', false);
  file.note();
  file.note();
  await waitFor('the file', () => existsSync(path));
  assert.equal(JSON.parse(readFileSync(path, 'utf8')).backends[0].id, 'c');
  await waitFor('no draft to be left', () => readdirSync(dirname(path)).length === 1);
});

test('whoever waits finds each change in the file, also one that came while it was written', async (t) => {
  const { path, start } = open(t);
  const { registry, file } = start();
  const drained = () => JSON.parse(readFileSync(path, 'utf8')).backends.map(({ id }: { id: string }) => id);
  registry.setEnabled('app', 'a', false);
  const first = file.flush();
  await Promise.resolve();
  const more = ['b', 'c'].map((id) => {
    registry.setEnabled('app', id, false);
    return file.flush();
  });
  await first;
  assert.ok(drained().includes('a'));
  await Promise.all(more);
  assert.deepEqual(drained(), ['a', 'b', 'c']);
});

test('a file that is lent to another primary is left alone until it is taken back', async (t) => {
  const { path, start } = open(t);
  const { registry, file } = start();
  registry.setEnabled('app', 'c', false);
  file.note();
  await file.lend();
  const read = () => JSON.parse(readFileSync(path, 'utf8')).backends;
  assert.equal(read()[0].id, 'c', 'the last change is in it');
  writeFileSync(path, '{"backends":["of the other"]}');
  registry.setEnabled('app', 'c', true);
  await file.close();
  assert.deepEqual(read(), ['of the other']);
  file.takeBack();
  await waitFor('the file', () => read().length === 0);
});

test('an old file, or one from the future, gives drains and ejections that have not ended; another address only the drain', async (t) => {
  const { path, start } = open(t);
  const first = start();
  play(first.registry);
  first.registry.setEnabled('app', 'b', false);
  await first.file.close();
  const saved = JSON.parse(readFileSync(path, 'utf8'));
  for (const ageMs of [-60_000, 600_000]) {
    writeFileSync(path, JSON.stringify({ ...saved, savedAtMs: Date.now() - ageMs }));
    const { registry, states } = start();
    assert.deepEqual(states(), ['unknown', 'draining', 'draining']);
    assert.equal(registry.state('app', 'a')?.ejectedUntilMs, UNTIL_MS);
  }
  writeFileSync(path, JSON.stringify(saved));
  const moved = start(poolOf({}, 99));
  assert.deepEqual([moved.states()[1], moved.registry.state('app', 'b')?.health], ['draining', 'unknown']);
  saved.backends[0].ejection.ejectedUntilMs = Date.now() - 1;
  writeFileSync(path, JSON.stringify(saved));
  assert.equal(start().states()[0], 'up', 'the ejection is over');
  assert.deepEqual(start(poolOf({ name: 'other' })).states(), ['unknown', 'unknown', 'unknown']);
});

test('a damaged file is warned about and ignored', async (t) => {
  const { path, start, lines } = open(t);
  mkdirSync(dirname(path), { recursive: true });
  const good = { version: 1, savedAtMs: Date.now(), backends: [] };
  for (const text of [
    '',
    '{"version":1',
    '[]',
    'null',
    JSON.stringify({ ...good, version: 2 }),
    JSON.stringify({ ...good, backends: [{ pool: 'app', id: 'a', drained: true }] }),
    JSON.stringify({ ...good, savedAtMs: 'x' }),
  ]) {
    writeFileSync(path, text);
    lines.length = 0;
    assert.deepEqual(start().states(), ['unknown', 'unknown', 'unknown']);
    assert.deepEqual(
      lines.map(({ msg }) => msg),
      ['the saved health of backends cannot be used'],
      text,
    );
  }
});

test('what cannot be written is warned about once, and nothing else happens', async (t) => {
  const { path, start, lines } = open(t);
  mkdirSync(path, { recursive: true });
  const { file, registry } = start();
  registry.setEnabled('app', 'c', false);
  lines.length = 0;
  for (let i = 0; i < 3; i++) await file.close();
  assert.equal(lines.length, 1);
  assert.match(lines[0]!.msg, /^the health of backends cannot be saved/);
});
