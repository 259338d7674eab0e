import assert from 'node:assert/strict';
import { cpSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { PG_MIGRATE_LOCK_ID } from 'node-pg-migrate';
import { assertSchema, migrate } from '../../src/infra/postgres/migrations.ts';
import type { Database } from '../../src/infra/postgres/postgres.ts';
import { runToEnd } from '../support/child.ts';
import { makeDatabase, type PostgresServer, postgresBinFolder, startPostgres } from '../support/postgres.ts';
import { makeTempFolder } from '../support/temp-folder.ts';
import { waitFor } from '../support/wait.ts';
import { makeMigrated, openDatabase, silent } from './support.ts';

const PRODUCT = fileURLToPath(new URL('../../migrations/', import.meta.url));
const RUN_UP = fileURLToPath(new URL('fixtures/migrate-up.ts', import.meta.url));
const STEPS = [
  ...['0001_clients', '0002_api_keys', '0003_acme', '0004_audit', '0005_audit_requests'],
  '0006_audit_grpc_status',
];

let server: PostgresServer;
before(async () => {
  server = await startPostgres();
});
after(() => server.remove());

async function dump(url: string): Promise<string[]> {
  const made = await runToEnd(join(postgresBinFolder(), 'pg_dump'), ['--schema-only', url]);
  assert.equal(made.code, 0, made.stderr.join('\n'));
  // Newer versions of pg_dump add a random word to the file.
  return made.stdout.filter((line) => !line.startsWith('\\'));
}

/** The product's steps and one of the test. */
function folderWith(name: string, sql: string): string {
  const folder = makeTempFolder();
  cpSync(PRODUCT, folder, { recursive: true });
  writeFileSync(join(folder, `${name}.sql`), sql);
  return folder;
}

test('up, down and up again give the same schema, and status lists the applied steps', async (t) => {
  const url = await makeDatabase(server);
  const database = openDatabase(t, url);
  const stateOf = async () => (await migrate(database, 'status', { logger: silent })).migrations;
  const pending = STEPS.map((name) => ({ name, appliedAt: null, known: true }));
  assert.deepEqual(await stateOf(), pending);
  assert.deepEqual((await migrate(database, 'up', { logger: silent })).changed, STEPS);
  const first = await dump(url);
  const [applied] = await stateOf();
  assert.ok(applied?.appliedAt && Math.abs(Date.parse(applied.appliedAt) - Date.now()) < 60_000);
  assert.deepEqual((await migrate(database, 'up', { logger: silent })).changed, []);

  for (const step of STEPS.toReversed())
    assert.deepEqual((await migrate(database, 'down', { logger: silent })).changed, [step]);
  const empty = (await dump(url)).join('\n');
  assert.doesNotMatch(
    empty.replaceAll('sluice_migrations', ''),
    /clients|tombstones|acme|sluice/,
    'down left something behind',
  );
  assert.deepEqual((await migrate(database, 'down', { logger: silent })).changed, []);

  await migrate(database, 'up', { logger: silent });
  assert.deepEqual(await dump(url), first);
});

test('several processes may migrate at the same time: one does the work, all succeed', async (t) => {
  const url = await makeDatabase(server);
  const runs = await Promise.all(Array.from({ length: 4 }, () => runToEnd(process.execPath, [RUN_UP, url])));
  for (const run of runs) assert.equal(run.code, 0, run.stderr.join('\n'));
  assert.deepEqual(
    runs.flatMap((run) => JSON.parse(run.stdout.at(-1) ?? '[]')),
    STEPS,
  );
  await assertSchema(openDatabase(t, url));
});

test('two that undo the last step at the same time undo one step: the other one is refused', async (t) => {
  const { url, database } = await makeMigrated(t, server);
  const down = () => migrate(openDatabase(t, url), 'down', { logger: silent });
  const { ended } = await database.transaction(60_000, async (query) => {
    await query('select pg_advisory_xact_lock($1)', [PG_MIGRATE_LOCK_ID]);
    const both = Promise.allSettled([down(), down()]);
    await waitFor('both to have read the steps', async () => {
      const waiting = await query("select from pg_locks where locktype = 'advisory' and not granted");
      return waiting.length === 2;
    });
    return { ended: both };
  });
  const [done, refused] = (await ended).sort((a) => (a.status === 'fulfilled' ? -1 : 1));
  assert.deepEqual(done?.status === 'fulfilled' && done.value.changed, STEPS.slice(-1));
  assert.match(
    String(refused?.status === 'rejected' && refused.reason),
    /the last step is 0005_audit_requests, not 0006_audit_grpc_status: nothing was undone/,
  );
  const { migrations } = await migrate(database, 'status', { logger: silent });
  assert.deepEqual(
    migrations.flatMap(({ name, appliedAt }) => (appliedAt === null ? [name] : [])),
    STEPS.slice(-1),
  );
});

test('a failing step undoes itself and the steps before it in the run', async (t) => {
  const url = await makeDatabase(server);
  const database = openDatabase(t, url);
  const folder = folderWith(
    '9001_broken',
    '-- Up Migration\ncreate table half (a integer); selekt;\n-- Down Migration\nselect 1;',
  );
  await assert.rejects(migrate(database, 'up', { logger: silent, folder }), {
    code: 'internal_error',
    message: /syntax error/,
  });
  assert.deepEqual(await migrate(database, 'status', { logger: silent }), {
    changed: [],
    migrations: STEPS.map((name) => ({ name, appliedAt: null, known: true })),
  });
});

test('a database without the schema, or without its last step, does not fit', async (t) => {
  const database = openDatabase(t, await makeDatabase(server));
  const fits = {
    code: 'schema_mismatch',
    message:
      /lacks 0001_clients, 0002_api_keys, 0003_acme, 0004_audit, 0005_audit_requests, 0006_audit_grpc_status: run `sluice migrate up`/,
  };
  await assert.rejects(assertSchema(database), fits);
  await migrate(database, 'up', { logger: silent });
  await assertSchema(database);
  await assert.rejects(assertSchema(database, folderWith('9001_more', '')), {
    code: 'schema_mismatch',
    message: /9001_more/,
  });
});

test('an older program accepts a newer schema whose steps allow it, and never migrates it', async (t) => {
  const { database } = await makeMigrated(t, server);
  const up = (name: string, sql: string) =>
    migrate(database, 'up', {
      logger: silent,
      folder: folderWith(name, `-- Up Migration\n${sql};\n-- Down Migration\nselect 1;`),
    });
  await up('9001_additive', 'alter table clients add column note text');
  await assertSchema(database);
  await assert.rejects(migrate(database, 'down', { logger: silent }), {
    code: 'schema_mismatch',
    message: /does not know \(9001_additive\)/,
  });
  // The embedded database runs `up` at each start, also after a return to an earlier version.
  const { changed, migrations } = await migrate(database, 'up', { logger: silent });
  assert.deepEqual(changed, []);
  assert.equal(migrations.at(-1)?.known, false);

  await database.query('update sluice_schema set oldest_reader = 9001');
  const isNewer = { code: 'schema_mismatch', message: /newer than this program/ };
  await assert.rejects(assertSchema(database), isNewer);
  await assert.rejects(migrate(database, 'up', { logger: silent }), isNewer);
});

test('a database that is away is database_unavailable, not a mismatch', async (t) => {
  const database: Database = openDatabase(t, 'postgres://postgres@127.0.0.1:1/none');
  await assert.rejects(migrate(database, 'up', { logger: silent }), { code: 'database_unavailable' });
  await assert.rejects(assertSchema(database), { code: 'database_unavailable' });
});
