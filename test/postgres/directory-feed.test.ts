import assert from 'node:assert/strict';
import { after, before, type TestContext, test } from 'node:test';
import pg from 'pg';
import { DirectoryFeed } from '../../src/clients/directory-feed.ts';
import { NEWER_MS, PART_ROWS } from '../../src/clients/directory-reader.ts';
import { CLIENTS_PART_BYTES } from '../../src/contract/messages.ts';
import { migrate } from '../../src/infra/postgres/migrations.ts';
import type { QueryFn } from '../../src/infra/postgres/postgres.ts';
import { clientCountOf } from '../clients/counts.ts';
import { makeDatabase, type PostgresServer, startPostgres } from '../support/postgres.ts';
import { waitFor, within } from '../support/wait.ts';
import { attachWorker, startFeed } from './feed-lab.ts';
import { INPUT, makeMigrated, openDatabase, silent } from './support.ts';

let server: PostgresServer;
before(async () => {
  server = await startPostgres();
});
after(() => server.remove());

async function connect(t: TestContext, url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url });
  // Some tests restart the server.
  client.on('error', () => undefined);
  await client.connect();
  t.after(() => client.end());
  return client;
}

let stopped = false;

async function stopServer(t: TestContext): Promise<void> {
  t.after(startServer);
  stopped = true;
  await server.stop();
}

async function startServer(): Promise<void> {
  if (!stopped) return;
  stopped = false;
  await server.start();
}

const INSERT = 'insert into clients (client_id) values ($1)';

/** Waits for a change to arrive, at most the promised second. */
function seen(what: string, probe: () => unknown): Promise<unknown> {
  return waitFor(`${what} within 1 s`, probe, { timeoutMs: 1_000 });
}

test('NOTIFY alone delivers a change by another program to the directory within 1 s', async (t) => {
  const { url, database } = await makeMigrated(t, server);
  const other = await connect(t, url);
  const { feed, directory } = startFeed(t, database, { pollMs: 3_600_000 });
  await waitFor('the first load', () => feed.loaded);
  await waitFor('the feed to listen', async () => {
    const { rows } = await other.query(
      'select 1 from pg_stat_activity where query = \'listen "sluice_api_keys"\'',
    );
    return rows.length > 0;
  });
  await other.query(INSERT, ['10.0.0.0/8']);
  await seen('a new client', () => directory.byAddress('10.1.2.3', '10.1.2.3').client);
  await other.query("update clients set mode = 'blocked'");
  await seen('a changed client', () => directory.byName('10.0.0.0/8')?.mode === 'blocked');
  await other.query('delete from clients');
  await seen('a deleted client', () => directory.byAddress('x', '10.0.0.0/8').tombstoneUs > 0);
  assert.equal(directory.byName('10.0.0.0/8'), null);
});

test('the poll alone delivers a change by another program to the directory within 1 s', async (t) => {
  const { url, database } = await makeMigrated(t, server);
  const other = await connect(t, url);
  const { feed, directory } = startFeed(t, database, { notified: false });
  await waitFor('the first load', () => feed.loaded);
  for (const id of ['a', 'b', 'c']) {
    await other.query(INSERT, [id]);
    await seen(`client ${id}`, () => directory.byName(id));
  }
  await other.query('truncate clients cascade');
  await seen('an empty directory', () => clientCountOf(directory.table) === 0);
});

test('a write by this process is passed on at once, without NOTIFY and poll', async (t) => {
  const { database } = await makeMigrated(t, server);
  const { feed, directory, repository } = startFeed(t, database, { notified: false, pollMs: 3_600_000 });
  await waitFor('the first load', () => feed.loaded);
  await repository.create('acme', INPUT);
  await seen('the created client', () => directory.byName('acme'));
  const { versionUs } = (await repository.patch('acme', { mode: 'blocked' })).record;
  await seen('the changed client', () => directory.byName('acme')?.versionUs === versionUs);
  await repository.remove('acme');
  await seen('the tombstone', () => directory.byAddress('x', 'acme').tombstoneUs > versionUs);
});

test('a change that commits long after newer ones is not missed', async (t) => {
  const { url, database } = await makeMigrated(t, server);
  const slow = await connect(t, url);
  const fast = await connect(t, url);
  const { feed, directory, messages } = startFeed(t, database, { notified: false, pollMs: 20 });
  await waitFor('the first load', () => feed.loaded);
  await slow.query('begin');
  await slow.query(INSERT, ['slow']);
  // Newer versions are committed and seen, and polls pass, while the old one is still uncommitted.
  for (const id of ['fast-1', 'fast-2', 'fast-3']) {
    await fast.query(INSERT, [id]);
    await seen(`client ${id}`, () => directory.byName(id));
  }
  await fast.query("delete from clients where client_id = 'fast-1'");
  await seen('the deletion', () => directory.byName('fast-1') === null);
  assert.equal(directory.byName('slow'), null);
  const count = messages.length;
  await slow.query('commit');
  await seen('the late commit', () => directory.byName('slow'));
  const slowUs = directory.byName('slow')?.versionUs ?? 0;
  assert.ok(slowUs < (directory.byName('fast-2')?.versionUs ?? 0), 'its version is the oldest of all');
  assert.deepEqual(
    messages.slice(count).map(({ ids }) => ids),
    [['slow']],
    'what is known is not sent again',
  );
});

test('a stranger’s transaction that stays open delays nothing, and nothing is read twice, also around an import', async (t) => {
  const { url, database } = await makeMigrated(t, server);
  const stranger = await connect(t, url);
  const other = await connect(t, url);
  const { feed, directory } = startFeed(t, database, { notified: false });
  await waitFor('the first load', () => feed.loaded);
  // It has written, so that it holds back the server's oldest transaction id.
  await stranger.query('begin; create table of_a_stranger ()');
  await other.query("insert into clients (client_id) select 'client-' || n from generate_series(1, 50000) n");
  await waitFor('the import', () => clientCountOf(directory.table) === 50_000);
  let rowCount = 0;
  const { read } = database;
  t.mock.method(database, 'read', async (...args: Parameters<typeof read>) => {
    const rows = await read.apply(database, args);
    rowCount += rows.length;
    return rows;
  });
  t.mock.method(database, 'readSnapshot', () =>
    assert.fail('everything since the stranger began is read again'),
  );
  for (const id of ['10.0.0.1', '10.0.0.2', '10.0.0.3']) {
    await other.query("insert into clients (client_id, mode) values ($1, 'blocked')", [id]);
    await seen(`the block of ${id}`, () => directory.byName(id));
  }
  assert.ok(rowCount < 50, `${rowCount} rows were read for three changes`);
});

test('a change that commits while an import is read does not wait for its end, and is not undone by it', async (t) => {
  const { url, database } = await makeMigrated(t, server);
  const other = await connect(t, url);
  await other.query("insert into clients (client_id) values ('acme')");
  const { feed, directory, messages } = startFeed(t, database, { notified: false, pollMs: 20 });
  await waitFor('the first load', () => feed.loaded);
  // The first part of the import takes as long as it would with a hundred times as many rows.
  const { readSnapshot } = database;
  t.mock.method(database, 'readSnapshot', (timeoutMs: number, fn: (query: QueryFn) => Promise<unknown>) =>
    readSnapshot.call(database, timeoutMs, async (query) => {
      let fetchCount = 0;
      return fn(async (text, params) => {
        const rows = await query(text, params);
        if (!text.startsWith('fetch')) return rows;
        if (++fetchCount === 1) {
          await other.query("update clients set mode = 'blocked' where client_id = 'acme'");
          await other.query("delete from clients where client_id = 'client-7'");
          const sinceMs = performance.now();
          await waitFor('a look for newer changes to be due', () => performance.now() - sinceMs >= NEWER_MS);
        }
        return rows;
      });
    }),
  );
  await other.query(
    "begin; insert into clients (client_id) select 'client-' || n from generate_series(1, 20000) n; update clients set capacity = 5, refill_per_second = 5; commit",
  );
  await waitFor('the import', () => clientCountOf(directory.table) === 20_000);
  const blockedAt = messages.findIndex(({ ids }) => ids.length === 2 && ids.includes('acme'));
  assert.ok(blockedAt !== -1 && blockedAt < messages.length - 5, 'the change waited for the whole import');
  await feed.caughtUp();
  assert.equal(directory.byName('acme')?.mode, 'blocked');
  assert.equal(directory.byName('client-7'), null);
});

test('a failed statement is repeated from the same position, without reading everything', async (t) => {
  const { url, database } = await makeMigrated(t, server);
  const other = await connect(t, url);
  const impatient = openDatabase(t, url, { statementMs: 200 });
  const { feed, directory, repository } = startFeed(t, impatient, { notified: false, pollMs: 20 });
  await waitFor('the first load', () => feed.loaded);
  await database.query("insert into clients (client_id) values ('acme')");
  await seen('the client', () => directory.byName('acme'));
  t.mock.method(impatient, 'readSnapshot', () => assert.fail('everything is read again'));
  await other.query("begin; select 1 from clients where client_id = 'acme' for update");
  await assert.rejects(repository.patch('acme', { mode: 'blocked' }), { code: 'database_unavailable' });
  await database.query("insert into clients (client_id) values ('meanwhile')");
  await seen('a change behind the failed one', () => directory.byName('meanwhile'));
  assert.equal(feed.degraded, false);
  // The same when the feed's own statement fails.
  await other.query('rollback; begin; lock table clients');
  await waitFor('a read that fails', () => feed.degraded);
  const reads = t.mock.method(impatient, 'read');
  const caughtUp = feed.caughtUp();
  await waitFor('a read after one that failed', () => reads.mock.callCount() > 1);
  await other.query("insert into clients (client_id) values ('late'); commit");
  await waitFor('the next read', () => directory.byName('late') !== null && !feed.degraded);
  await within(caughtUp, 5_000, 'the answer to whoever asked during the failures');
});

test('many clients and changes are read and sent completely, in parts', async (t) => {
  const { url, database } = await makeMigrated(t, server);
  const other = await connect(t, url);
  await other.query("insert into clients (client_id) select 'client-' || n from generate_series(1, 11000) n");
  await other.query(
    "delete from clients where client_id in (select 'client-' || n from generate_series(1, 5500) n)",
  );
  const { feed, streams, directory, messages, informed } = startFeed(t, database, {
    notified: false,
    pollMs: 50,
  });
  await waitFor('the first load', () => feed.loaded);
  assert.ok(await informed);
  assert.ok(messages.length >= 4);
  for (const [index, message] of messages.entries()) {
    assert.ok(Buffer.byteLength(message.records, 'base64') <= CLIENTS_PART_BYTES);
    assert.deepEqual([message.part, message.complete], [index + 1, index === messages.length - 1]);
  }
  assert.equal(clientCountOf(directory.table), 5_500);
  assert.ok(directory.byAddress('x', 'client-5500').tombstoneUs > 0);

  const late = attachWorker(streams);
  assert.ok(await late.informed);
  assert.equal(clientCountOf(late.directory.table), 5_500);

  // One statement that changes all clients, more than one read, and no worker gets a full set again.
  assert.ok(5_500 > PART_ROWS);
  await other.query("update clients set mode = 'blocked'");
  const ids = Array.from({ length: 5_500 }, (_, i) => `client-${5_501 + i}`);
  for (const { directory: each } of [{ directory }, late]) {
    await seen('the mass change', () => ids.every((id) => each.byName(id)?.mode === 'blocked'));
  }
  await other.query('delete from clients');
  await seen('the mass deletion', () => clientCountOf(directory.table) === 0);
  assert.ok(directory.byAddress('x', 'client-11000').tombstoneUs > 0);
  assert.equal(messages.filter(({ complete }) => complete).length, 1);
});

test('after a broken connection and many changes, workers get only the difference', async (t) => {
  const { url, database } = await makeMigrated(t, server);
  const other = await connect(t, url);
  await other.query("insert into clients (client_id) select 'client-' || n from generate_series(1, 3000) n");
  const { feed, directory, messages, informed } = startFeed(t, database, { pollMs: 50 });
  assert.ok(await informed);
  const count = messages.length;
  const { table } = feed;
  await other.query("begin; update clients set mode = 'blocked' where client_id < 'client-2'");
  await other.query(
    "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'sluice'",
  );
  await other.query('commit');
  await waitFor('the change', () => directory.byName('client-1999')?.mode === 'blocked');
  await waitFor('the feed to recover', () => !feed.degraded);
  assert.equal(feed.table, table, 'a stream in the middle of a shard must not be left with another table');
  const changed = messages.slice(count).flatMap(({ ids }) => ids);
  assert.deepEqual(new Set(changed), new Set(changed.filter((id) => id < 'client-2')));
  assert.equal(clientCountOf(directory.table), 3_000);
});

test('without the database at the start no client is known; they are loaded as soon as it is up', async (t) => {
  const { url, database: first, repository: writer } = await makeMigrated(t, server);
  await writer.create('acme', INPUT);
  await first.close();
  await stopServer(t);
  const database = openDatabase(t, url, { connectMs: 500 });
  const { feed, directory } = startFeed(t, database);
  await within(feed.firstTry, 5_000, 'the end of the first try');
  assert.equal(feed.loaded, false);
  assert.deepEqual([feed.degraded, directory.generation], [true, 0]);
  await startServer();
  await waitFor('the first load', () => feed.loaded);
  assert.equal(feed.degraded, false);
  await seen('the client', () => directory.byName('acme'));
});

test('while the server restarts the last limits stay, then the feed recovers with the changes', async (t) => {
  const { url, database, repository } = await makeMigrated(t, server);
  await repository.create('acme', INPUT);
  const { feed, streams, directory, informed } = startFeed(t, database);
  assert.ok(await informed);
  await stopServer(t);
  await waitFor('the feed to notice', () => feed.degraded);
  assert.ok(directory.byName('acme'), 'the last known stays');
  const late = attachWorker(streams);
  assert.ok(await late.informed);
  assert.ok(late.directory.byName('acme'), 'also for a new worker');
  await assert.rejects(repository.create('b', INPUT), { code: 'database_unavailable' });
  await startServer();
  const other = await connect(t, url);
  await other.query(INSERT, ['b']);
  await waitFor('the feed to recover', () => !feed.degraded && directory.byName('b') !== null);
  // It listens again: usually this change does not come by the poll. In both cases it has a second.
  await other.query(INSERT, ['c']);
  await seen('client c', () => directory.byName('c'));
});

test('when the database is replaced by an older one, workers drop the other clients', async (t) => {
  const { url, database, repository } = await makeMigrated(t, server);
  await repository.create('kept', INPUT);
  await repository.create('gone', INPUT);
  await repository.create('dead', INPUT);
  await repository.remove('dead');
  const { feed, directory, messages } = startFeed(t, database, { pollMs: 50 });
  await waitFor('the first load', () => feed.loaded);
  const other = await connect(t, url);
  // As after restoring a backup: no trigger ran, versions are older, rows are missing.
  await other.query(`begin; set local session_replication_role = replica;
    delete from clients where client_id = 'gone'; update clients set version_us = version_us - 1000, mode = 'blocked';
    commit`);
  await other.query(
    "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'sluice'",
  );
  await waitFor(
    'the older state',
    () => directory.byName('gone') === null && directory.byName('kept')?.mode === 'blocked',
  );
  assert.equal(messages.filter(({ complete }) => complete).length, 1, 'nobody is told everything again');
  assert.ok(directory.byAddress('x', 'dead').tombstoneUs > 0);
});

test('a wrong schema is treated like a database that is away, until it is migrated', async (t) => {
  const database = openDatabase(t, await makeDatabase(server));
  const { feed, directory, repository } = startFeed(t, database);
  await within(feed.firstTry, 5_000, 'the end of the first try');
  assert.equal(feed.loaded, false);
  assert.equal(feed.degraded, true);
  await assert.rejects(repository.create('a', INPUT), { code: 'schema_mismatch', status: 503 });
  await migrate(database, 'up', { logger: silent });
  await waitFor('the first load', () => feed.loaded);
  await repository.create('a', INPUT);
  await seen('the client', () => directory.byName('a'));
  const { migrations } = await migrate(database, 'status', { logger: silent });
  for (const _ of migrations) await migrate(database, 'down', { logger: silent });
  await waitFor('the feed to notice', () => feed.degraded);
  assert.ok(directory.byName('a'), 'the last known stays');
});

test('close ends at once, whether the feed runs, waits or was never started', async (t) => {
  const { database } = await makeMigrated(t, server);
  const { feed, secret } = startFeed(t, database, { pollMs: 3_600_000 });
  await waitFor('the first load', () => feed.loaded);
  const waiting = startFeed(t, openDatabase(t, 'postgres://postgres@127.0.0.1:1/none')).feed;
  const idle = new DirectoryFeed({ database, secret, logger: silent });
  await waitFor('a failed load', () => waiting.degraded);
  const startedMs = performance.now();
  await Promise.all([feed.close(), waiting.close(), idle.close()]);
  assert.ok(performance.now() - startedMs < 1_500);
  await within(idle.firstTry, 5_000, 'the end of the first try');
  assert.equal(idle.loaded, false);
});
