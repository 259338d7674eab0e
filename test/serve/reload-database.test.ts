import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import pg from 'pg';
import { ask, askJson, metricOf, poolOf, startMigrated, startNamed } from '../cluster/support.ts';
import { startLoad } from '../support/load.ts';
import { makeDatabase, migratedDatabase } from '../support/postgres.ts';
import { type SluiceProcess, startSluice } from '../support/sluice.ts';
import { waitFor } from '../support/wait.ts';

const reload = (sluice: SluiceProcess) => askJson(`${sluice.adminUrl}/api/v1/reload`, { method: 'POST' });
const clientAt = (sluice: SluiceProcess, id: string) => `${sluice.adminUrl}/api/v1/clients/${id}`;

async function startScene(t: TestContext) {
  const backend = await startNamed('a');
  t.after(() => backend.close());
  const { postgres, url: first } = await startMigrated(t);
  const second = await migratedDatabase(postgres);
  const configOf = (url: string, more: object = {}) => ({
    workers: 2,
    pools: poolOf([backend]),
    database: { url },
    rateLimit: { policies: { default: { capacity: 1e6, refillPerSecond: 1e6 } } },
    ...more,
  });
  const sql = new pg.Client({ connectionString: second });
  // The server ends first.
  sql.on('error', () => undefined);
  await sql.connect();
  t.after(() => sql.end());
  /** Sluice's connections to a database. */
  const connectionsTo = async (url: string): Promise<number> => {
    const text = "select count(*) from pg_stat_activity where datname = $1 and application_name = 'sluice'";
    return Number((await sql.query(text, [new URL(url).pathname.slice(1)])).rows[0].count);
  };
  return { postgres, first, second, configOf, sql, connectionsTo };
}

test('B37: a reload under load moves to another database and back: clients and keys change at once, and nothing stays at the old one', async (t) => {
  const { first, second, configOf, sql, connectionsTo } = await startScene(t);
  const sluice = await startSluice({ config: configOf(first) });
  t.after(() => sluice.stop());
  const acme = clientAt(sluice, 'acme');
  assert.equal((await askJson(acme, { method: 'PUT', body: { mode: 'unlimited' } })).status, 201);
  const { body } = await askJson(`${acme}/keys`, { method: 'POST' });
  const headers = { 'x-api-key': String(body.key) };
  await sql.query("insert into clients (client_id, mode) values ('127.0.0.1', 'blocked')");
  // So many that the old database is left a moment after the change.
  await sql.query(
    "insert into clients (client_id, mode) select 'c' || n, 'unlimited' from generate_series(1, 30000) n",
  );
  const load = startLoad({ url: sluice.proxyUrl, connections: 8, pauseMs: 2, headers });
  t.after(() => load.stop());
  await load.atLeast(50);
  assert.deepEqual(load.result.statuses, { 200: load.result.total });

  sluice.configure(configOf(second));
  assert.deepEqual(await reload(sluice), { status: 200, body: { revision: 2, pendingWorkers: [] } });
  const passed = load.result.statuses[200] ?? 0;
  for (let i = 0; i < 10; i++) assert.equal((await ask(sluice.proxyUrl, { headers })).status, 403);
  await load.atLeast(50);
  assert.ok((load.result.statuses[200] ?? 0) - passed <= 8, 'only what was under way has passed');
  assert.equal((await askJson(acme)).status, 404);
  assert.deepEqual(await metricOf(sluice.adminUrl, 'sluice_config_last_reload_success'), 1);
  await waitFor('the first database to be left', async () => (await connectionsTo(first)) === 0);

  const loads = sluice.stdout.filter((line) => line.includes('clients loaded')).length;
  assert.equal(loads, 2, 'each database is read once');

  // Writes of its own, and of others by NOTIFY or poll.
  const here = clientAt(sluice, '127.0.0.1');
  await askJson(here, { method: 'PUT', body: { mode: 'limit' } });
  assert.equal((await ask(sluice.proxyUrl)).status, 200);
  await sql.query("update clients set mode = 'blocked'");
  await waitFor('the change of another program', async () => (await ask(sluice.proxyUrl)).status === 403);

  for (let i = 0; i < 5; i++) {
    sluice.configure(configOf(first));
    assert.equal((await reload(sluice)).status, 200);
    assert.equal((await ask(sluice.proxyUrl, { headers })).status, 200);
    assert.equal((await askJson(acme)).body.mode, 'unlimited');
    sluice.configure(configOf(second));
    assert.equal((await reload(sluice)).status, 200);
    assert.equal((await ask(sluice.proxyUrl, { headers })).status, 403);
  }
  await waitFor('the first database to be left', async () => (await connectionsTo(first)) === 0);
  const left = await sql.query("select from audit where text ~ 'the audit move to another database'");
  assert.ok(Number(left.rowCount) > 0, 'the audit of the former database does not tell that it was left');
  assert.ok((await connectionsTo(second)) <= 5, 'a pool of four and one that listens');
  const { failures, statuses } = await load.stop();
  assert.deepEqual([failures, Object.keys(statuses)], [{}, ['200', '403']]);
});

test('B37: a database that does not answer, or has no schema, refuses the reload; the embedded one needs a restart', async (t) => {
  const { postgres, first, configOf, connectionsTo } = await startScene(t);
  const sluice = await startSluice({ config: configOf(first) });
  t.after(() => sluice.stop());
  const acme = clientAt(sluice, '127.0.0.1');
  await askJson(acme, { method: 'PUT', body: { mode: 'blocked' } });
  const empty = await makeDatabase(postgres);
  const refused: [object, RegExp][] = [
    [configOf('postgres://postgres@127.0.0.1:1/none'), /the new database cannot be read: .*ECONNREFUSED/],
    [configOf(empty), /the new database cannot be read: /],
    [
      configOf(first, { database: { embeddedPath: './elsewhere' } }),
      /from or to the embedded database needs a restart/,
    ],
  ];
  for (const [config, reason] of refused) {
    sluice.configure({ ...config, workers: 1 });
    const { status, body } = await reload(sluice);
    assert.equal(status, 422);
    assert.match(JSON.stringify(body.errors), /"field":"database"/);
    assert.match(JSON.stringify(body.errors), reason);
    assert.equal((await ask(sluice.proxyUrl)).status, 403, 'its clients stay in force');
    assert.deepEqual((await askJson(`${sluice.adminUrl}/readyz`)).body.degraded, []);
  }
  assert.equal(await connectionsTo(empty), 0);
  await askJson(acme, { method: 'PUT', body: { mode: 'limit' } });
  assert.equal((await ask(sluice.proxyUrl)).status, 200);
});
