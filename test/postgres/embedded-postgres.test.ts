import assert from 'node:assert/strict';
import { chmodSync, cpSync, existsSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type ApiKeyStore, MAX_KEYS_PER_CLIENT } from '../../src/clients/api-key-store.ts';
import { ClientRepository } from '../../src/clients/client-repository.ts';
import { EmbeddedPostgres } from '../../src/infra/postgres/embedded-postgres.ts';
import { assertSchema, migrate } from '../../src/infra/postgres/migrations.ts';
import type { Database } from '../../src/infra/postgres/postgres.ts';
import { AuditTable } from '../../src/primary/audit/audit-table.ts';
import { type Child, spawnChild } from '../support/child.ts';
import { makeTempFolder } from '../support/temp-folder.ts';
import { waitFor, within } from '../support/wait.ts';
import { openEmbedded, PREPARED, START } from './embedded-lab.ts';
import { startFeed } from './feed-lab.ts';
import { INPUT, insertKeys, silent } from './support.ts';

const WRITER = fileURLToPath(new URL('fixtures/embedded-writer.ts', import.meta.url));

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

/** Partitions come and go as they do on a server. */
async function assertAudited(database: Database): Promise<void> {
  const table = new AuditTable(database);
  const about = {
    kind: 'instance',
    severity: 'info',
    text: 'ready',
    subject: null,
    actor: null,
    data: {},
  } as const;
  const entry = { ...about, number: 1, instance: 'here' };
  const [old, now] = ['2026-01-02T03:04:05.006Z', new Date().toISOString()].map((at) => ({ ...entry, at }));
  assert.ok(old && now);
  for (const _ of ['the first time', 'again']) await table.write([old, now]);
  assert.deepEqual((await table.page({ limit: 1, after: null })).items, [now]);
  assert.deepEqual((await table.page({ limit: 9, after: null })).items, [now, old]);
  assert.deepEqual(await table.dropBefore(86_400_000), { dropped: ['audit_20260102'], kept: [] });
  assert.deepEqual((await table.page({ limit: 9, after: null })).items, [now]);
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
  const limits = { p: { capacity: 1, refillPerSecond: 1 } };
  const { before, record: patched } = await repository.patch('acme', { limits });
  assert.deepEqual(before, created);
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
  await assertAudited(database);
  await feed.close();
  await embedded.close();
  await assert.rejects(database.query('select 1'), { code: 'database_unavailable' });
  assert.deepEqual(readdirSync(folder), ['data', 'lock']);

  const later = openEmbedded(t, folder);
  await within(later.ready, START.timeoutMs, 'the second start');
  assert.equal((await new ClientRepository(later.database).get('acme')).mode, 'blocked');
  const { changed } = await migrate(later.database, 'down', { logger: silent });
  assert.deepEqual(changed, ['0006_audit_grpc_status']);
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
  const embedded = openEmbedded(t, folder);
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
  const embedded = openEmbedded(t, folder, PREPARED);
  await within(embedded.ready, START.timeoutMs, 'a start from the beginning');
  await new ClientRepository(embedded.database).create('acme', INPUT);
  assert.deepEqual(
    readdirSync(folder).filter((name) => name.startsWith('data')),
    ['data'],
  );
});

test('a lazy embedded database is made by the first statements, which wait for it; with data it starts at once', async (t) => {
  const folder = makeTempFolder();
  const embedded = openEmbedded(t, folder, { lazy: true });
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

  const later = openEmbedded(t, folder, { lazy: true });
  assert.equal(later.isUnused, false);
  await within(later.ready, START.timeoutMs, 'the second start');
  assert.equal((await new ClientRepository(later.database).get('acme')).clientId, 'acme');
});

test('a new embedded database begins as a copy of prepared data where there is some', async (t) => {
  const folder = makeTempFolder();
  const preparedData = join(makeTempFolder(), 'prepared');
  cpSync(PREPARED.preparedData, preparedData, { recursive: true });
  writeFileSync(join(preparedData, 'mark'), '');
  chmodSync(join(preparedData, 'mark'), 0o444);
  const copy = openEmbedded(t, folder, { preparedData });
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
  const embedded = openEmbedded(t, join(folder, 'postgres'), { lazy: true });
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
