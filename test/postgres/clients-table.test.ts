import assert from 'node:assert/strict';
import { type AddressInfo, connect as connectSocket, createServer } from 'node:net';
import { after, before, test } from 'node:test';
import pg from 'pg';
import { ClientRepository } from '../../src/clients/client-repository.ts';
import { DirectoryReader } from '../../src/clients/directory-reader.ts';
import type { Database } from '../../src/infra/postgres/postgres.ts';
import { constraintOf, sqlStateOf } from '../../src/infra/postgres/postgres-errors.ts';
import { type PostgresServer, startPostgres } from '../support/postgres.ts';
import { waitFor } from '../support/wait.ts';
import { INPUT, makeMigrated, openDatabase, silent } from './support.ts';

let server: PostgresServer;
before(async () => {
  server = await startPostgres();
});
after(() => server.remove());

const INSERT =
  'insert into clients (client_id, mode, capacity, refill_per_second, limits) values ($1, $2, $3, $4, $5)';

async function refused(database: Database, values: unknown[], constraint: string): Promise<void> {
  await assert.rejects(database.query(INSERT, values), (error) => {
    assert.equal(sqlStateOf(error), '23514', String(error));
    assert.equal(constraintOf(error), constraint);
    return true;
  });
}

test('the table refuses invalid clients from every writer', async (t) => {
  const { database } = await makeMigrated(t, server);
  const own = (limits: unknown) => ['a', 'limit', null, null, JSON.stringify(limits)];
  await refused(database, ['', 'limit', null, null, '{}'], 'clients_client_id_fits');
  await refused(database, ['x'.repeat(129), 'limit', null, null, '{}'], 'clients_client_id_fits');
  await refused(database, ['a', 'open', null, null, '{}'], 'clients_mode_fits');
  await refused(database, ['a', 'limit', 0, 1, '{}'], 'clients_capacity_fits');
  await refused(database, ['a', 'limit', 1_000_000_001, 1e6, '{}'], 'clients_capacity_fits');
  for (const rate of [0, -1, 1.1e9, 'Infinity']) {
    await refused(database, ['a', 'limit', 1, rate, '{}'], 'clients_refill_fits');
  }
  await refused(database, ['a', 'limit', 1, null, '{}'], 'clients_both_or_neither');
  await refused(database, ['a', 'limit', null, 1, '{}'], 'clients_both_or_neither');
  await refused(database, ['a', 'limit', 1, 'NaN', '{}'], 'clients_full_in_30_days');
  await refused(database, ['a', 'limit', 2_592_001, 1, '{}'], 'clients_full_in_30_days');
  const good = { capacity: 10, refillPerSecond: 1 };
  for (const limits of [
    [],
    'text',
    { default: good },
    { p: 1 },
    { p: {} },
    { p: { capacity: 10 } },
    { p: { ...good, more: 1 } },
    { p: { capacity: '10', refillPerSecond: 1 } },
    { p: { capacity: 1.5, refillPerSecond: 1 } },
    { p: { capacity: 0, refillPerSecond: 1 } },
    { p: { capacity: 2e9, refillPerSecond: 1e6 } },
    { p: { capacity: 1, refillPerSecond: 0 } },
    { p: { capacity: 2_592_001, refillPerSecond: 1 } },
    { ok: good, p: { capacity: 1, refillPerSecond: 2e9 } },
  ]) {
    await refused(database, own(limits), 'clients_limits_fit');
  }
  const wide = Object.fromEntries(Array.from({ length: 2_000 }, (_, i) => [`policy-${i}`, good]));
  await refused(database, own(wide), 'clients_limits_size');
  await database.query(INSERT, ['edge-1', 'limit', 1_000_000_000, 1e9, '{}']);
  await database.query(INSERT, [
    'edge-2',
    'unlimited',
    2_592_000,
    1,
    JSON.stringify({ p: { capacity: 1, refillPerSecond: 1e-6 } }),
  ]);
  await assert.rejects(
    database.query("update clients set client_id = 'other' where client_id = 'edge-1'"),
    (error) => {
      assert.equal(constraintOf(error), 'clients_client_id_fits');
      return true;
    },
  );
});

test('versions rise over create, change, delete and create again, even if the clock goes back', async (t) => {
  const { database, repository } = await makeMigrated(t, server);
  const before = await database.nowUs();
  const tombstoneUs = async () =>
    Number((await database.query('select version_us from client_tombstones'))[0]?.version_us);
  const created = await repository.create('acme', INPUT);
  assert.ok(
    created.versionUs >= before && created.versionUs <= (await database.nowUs()),
    'the version is the time',
  );
  const { record: changed } = await repository.patch('acme', { mode: 'blocked' });
  assert.ok(changed.versionUs > created.versionUs);
  await repository.remove('acme');
  const buried = await tombstoneUs();
  assert.ok(buried > changed.versionUs);
  const again = await repository.create('acme', INPUT);
  assert.ok(again.versionUs > buried);
  assert.deepEqual(
    await database.query('select * from client_tombstones'),
    [],
    'a living client has no tombstone',
  );

  // As after a write by a machine whose clock is an hour ahead.
  const hourUs = 3_600_000_000;
  await database.query('update clients set version_us = $1', [again.versionUs + hourUs]);
  const ahead = (await repository.get('acme')).versionUs;
  assert.ok(ahead >= again.versionUs + hourUs);
  assert.equal((await repository.patch('acme', { mode: 'limit' })).record.versionUs, ahead + 1);
  await repository.remove('acme');
  assert.equal(await tombstoneUs(), ahead + 2);
  assert.equal((await repository.put('acme', INPUT)).record.versionUs, ahead + 3);
});

test('a client re-created while its deletion is still uncommitted gets a version above the tombstone', async (t) => {
  const { url, database, repository } = await makeMigrated(t, server);
  await repository.create('acme', INPUT);
  const slow = new pg.Client({ connectionString: url });
  await slow.connect();
  t.after(() => slow.end());
  await slow.query('begin');
  await slow.query("delete from clients where client_id = 'acme'");
  await slow.query('update client_tombstones set version_us = version_us + 60000000');
  const pending = repository.create('acme', INPUT);
  await waitForBlocked(database);
  const { rows } = await slow.query('select version_us from client_tombstones');
  await slow.query('commit');
  await pending;
  assert.ok((await repository.get('acme')).versionUs > Number(rows[0]?.version_us));
  assert.deepEqual(await database.query('select * from client_tombstones'), []);
});

test('truncate leaves a tombstone for every client', async (t) => {
  const { database, repository } = await makeMigrated(t, server);
  await repository.create('a', INPUT);
  await repository.create('b', INPUT);
  await database.query('truncate clients cascade');
  const rows = await database.query('select client_id from client_tombstones order by 1');
  assert.deepEqual(rows, [{ client_id: 'a' }, { client_id: 'b' }]);
});

test('old tombstones are deleted, recent ones stay', async (t) => {
  const { database } = await makeMigrated(t, server);
  const dayUs = 86_400_000_000;
  const nowUs = await database.nowUs();
  for (const [id, days] of [
    ['old', 32],
    ['young', 30],
  ] as const) {
    await database.query('insert into client_tombstones values ($1, $2, pg_current_xact_id())', [
      id,
      nowUs - days * dayUs,
    ]);
  }
  const beforeUs = await new DirectoryReader(database).dropTombstones(31);
  assert.ok(Math.abs(beforeUs - (nowUs - 31 * dayUs)) < 60e6);
  assert.deepEqual(await database.query('select client_id from client_tombstones'), [{ client_id: 'young' }]);
});

test('the repository creates, reads, replaces, changes, lists and removes', async (t) => {
  const { repository } = await makeMigrated(t, server);
  const limits = { search: { capacity: 5, refillPerSecond: 0.5 } };
  const made = await repository.create('acme', { mode: 'limit', capacity: 100, refillPerSecond: 10, limits });
  assert.deepEqual(made, {
    clientId: 'acme',
    mode: 'limit',
    limits: { default: { capacity: 100, refillPerSecond: 10 }, ...limits },
    versionUs: made.versionUs,
  });
  assert.deepEqual(await repository.get('acme'), made);
  const patched = await repository.patch('acme', { mode: 'unlimited' });
  assert.deepEqual(patched.before, made);
  const { record } = patched;
  assert.deepEqual({ ...record, versionUs: 0 }, { ...made, mode: 'unlimited', versionUs: 0 });
  assert.deepEqual((await repository.patch('acme', { limits: {} })).record.limits, {
    default: { capacity: 100, refillPerSecond: 10 },
  });
  assert.deepEqual(
    (await repository.patch('acme', { capacity: null, refillPerSecond: null })).record.limits,
    {},
  );
  const replaced = await repository.put('acme', { ...INPUT, capacity: 7, refillPerSecond: 0.7 });
  assert.deepEqual(replaced, {
    before: { ...made, mode: 'unlimited', limits: {}, versionUs: replaced.before?.versionUs },
    record: {
      clientId: 'acme',
      mode: 'limit',
      limits: { default: { capacity: 7, refillPerSecond: 0.7 } },
      versionUs: replaced.record.versionUs,
    },
  });
  assert.equal((await repository.put('10.0.0.0/8', { ...INPUT, mode: 'blocked' })).before, null);
  await repository.create('Acme', INPUT);
  const first = await repository.list({ limit: 2, after: null });
  assert.deepEqual([first.items.map((item) => item.clientId), first.next], [['10.0.0.0/8', 'Acme'], 'Acme']);
  const second = await repository.list({ limit: 2, after: first.next });
  assert.deepEqual([second.items.map((item) => item.clientId), second.next], [['acme'], null]);
  assert.deepEqual(await repository.remove('acme'), replaced.record);
  assert.deepEqual((await repository.list({ limit: 2, after: null })).next, null);
});

test('clients are listed by the beginning of their ids, from the index alone', async (t) => {
  const { repository, database } = await makeMigrated(t, server);
  await database.query(
    `insert into clients (client_id, mode) select 'shop-' || n, 'limit' from generate_series(1, 20000) n`,
    [],
  );
  for (const clientId of ['shop', 'shop.', 'shop0', 'sho', '10.0.0.0/8'])
    await repository.create(clientId, INPUT);
  const ids = async (prefix: string, after: string | null = null) =>
    (await repository.list({ limit: 3, after, prefix })).items.map(({ clientId }) => clientId);
  assert.deepEqual(await ids('shop-1999'), ['shop-1999', 'shop-19990', 'shop-19991']);
  assert.deepEqual(await ids('shop-1999', 'shop-19998'), ['shop-19999']);
  assert.deepEqual(await ids('shop.'), ['shop.']);
  assert.deepEqual(await ids('10.'), ['10.0.0.0/8']);
  assert.deepEqual(await ids('shopz'), []);
  const plan = await database.query(
    `explain select client_id from clients where client_id > $1 and client_id >= $3 and client_id < $4 order by client_id limit $2`,
    ['', 3, 'shop-1', 'shop-2'],
  );
  assert.match(JSON.stringify(plan), /Index.* using clients_pkey/);
});

test('refusals have a code and change nothing', async (t) => {
  const { repository } = await makeMigrated(t, server);
  const acme = await repository.create('acme', { ...INPUT, capacity: 10, refillPerSecond: 1 });
  await assert.rejects(repository.create('acme', INPUT), { code: 'client_exists', status: 409 });
  const missing = { code: 'client_not_found', status: 404 };
  await assert.rejects(repository.get('x'), missing);
  await assert.rejects(repository.patch('x', { mode: 'limit' }), missing);
  await assert.rejects(repository.remove('x'), missing);
  const misfit = { code: 'bad_request', status: 422 };
  await assert.rejects(repository.patch('acme', { capacity: null }), {
    ...misfit,
    message: /clients_both_or_neither/,
  });
  await assert.rejects(repository.patch('acme', { capacity: 1e10 }), misfit);
  await assert.rejects(repository.put('acme', { ...INPUT, capacity: 1e9, refillPerSecond: 1 }), misfit);
  await assert.rejects(
    repository.create('b', { ...INPUT, limits: { default: { capacity: 1, refillPerSecond: 1 } } }),
    misfit,
  );
  assert.deepEqual((await repository.list({ limit: 10, after: null })).items, [acme]);
});

test('put succeeds while other writers create and delete the same client', async (t) => {
  const { repository } = await makeMigrated(t, server);
  const attempt = async (round: number): Promise<string> => {
    if (round % 2 === 0) return (await repository.put('acme', { ...INPUT, mode: 'blocked' })).record.mode;
    try {
      await repository.remove('acme');
      return 'removed';
    } catch (error) {
      assert.equal((error as { code?: string }).code, 'client_not_found');
      return 'absent';
    }
  };
  const outcomes = await Promise.all(Array.from({ length: 60 }, (_, round) => attempt(round)));
  assert.equal(outcomes.filter((outcome) => outcome === 'blocked').length, 30);
});

test('a database that is away or silent is database_unavailable within the deadline', async (t) => {
  const { url, repository } = await makeMigrated(t, server);
  const gone = new ClientRepository(openDatabase(t, 'postgres://postgres@127.0.0.1:1/none'));
  const away = { code: 'database_unavailable', status: 503, retryable: true };
  await assert.rejects(gone.get('a'), away);
  await assert.rejects(gone.create('a', INPUT), away);

  const database = openDatabase(t, url, { connectMs: 300, statementMs: 300 });
  const impatient = new ClientRepository(database);
  await impatient.create('a', INPUT);
  // The server's statement timeout, while another writer holds a lock.
  const holder = new pg.Client({ connectionString: url });
  await holder.connect();
  await holder.query('begin; lock table clients');
  const { lossCount } = database;
  await assert.rejects(impatient.get('a'), { ...away, message: /statement timeout/ });
  assert.equal(database.lossCount, lossCount, 'nothing but a statement failed');
  await holder.end();
  assert.equal((await impatient.get('a')).clientId, 'a');

  // Frozen: not even the server processes of open connections answer.
  const backends = await database.query(
    "select pid from pg_stat_activity where backend_type = 'client backend'",
  );
  const pids = [server.pid, ...backends.map((row) => Number(row.pid))];
  for (const pid of pids) process.kill(pid, 'SIGSTOP');
  const startedMs = performance.now();
  try {
    await assert.rejects(impatient.get('a'), away);
    assert.ok(database.lossCount > lossCount, 'the connection was lost');
    await assert.rejects(impatient.get('a'), away);
  } finally {
    for (const pid of pids) process.kill(pid, 'SIGCONT');
  }
  assert.ok(performance.now() - startedMs < 4_000, 'the deadlines were not kept');
  assert.equal((await impatient.get('a')).clientId, 'a');
  assert.equal((await repository.get('a')).clientId, 'a');
});

test('a use that waits in vain for others to end is no loss of the database', async (t) => {
  const { url } = await makeMigrated(t, server);
  const database = openDatabase(t, url, { connectMs: 200 });
  const others = Array.from({ length: 4 }, () => database.read('select pg_sleep(1)'));
  await assert.rejects(database.read('select 1'), {
    code: 'database_unavailable',
    message: /all connections are in use/,
  });
  await Promise.all(others);
  assert.equal(database.lossCount, 0);
});

async function waitForBlocked(database: Database): Promise<void> {
  await waitFor('a writer to wait for the deletion', async () => {
    const rows = await database.query('select 1 from pg_locks where not granted');
    return rows.length > 0;
  });
}

test('closing the database while a statement hangs cuts the statement in time', async (t) => {
  const { url } = await makeMigrated(t, server);
  const database = openDatabase(t, url, { logger: silent, statementMs: 60_000 });
  const hanging = assert.rejects(database.query('select pg_sleep(60)'), { code: 'database_unanswered' });
  const startedMs = performance.now();
  await database.query('select 1');
  await database.close();
  await hanging;
  assert.ok(performance.now() - startedMs < 4_500);
});

test('a process that is suspended inside a transaction keeps its locks for a shorter time than others wait for them', async (t) => {
  const { url, database } = await makeMigrated(t, server);
  const suspended = openDatabase(t, url, { statementMs: 1_000 });
  let other: Promise<unknown> | undefined;
  const transaction = suspended.transaction(10_000, async (query) => {
    await query('lock table clients in access exclusive mode');
    other = database.query('select from clients');
    await Promise.allSettled([other]);
  });
  await assert.rejects(transaction, { code: 'database_unanswered' });
  await other;
  await suspended.query('select from clients');
});

test('the server ends each transaction, snapshot and migration in which nothing is sent any more', async (t) => {
  const { url } = await makeMigrated(t, server);
  const database = openDatabase(t, url, { statementMs: 1_234 });
  const limitOf = async (query: (text: string) => Promise<unknown>) =>
    query('show idle_in_transaction_session_timeout');
  const seen = [
    await database.transaction(9_000, limitOf),
    await database.readSnapshot(9_000, limitOf),
    await database.migrating(9_000, (_, query) => limitOf(query)),
    await limitOf((text) => database.query(text)),
  ];
  assert.deepEqual(
    seen,
    ['617ms', '2468ms', '617ms', '0'].map((limit) => [{ idle_in_transaction_session_timeout: limit }]),
  );
});

test('no start-up parameter that PgBouncer refuses is sent, and each session has a statement timeout', async (t) => {
  const { url } = await makeMigrated(t, server);
  const startups: string[] = [];
  const { port, hostname } = new URL(url);
  // A proxy that reads the first message of each connection, as PgBouncer does.
  const proxy = createServer((client) => {
    const upstream = connectSocket(Number(port), hostname);
    client.once('data', (bytes) => startups.push(bytes.toString('latin1', 8)));
    client.pipe(upstream).pipe(client);
    for (const socket of [client, upstream]) socket.on('error', () => socket.destroy());
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  t.after(() => proxy.close());
  const through = new URL(url);
  through.port = String((proxy.address() as AddressInfo).port);
  const database = openDatabase(t, through.href, { statementMs: 1_234 });
  const [row] = await database.query('show statement_timeout');
  assert.equal(row?.statement_timeout, '1234ms');
  // PgBouncer accepts these and refuses all others, unless configured to ignore them.
  const tracked = ['user', 'database', 'client_encoding', 'application_name'];
  for (const startup of startups) {
    const names = startup.split('\0').filter((_, index) => index % 2 === 0);
    assert.deepEqual(
      names.filter((name) => name !== '' && !tracked.includes(name)),
      [],
    );
  }
});
