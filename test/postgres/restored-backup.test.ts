/** A backup that an operator restores into the database while Sluice runs and its connections stay open. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, type TestContext, test } from 'node:test';
import pg from 'pg';
import type { QueryFn } from '../../src/infra/postgres/postgres.ts';
import { clientCountOf } from '../clients/counts.ts';
import { runToEnd } from '../support/child.ts';
import { type PostgresServer, postgresBinFolder, startPostgres } from '../support/postgres.ts';
import { makeTempFolder } from '../support/temp-folder.ts';
import { waitFor } from '../support/wait.ts';
import { startFeed } from './feed-lab.ts';
import { INPUT, makeMigrated } from './support.ts';

let server: PostgresServer;
before(async () => {
  server = await startPostgres();
});
after(() => server.remove());

async function run(program: string, args: string[]): Promise<void> {
  const ended = await runToEnd(join(postgresBinFolder(), program), args, {});
  assert.equal(
    ended.code,
    0,
    `${program} ${args.join(' ')}\n${[...ended.stdout, ...ended.stderr].join('\n')}`,
  );
}

async function connect(t: TestContext, url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  t.after(() => client.end());
  return client;
}

const EMPTIED_BY_DELETE =
  'delete from api_keys; delete from clients; delete from client_tombstones; delete from api_key_tombstones';
const TABLES = ['clients', 'client_tombstones', 'api_keys', 'api_key_tombstones'];
/** With triggers it cannot be restored: they name tables without a schema, and a dump empties the search path. */
const DATA_ONLY = ['--data-only', '--disable-triggers', ...TABLES.map((name) => `--table=${name}`)];

const PSQL = ['psql', '-q', '-v', 'ON_ERROR_STOP=1'];

const WAYS: { name: string; dump: string[]; first?: string; restore: string[] }[] = [
  { name: 'psql in one transaction', dump: ['--clean'], restore: [...PSQL, '-1', '-f'] },
  { name: 'psql, statement by statement', dump: ['--clean'], restore: [...PSQL, '-f'] },
  { name: 'pg_restore --clean', dump: ['-Fc'], restore: ['pg_restore', '--clean'] },
  {
    name: 'data alone, without triggers, into tables emptied by DELETE',
    dump: DATA_ONLY,
    first: EMPTIED_BY_DELETE,
    restore: [...PSQL, '-1', '-f'],
  },
  {
    name: 'data alone into tables emptied by TRUNCATE',
    dump: DATA_ONLY,
    first: `truncate ${TABLES.join(', ')}`,
    restore: [...PSQL, '-f'],
  },
];

for (const { name, dump, first, restore } of WAYS) {
  test(`a restored backup is in force within seconds: ${name}`, async (t) => {
    const { url, database, repository } = await makeMigrated(t, server);
    const { feed, directory, messages, informed } = startFeed(t, database);
    for (const id of ['blocked', 'limited']) await repository.create(id, INPUT);
    await repository.patch('blocked', { mode: 'blocked' });
    const backup = join(makeTempFolder(), 'backup');
    await run('pg_dump', [...dump, '-f', backup, url]);
    await repository.remove('blocked');
    await repository.patch('limited', { mode: 'blocked' });
    await repository.create('later', INPUT);
    assert.ok(await informed);
    await waitFor('the state before the restore', () => directory.byName('later'));

    const { lossCount } = database;
    const other = await connect(t, url);
    if (first !== undefined) await other.query(first);
    const [program = '', ...options] = restore;
    await run(program, [...options, backup, '-d', url]);
    await waitFor(
      'the state of the backup',
      () =>
        directory.byName('blocked')?.mode === 'blocked' &&
        directory.byName('limited')?.mode === 'limit' &&
        directory.byName('later') === null,
    );
    await waitFor('a feed without a complaint', () => !feed.degraded);
    assert.equal(database.lossCount, lossCount, 'no connection broke');
    assert.equal(messages.filter(({ complete }) => complete).length, 1, 'workers got only the difference');
    await repository.create('after', INPUT);
    await waitFor('a change after the restore', () => directory.byName('after'));
  });
}

test('tables that are replaced while everything is read never look empty', async (t) => {
  const { url, database, repository } = await makeMigrated(t, server);
  await repository.create('acme', INPUT);
  const [operator, observer] = [await connect(t, url), await connect(t, url)];
  let replacing: Promise<unknown> | null = null;
  let isReplaced = false;
  const replace = async (): Promise<void> => {
    await operator.query(`begin; create temp table saved as table clients; truncate clients cascade;
      insert into clients (client_id) select client_id from saved; commit`);
    isReplaced = true;
  };
  const isWaiting = async (): Promise<boolean> =>
    (await observer.query('select 1 from pg_locks where not granted')).rows.length > 0;
  const { readSnapshot } = database;
  t.mock.method(database, 'readSnapshot', (timeoutMs: number, fn: (query: QueryFn) => Promise<unknown>) =>
    readSnapshot.call(database, timeoutMs, (query) =>
      fn(async (text, params) => {
        if (text.startsWith('declare') && replacing === null) {
          replacing = replace();
          await waitFor('the replacement, or its wait for the reader', async () => isReplaced || isWaiting());
        }
        return query(text, params);
      }),
    ),
  );
  const { feed, directory } = startFeed(t, database);
  const counts: number[] = [];
  feed.onChange(() => counts.push(clientCountOf(feed.table)));
  await waitFor('the first load', () => feed.loaded);
  await replacing;
  await waitFor('the client', () => directory.byName('acme'));
  assert.equal(counts.includes(0), false, `counts of clients: ${counts}`);
});

test('a client that is inserted while another session deletes the same id is known', async (t) => {
  const { url, database, repository } = await makeMigrated(t, server);
  await repository.create('acme', INPUT);
  const { feed, directory } = startFeed(t, database);
  await waitFor('the first load', () => feed.loaded);
  const [inserting, deleting] = [await connect(t, url), await connect(t, url)];
  await inserting.query('begin isolation level repeatable read; select 1 from clients');
  await deleting.query("delete from clients where client_id = 'acme'");
  await inserting.query("insert into clients (client_id, mode) values ('acme', 'blocked'); commit");
  const { rows } = await deleting.query('select 1 from clients join client_tombstones using (client_id)');
  assert.equal(rows.length, 1, 'both the row and its tombstone are there');
  await feed.caughtUp();
  await waitFor('the row', () => directory.byName('acme')?.mode === 'blocked');
  const fresh = startFeed(t, database);
  await waitFor('the load of another instance', () => fresh.feed.loaded);
  assert.ok(await fresh.informed);
  assert.equal(fresh.directory.byName('acme')?.mode, 'blocked');
});
