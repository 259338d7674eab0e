import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { openStorage } from '../../src/primary/storage.ts';
import { silent } from '../postgres/support.ts';
import { runToEnd } from '../support/child.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { within } from '../support/wait.ts';
import { keepLog } from './workers/fixtures/harness.ts';

test('a stop while the embedded database still starts is no failure of it', async (t) => {
  const folder = tempFolder(t);
  const { logger, lines } = keepLog();
  const settings = { url: null, embeddedPath: join(folder, 'postgres') };
  const storage = openStorage(settings, logger, { purpose: 'a test', lazy: true });
  const asked = storage.database.query('select 1').catch(() => undefined);
  await storage.close();
  await asked;
  await assert.rejects(storage.ready, { code: 'database_unavailable' });
  assert.deepEqual(
    lines.filter(({ level }) => Number(level) > 30),
    [],
  );
});

test('an embedded database that is not lent cannot be taken back: its folder is locked already', async (t) => {
  const settings = { url: null, embeddedPath: join(tempFolder(t), 'postgres') };
  const storage = openStorage(settings, silent, { purpose: 'a test' });
  storage.takeBack();
  await storage.close();
  await assert.rejects(storage.ready, { code: 'database_unavailable' });
});

test('while a database is silent its clock is that of this machine with the last known difference, after half a second', async (t) => {
  const url = 'postgres://postgres@127.0.0.1:1/none';
  const storage = openStorage({ url, embeddedPath: '' }, silent, { purpose: 'a test' });
  t.after(() => storage.close());
  const hourUs = 3_600_000_000;
  const asked = t.mock.method(storage.database, 'nowUs', async () => Date.now() * 1_000 + hourUs);
  await storage.nowUs();
  asked.mock.mockImplementation(() => new Promise(() => undefined));
  const aheadUs = (await within(storage.nowUs(), 5_000, 'the time')) - Date.now() * 1_000;
  assert.ok(Math.abs(aheadUs - hourUs) < 1e6, String(aheadUs));
});

/** Opens the folder of its first argument as the user of its second, and prints what comes of it. */
const OPENER = `
  const { openStorage } = await import('${new URL('../../src/primary/storage.ts', import.meta.url).href}');
  const logger = { error() {}, warn() {}, info() {}, debug() {} };
  if (process.argv[2]) process.setuid(Number(process.argv[2]));
  const settings = { url: null, embeddedPath: process.argv[1] };
  try {
    const storage = openStorage(settings, logger, { purpose: 'a test', lazy: true });
    console.log('unused', storage.isUnused);
  } catch (error) {
    console.log(error.code, error.message);
  }
`;

test('a database folder that this user cannot read is refused: it is not taken for one that was never used', async (t) => {
  const folder = tempFolder(t);
  chmodSync(folder, 0o755);
  const used = join(folder, 'postgres');
  mkdirSync(join(used, 'data'), { recursive: true });
  chmodSync(used, 0o000);
  // Root may read everything, so the child becomes another user.
  const user = process.getuid?.() === 0 ? ['65534'] : [];
  const open = (path: string) =>
    runToEnd(process.execPath, ['--input-type=module', '-e', OPENER, path, ...user]);
  const refused = await open(used);
  chmodSync(used, 0o700);
  assert.match(
    refused.stdout.join(),
    /^folder_locked cannot lock the folder .*EACCES.*: set database\.embeddedPath/,
    refused.stderr.join(),
  );
  assert.deepEqual((await open(join(folder, 'other'))).stdout, ['unused true']);
});

test('a database folder behind a loop of links is refused, whoever asks', (t) => {
  const folder = tempFolder(t);
  symlinkSync('loop', join(folder, 'loop'));
  const settings = { url: null, embeddedPath: join(folder, 'loop') };
  assert.throws(() => openStorage(settings, silent, { purpose: 'a test', lazy: true }), {
    code: 'folder_locked',
    message: /ELOOP/,
  });
});
