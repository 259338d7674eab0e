/** What fails around the embedded database: its thread, its start, its disk, its folder. */
import assert from 'node:assert/strict';
import { mkdirSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import pg from 'pg';
import { ClientRepository } from '../../src/clients/client-repository.ts';
import { EmbeddedPostgres } from '../../src/infra/postgres/embedded-postgres.ts';
import { lockFolder } from '../../src/infra/postgres/folder-lock.ts';
import { keepLog } from '../primary/workers/fixtures/harness.ts';
import { runToEnd } from '../support/child.ts';
import { makeTempFolder } from '../support/temp-folder.ts';
import { waitFor, within } from '../support/wait.ts';
import { openEmbedded, PREPARED, START } from './embedded-lab.ts';
import { startFeed } from './feed-lab.ts';
import { INPUT, silent } from './support.ts';

test('a thread that ends is restarted, is idle without writers, and writes of other programs are seen', async (t) => {
  const folder = makeTempFolder();
  const embedded = openEmbedded(t, folder, PREPARED);
  await within(embedded.ready, START.timeoutMs, 'the first start');
  const repository = new ClientRepository(embedded.database);
  await repository.create('acme', INPUT);
  const { lossCount } = embedded.database;
  embedded.killThread();
  await waitFor('the loss to be noticed', () => embedded.database.lossCount > lossCount);
  const startedMs = performance.now();
  await assert.rejects(repository.get('acme'), { status: 503, retryable: true });
  assert.ok(performance.now() - startedMs < 1_000);
  const found = await waitFor('the restart', () => repository.get('acme'), START);
  assert.equal(found.clientId, 'acme');

  const { database } = embedded;
  const { feed } = startFeed(t, database);
  await waitFor('the first load', () => feed.loaded);
  let reads = 0;
  let sinceMs = performance.now();
  const read = database.read.bind(database);
  t.mock.method(database, 'read', (...args: Parameters<typeof read>) => {
    sinceMs = performance.now();
    reads++;
    return read(...args);
  });
  await waitFor('no read for longer than the poll of a real server', () => performance.now() - sinceMs > 750);
  assert.ok(reads < 5, `${reads} reads`);
  const other = new pg.Client({ host: join(folder, 'socket'), user: 'postgres', password: 'any' });
  await other.connect();
  await other.query("insert into clients (client_id) values ('of-another-program')");
  await other.end();
  await waitFor('its write', () => feed.table.get('of-another-program'), { timeoutMs: 1_000 });
});

test('a database that fails to start is reported as away, not as starting, and is retried', async (t) => {
  const folder = makeTempFolder();
  writeFileSync(join(folder, 'data'), 'no folder');
  const { logger, lines } = keepLog();
  const embedded = openEmbedded(t, folder, { ...PREPARED, logger });
  const { database } = embedded;
  await assert.rejects(database.query('select 1'), { code: 'database_starting' });
  await assert.rejects(within(embedded.ready, START.timeoutMs, 'the failure'), {
    code: 'database_unavailable',
  });
  await assert.rejects(database.query('select 1'), {
    code: 'database_unavailable',
    message: /does not start: \{ name: 'ErrnoError', errno: \d+ \}/,
  });
  const failures = () => lines.filter(({ msg }) => /did not start/.test(String(msg)));
  await waitFor('a second failure', () => failures().length >= 2, START);
  assert.deepEqual(
    failures().map(({ level }) => level),
    [
      50,
      ...failures()
        .slice(1)
        .fill(20 as never),
    ],
    'the same reason is an error once',
  );
  unlinkSync(join(folder, 'data'));
  await waitFor('the start', () => database.query('select 1'), START);
});

/** Starts on the data of its second argument in the folder of its first, a file system without a free byte. */
const FULL_DISK = `
  const { cpSync, mkdirSync, writeFileSync } = await import('node:fs');
  const { EmbeddedPostgres } = await import('${new URL('../../src/infra/postgres/embedded-postgres.ts', import.meta.url).href}');
  const [, , folder, data] = process.argv;
  mkdirSync(folder + '/pg/data', { recursive: true });
  if (data) cpSync(data, folder + '/pg/data', { recursive: true });
  const fill = (bytes) => {
    try {
      for (;;) writeFileSync(folder + '/fill', Buffer.alloc(bytes), { flag: 'a' });
    } catch {} // ENOSPC ends the loop: the disk is full.
  };
  fill(65_536);
  fill(1);
  const logger = { error() {}, warn() {}, info() {}, debug() {} };
  const embedded = new EmbeddedPostgres({ folder: folder + '/pg', purpose: 'a test', logger });
  await embedded.ready.catch((error) => console.log(error.message));
  process.exit();
`;

test('a start on a full disk says ENOSPC, with data and with an empty folder', async (t) => {
  const folder = makeTempFolder();
  // A file system of its own, where the system lets this user make one.
  const mounted = 'unshare --user --map-root-user --mount sh -c';
  const mount = 'mount -t tmpfs -o size=80m tmpfs "$1"';
  const probe = await runToEnd('/bin/sh', ['-c', `${mounted} '${mount}' sh "$1"`, 'sh', folder]);
  if (probe.code !== 0) return t.diagnostic('not tried: this system lets this user mount nothing');
  const program = join(makeTempFolder(), 'full-disk.mjs');
  writeFileSync(program, FULL_DISK);
  for (const data of [PREPARED.preparedData, '']) {
    const words = [folder, process.execPath, program, folder, data];
    const run = `${mounted} '${mount} && shift && exec "$@"' sh "$@"`;
    const { stdout, stderr } = await runToEnd('/bin/sh', ['-c', run, 'sh', ...words]);
    assert.deepEqual(stdout, ['the embedded database does not start: ENOSPC: no space left'], stderr.join());
  }
});

test('closing during the start is quick and releases the folder', async (t) => {
  const folder = makeTempFolder();
  const embedded = openEmbedded(t, folder);
  await within(embedded.close(), 12_000, 'closing');
  await assert.rejects(embedded.ready, { code: 'database_unavailable' });
  const unlock = lockFolder(folder, 'the next');
  unlock();
});

test('a folder that cannot be made or has a foreign lock file is refused with the reason', async () => {
  const folder = makeTempFolder();
  writeFileSync(join(folder, 'file'), '');
  const inside = { folder: join(folder, 'file', 'postgres'), purpose: 'a test', logger: silent };
  assert.throws(() => new EmbeddedPostgres(inside), {
    code: 'folder_locked',
    message: /cannot lock the folder .* set database\.embeddedPath/,
  });
  mkdirSync(join(folder, 'b'));
  writeFileSync(join(folder, 'b', 'lock'), 'nonsense');
  assert.throws(() => lockFolder(join(folder, 'b'), 'a test'), {
    code: 'folder_locked',
    message: /not a database/,
  });
});
