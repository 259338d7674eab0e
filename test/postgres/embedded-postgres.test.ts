import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync, readdirSync, statSync, unlinkSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { before, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { type ApiKeyStore, MAX_KEYS_PER_CLIENT } from '../../src/clients/api-key-store.ts';
import { ClientRepository } from '../../src/clients/client-repository.ts';
import {
  EmbeddedPostgres,
  type EmbeddedPostgresOptions,
} from '../../src/infra/postgres/embedded-postgres.ts';
import { lockFolder } from '../../src/infra/postgres/folder-lock.ts';
import { assertSchema, migrate } from '../../src/infra/postgres/migrations.ts';
import type { Database } from '../../src/infra/postgres/postgres.ts';
import { keepLog } from '../primary/workers/fixtures/harness.ts';
import { type Child, runToEnd, spawnChild } from '../support/child.ts';
import { makeTempFolder } from '../support/temp-folder.ts';
import { waitFor, within } from '../support/wait.ts';
import { startFeed } from './feed-lab.ts';
import { INPUT, insertKeys, silent } from './support.ts';

const WRITER = fileURLToPath(new URL('fixtures/embedded-writer.ts', import.meta.url));
/** Making one takes about 4 s; the machine may be busy. */
const START = { timeoutMs: 60_000 };

const PREPARE_SCRIPT = fileURLToPath(new URL('../../scripts/prepare-data.ts', import.meta.url));
/** Data that is made once, for tests that are not about making it. */
const PREPARED = { preparedData: join(makeTempFolder(), 'data') };
before(async () => {
  const script = spawnChild(process.execPath, [PREPARE_SCRIPT, PREPARED.preparedData]);
  assert.deepEqual(await within(script.exited, START.timeoutMs, 'the prepared data'), {
    code: 0,
    signal: null,
  });
});

function open(t: TestContext, folder: string, options: Partial<EmbeddedPostgresOptions> = {}) {
  const embedded = new EmbeddedPostgres({ folder, purpose: 'a test', logger: silent, ...options });
  t.after(() => embedded.close());
  return embedded;
}

function startWriter(t: TestContext, folder: string, from = 1, preparedData = PREPARED.preparedData): Child {
  const child = spawnChild(process.execPath, [WRITER, folder, String(from), preparedData]);
  t.after(() => child.kill());
  return child;
}

function acknowledgedBy(child: Child): number[] {
  const lines = child.stdout.filter((line) => line.startsWith('acknowledged'));
  return lines.map((line) => Number(line.split(' ')[1]));
}

/** Simultaneous calls do not give acme too many keys, and a refused call has no effect. */
async function assertKeysBounded(database: Database, store: ApiKeyStore): Promise<void> {
  await insertKeys(database, MAX_KEYS_PER_CLIENT - 1);
  const results = await Promise.allSettled([1, 2, 3].map(() => store.issue('acme', null)));
  const refused = results.filter((result) => result.status === 'rejected');
  assert.deepEqual(
    refused.map(({ reason }) => reason.code),
    ['too_many_keys', 'too_many_keys'],
  );
  await assert.rejects(store.issue('nobody', null), { code: 'client_not_found' });
}

test('the embedded database migrates itself, works like a real one, and keeps its clients', async (t) => {
  // A path that is too long for the address of a socket.
  const folder = join(makeTempFolder(), 'deep'.repeat(20), 'postgres');
  const embedded = new EmbeddedPostgres({ folder, purpose: 'a test', logger: silent });
  t.after(() => embedded.close());
  const { database } = embedded;
  await assert.rejects(database.query('select 1'), { code: 'database_starting', message: /is starting/ });
  await within(embedded.ready, START.timeoutMs, 'the first start');
  assert.equal(statSync(folder).mode & 0o777, 0o700);
  await assertSchema(database);
  assert.deepEqual((await migrate(database, 'up', { logger: silent })).changed, []);
  assert.ok(Math.abs((await database.nowUs()) / 1000 - Date.now()) < 60_000);

  const repository = new ClientRepository(database);
  const { feed, service } = startFeed(t, database);
  await waitFor('the first load', () => feed.loaded);
  const created = await repository.create('acme', { ...INPUT, capacity: 9, refillPerSecond: 0.5 });
  await waitFor('the own write', () => feed.table.get('acme')?.client, { timeoutMs: 1_000 });
  const patched = await repository.patch('acme', { limits: { p: { capacity: 1, refillPerSecond: 1 } } });
  assert.ok(patched.versionUs > created.versionUs);
  await assert.rejects(repository.create('acme', INPUT), { code: 'client_exists' });
  await assert.rejects(repository.patch('acme', { capacity: null }), { code: 'bad_request', status: 422 });
  await repository.remove('acme');
  const tombstone = await waitFor('the tombstone', () => {
    const entry = feed.table.get('acme');
    return entry?.client === null ? entry : null;
  });
  assert.ok(tombstone.versionUs > patched.versionUs);
  const again = await repository.put('acme', INPUT);
  assert.ok(again.record.versionUs > tombstone.versionUs);
  // Not through the repository, so the poll must find it.
  await database.query("update clients set mode = 'blocked'");
  await waitFor('the poll', () => feed.table.get('acme')?.client?.mode === 'blocked', { timeoutMs: 1_000 });
  await assertKeysBounded(database, service);
  await feed.close();
  await embedded.close();
  await assert.rejects(database.query('select 1'), { code: 'database_unavailable' });
  assert.deepEqual(readdirSync(folder), ['data', 'lock']);

  const later = open(t, folder);
  await within(later.ready, START.timeoutMs, 'the second start');
  assert.equal((await new ClientRepository(later.database).get('acme')).mode, 'blocked');
  const { changed } = await migrate(later.database, 'down', { logger: silent });
  assert.deepEqual(changed, ['0003_acme']);
});

test('kill -9 loses no acknowledged write and does not leave the folder locked', async (t) => {
  const folder = makeTempFolder();
  const acknowledged: number[] = [];
  for (const round of [1, 2]) {
    const writer = startWriter(t, folder, round * 10_000);
    await waitFor(`60 writes\n${writer.describe()}`, () => acknowledgedBy(writer).length >= 60, START);
    writer.signal('SIGKILL');
    await writer.exited;
    acknowledged.push(...acknowledgedBy(writer));
    assert.ok(
      readdirSync(folder).some((name) => name.startsWith('lock-')),
      'its lock was left behind',
    );
  }
  const embedded = open(t, folder);
  await within(embedded.ready, START.timeoutMs, 'the start after the kill');
  const rows = await embedded.database.query('select substr(client_id, 8)::integer as n from clients');
  const kept = new Set(rows.map((row) => row.n));
  assert.ok(acknowledged.length >= 120);
  assert.deepEqual(
    acknowledged.filter((number) => !kept.has(number)),
    [],
  );
  const [check] = await embedded.database.query(
    'select count(*)::integer as n from clients where capacity = 10',
  );
  assert.equal(check?.n, rows.length);
  await new ClientRepository(embedded.database).create('after', INPUT);
});

test('a process killed while it makes the database leaves nothing that looks like one', async (t) => {
  const folder = makeTempFolder();
  const writer = startWriter(t, folder, 1, '');
  const isDraft = (name: string) => name.startsWith('data.new-') && existsSync(join(folder, name, 'base'));
  await waitFor('the database to be half made', () => readdirSync(folder).some(isDraft), START);
  writer.signal('SIGKILL');
  await writer.exited;
  assert.equal(existsSync(join(folder, 'data')), false);
  const embedded = open(t, folder, PREPARED);
  await within(embedded.ready, START.timeoutMs, 'a start from the beginning');
  await new ClientRepository(embedded.database).create('acme', INPUT);
  assert.deepEqual(
    readdirSync(folder).filter((name) => name.startsWith('data')),
    ['data'],
  );
});

test('a lazy embedded database is made by the first statements, which wait for it; with data it starts at once', async (t) => {
  const folder = makeTempFolder();
  const embedded = open(t, folder, { lazy: true });
  assert.equal(embedded.isUnused, true);
  // Whatever a start does begins within open.
  assert.deepEqual(readdirSync(folder), []);
  const peakBytes = process.resourceUsage().maxRSS * 1024;
  const repository = new ClientRepository(embedded.database);
  const tries = await Promise.allSettled([repository.create('acme', INPUT), repository.create('zed', INPUT)]);
  // On a busy machine they may time out with 503 before the server is up.
  for (const { status, reason } of tries.map((each) => ({ reason: null, ...each })))
    if (status === 'rejected') assert.equal(reason?.code, 'database_starting');
  assert.equal(embedded.isUnused, false);
  await within(embedded.ready, START.timeoutMs, 'the first start');
  const grownMiB = (process.resourceUsage().maxRSS * 1024 - peakBytes) / 2 ** 20;
  assert.ok(grownMiB < 250, `making the data cost this process ${grownMiB} MiB`);
  await repository.put('acme', INPUT);
  await embedded.close();

  const later = open(t, folder, { lazy: true });
  assert.equal(later.isUnused, false);
  await within(later.ready, START.timeoutMs, 'the second start');
  assert.equal((await new ClientRepository(later.database).get('acme')).clientId, 'acme');
});

test('a new embedded database begins as a copy of prepared data where there is some', async (t) => {
  const folder = makeTempFolder();
  const { preparedData } = PREPARED;
  writeFileSync(join(preparedData, 'mark'), '');
  chmodSync(join(preparedData, 'mark'), 0o444);
  const copy = open(t, folder, PREPARED);
  await within(copy.ready, START.timeoutMs, 'the start of the copy');
  await new ClientRepository(copy.database).create('acme', INPUT);
  assert.equal(
    statSync(join(folder, 'data', 'mark')).mode & 0o777,
    0o600,
    'read-only data makes a usable copy',
  );
  assert.deepEqual(
    readdirSync(folder).filter((name) => name.startsWith('data')),
    ['data'],
  );
  assert.equal(statSync(join(folder, 'data')).mode & 0o777, 0o700);
  assert.deepEqual(readdirSync(join(folder, 'data', 'pg_tblspc')), [], 'an empty folder is one in the copy');
});

test('prepared data can be written by its owner alone, and has no empty folders, which shipping may lose', () => {
  const { preparedData } = PREPARED;
  const entries = readdirSync(preparedData, { recursive: true, encoding: 'utf8' });
  const statsOf = (name: string) => statSync(join(preparedData, name));
  assert.deepEqual(
    entries.filter((name) => (statsOf(name).mode & 0o022) !== 0),
    [],
  );
  const folders = entries.filter((name) => statsOf(name).isDirectory());
  assert.ok(folders.length > 10);
  assert.deepEqual(
    folders.filter((name) => readdirSync(join(preparedData, name)).length === 0),
    [],
  );
});

test('closing an unused embedded database is quick and leaves the folder unchanged', async (t) => {
  const folder = makeTempFolder();
  const embedded = open(t, join(folder, 'postgres'), { lazy: true });
  await within(embedded.close(), 2_000, 'closing');
  await assert.rejects(embedded.ready, { code: 'database_unavailable' });
  assert.deepEqual(readdirSync(folder), []);
});

test('a second process on the folder is refused with the holder’s name; the first one continues', async (t) => {
  const folder = makeTempFolder();
  const writer = startWriter(t, folder);
  await writer.waitForLine('ready', START);
  assert.throws(
    () => new EmbeddedPostgres({ folder, purpose: 'sluice migrate', logger: silent }),
    (error: Error) => {
      assert.equal((error as Error & { code?: string }).code, 'folder_locked');
      assert.ok(
        error.message.includes(
          `the folder ${folder} is in use by process ${writer.pid} on ${hostname()} (a test writer, since `,
        ),
        error.message,
      );
      return true;
    },
  );
  const seen = acknowledgedBy(writer).length;
  await waitFor('the first one to go on writing', () => acknowledgedBy(writer).length > seen + 5);
});

test('a thread that ends is restarted, is idle without writers, and writes of other programs are seen', async (t) => {
  const folder = makeTempFolder();
  const embedded = open(t, folder, PREPARED);
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
  const embedded = open(t, folder, { ...PREPARED, logger });
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
  const embedded = open(t, folder);
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
