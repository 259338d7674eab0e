/**
 * Workers start, die and read slowly, while connections break, rows move, clients and keys change, and a backup is
 * restored. In the end every worker must have the contents of the database. SEED repeats a run.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import type { ClientDirectory } from '../../src/clients/client-directory.ts';
import { clientCountOf } from '../clients/counts.ts';
import { Random } from '../fuzz/random.ts';
import { type PostgresServer, startPostgres } from '../support/postgres.ts';
import { waitFor } from '../support/wait.ts';
import { attachWorker, startFeed } from './feed-lab.ts';
import { makeMigrated } from './support.ts';

const CLIENTS = 4_000;
/** Each round breaks the connections once. */
const ROUNDS = 15;
const SEED = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));

let server: PostgresServer;
before(async () => {
  server = await startPostgres();
});
after(() => server.remove());

/** The expected contents: mode and version of each client. */
async function stored(database: pg.Client): Promise<Map<string, string>> {
  const { rows } = await database.query('select client_id, mode, version_us from clients');
  return new Map(rows.map((row) => [row.client_id, `${row.mode} ${row.version_us}`]));
}

/** The first few ids that differ in a worker. */
function differences(directory: ClientDirectory, expected: Map<string, string>): string[] {
  const wrong: string[] = [];
  for (let n = 0; n < CLIENTS; n++) {
    const id = `client-${n}`;
    const client = directory.byName(id);
    const known = client === null ? undefined : `${client.mode} ${client.versionUs}`;
    if (known !== expected.get(id)) wrong.push(`${id}: ${known}, in the database ${expected.get(id)}`);
    if (wrong.length > 5) break;
  }
  return wrong;
}

test(`after all faults every worker has the contents of the database (SEED=${SEED})`, async (t) => {
  const random = new Random(SEED);
  const { url, database } = await makeMigrated(t, server);
  const other = new pg.Client({ connectionString: url });
  await other.connect();
  t.after(() => other.end());
  await other.query(
    `insert into clients (client_id) select 'client-' || n from generate_series(0, ${CLIENTS - 1}) n;
    create index by_hash on clients (hashtext(client_id))`,
  );
  const { feed, streams } = startFeed(t, database, { pollMs: 10 });
  // Slow, so that loads happen while a worker collects its first set.
  const attach = () => attachWorker(streams, () => sleep(random.below(100)));
  const workers = Array.from({ length: 4 }, attach);
  await waitFor('the first load', () => feed.loaded);
  const some = () => `client_id in (select 'client-' || (${random.below(CLIENTS)} + n * 7) % ${CLIENTS}
    from generate_series(1, ${1 + random.below(500)}) n)`;
  const breakAll = () =>
    other.query("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'sluice'");
  /** Only sometimes, because the other changes keep the number of clients and so the size of every shard. */
  const rare: (() => Promise<unknown>)[] = [
    () => other.query(`delete from clients where ${some()}`),
    () =>
      other.query(
        `insert into clients (client_id) select 'client-' || n from generate_series(0, ${CLIENTS - 1}) n on conflict do nothing`,
      ),
    // A restored backup: no trigger runs, versions are older, rows are missing.
    () =>
      other.query(`begin; set local session_replication_role = replica; delete from clients where ${some()};
        update clients set version_us = version_us - 1000 where ${some()}; commit`),
  ];
  for (let round = 0; round < ROUNDS; round++) {
    const fresh = random.below(workers.length);
    workers[fresh]?.exit();
    workers[fresh] = attach();
    await other.query(`update clients set mode = '${random.pick(['blocked', 'limit'])}' where ${some()}`);
    if (random.oneIn(6)) await random.pick(rare)();
    // Reorders the rows on disk, so that the next load reads them in another order.
    const order = random.pick(['clients_pkey', 'clients_changed_xid', 'by_hash']);
    // The only accepted failure: a deadlock with a statement of the feed.
    await other.query(`cluster clients using ${order}`).catch((error: { code?: string }) => {
      assert.equal(error.code, '40P01', String(error));
    });
    await breakAll();
    await sleep(random.below(400));
  }
  await breakAll();
  const expected = await stored(other);
  await waitFor('the feed to recover', () => !feed.degraded);
  for (const { directory } of workers) {
    await waitFor(
      'a worker to know what the database holds',
      () => clientCountOf(directory.table) === expected.size && differences(directory, expected).length === 0,
      { timeoutMs: 40_000 },
    ).catch(() => undefined);
    assert.deepEqual(differences(directory, expected), []);
    assert.equal(clientCountOf(directory.table), expected.size);
  }
});
