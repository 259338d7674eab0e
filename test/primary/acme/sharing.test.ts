/** Machines that share a database, and an authority that may ask any of them. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { pino } from 'pino';
import { migrate } from '../../../src/infra/postgres/migrations.ts';
import type { Database } from '../../../src/infra/postgres/postgres.ts';
import { AcmeTables } from '../../../src/primary/acme/tables.ts';
import { makeMigrated, openDatabase, silent } from '../../postgres/support.ts';
import { startAuthority } from '../../support/pebble.ts';
import { makeDatabase, startPostgres } from '../../support/postgres.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { waitFor } from '../../support/wait.ts';
import { copyOf, startAnswering, startManager } from './support.ts';

const server = await startPostgres();
after(() => server.remove());

/** Whether a machine asks for challenges of others already: an order waits for those that are noted. */
async function isMachineNoted(database: Database): Promise<boolean> {
  const rows = await database.read('select from acme_machines');
  return rows.length === 1;
}

function ordersOf({ requests }: { requests: string[] }): number {
  return requests.filter((line) => line === 'POST /order-plz').length;
}

test('any machine answers the challenge of the one that orders, and takes over the certificate', async (t) => {
  const { url, database } = await makeMigrated(t, server);
  const [here, there] = [await startAnswering(t), await startAnswering(t)];
  const authority = await startAuthority(t, { httpPort: there.port });
  const machine = (answering: typeof here, names: string[], connected = openDatabase(t, url)) =>
    startManager(t, authority, {
      tellWorkers: answering.tellWorkers,
      storage: tempFolder(t),
      names,
      database: connected,
    });
  // Its workers are slow: the authority must not be called before they know the challenge.
  const askedTwice = Promise.withResolvers<void>();
  t.after(() => askedTwice.resolve());
  const slow = async (...told: Parameters<typeof there.tellWorkers>) => {
    await askedTwice.promise;
    await there.tellWorkers(...told);
  };
  const other = machine({ ...there, tellWorkers: slow }, []);
  await waitFor('the other machine to be noted', () => isMachineNoted(database));
  const own = openDatabase(t, url);
  const read = t.mock.method(own, 'read');
  const ordering = machine(here, ['one.example'], own);
  await waitFor('the ordering machine to ask twice whether all know the challenge', () => {
    const texts = read.mock.calls.map(({ arguments: [text] }) => String(text));
    return texts.filter((text) => text.includes('all(tokens)')).length >= 2;
  });
  askedTwice.resolve();
  await waitFor('the certificate', () => ordering.manager.certificates[0]);
  assert.deepEqual(ordering.orders, ['ok'], 'the authority was not called before the other machine knew');
  await waitFor('the challenges to be closed', () => here.challenges.size + there.challenges.size === 0);
  const late = machine(here, ['one.example']);
  const [taken] = await waitFor('the certificate on a third machine', () => late.changes[0]);
  assert.equal(taken?.pem, ordering.manager.certificates[0]?.pem);
  assert.equal(ordersOf(authority), 1);
  assert.deepEqual([other.orders, late.orders], [[], []]);
});

test('a certificate is kept although its challenge cannot be closed', async (t) => {
  const { url, database } = await makeMigrated(t, server);
  await database.query(`create function refuse() returns trigger language plpgsql
    as $$ begin raise exception 'no more space'; end $$`);
  await database.query(
    'create trigger refuse before delete on acme_challenges for each row execute function refuse()',
  );
  const answering = await startAnswering(t);
  const authority = await startAuthority(t, { httpPort: answering.port });
  const { manager, orders, lines } = startManager(t, authority, {
    tellWorkers: answering.tellWorkers,
    storage: tempFolder(t),
    database: openDatabase(t, url),
  });
  await waitFor('the end of the order', () => orders[0]);
  assert.deepEqual(orders, ['ok']);
  assert.equal(manager.certificates.length, 1);
  assert.match(JSON.stringify(lines), /stays open until it expires/);
});

test('a machine whose folder cannot be written orders all the same, for the key of the account is in the database', async (t) => {
  const { url, database } = await makeMigrated(t, server);
  const answering = await startAnswering(t);
  const authority = await startAuthority(t, { httpPort: answering.port });
  const { manager, orders, lines } = startManager(t, authority, {
    tellWorkers: answering.tellWorkers,
    storage: join(import.meta.filename, 'acme'),
    database: openDatabase(t, url),
  });
  await waitFor('the end of the order', () => orders[0]);
  assert.deepEqual(orders, ['ok']);
  assert.equal(manager.certificates.length, 1);
  assert.match(JSON.stringify(lines), /the key of the ACME account is not in acme.storage/);
  await waitFor('the certificate in the database', async () => {
    const [row] = await database.read('select pem from acme_certificates');
    return row?.pem === manager.certificates[0]?.pem;
  });
});

test('a machine that gives up its orders goes on to answer challenges of others', async (t) => {
  const { url, database } = await makeMigrated(t, server);
  const [here, there] = [await startAnswering(t), await startAnswering(t)];
  const authority = await startAuthority(t, { httpPort: there.port });
  const start = ({ tellWorkers }: typeof here, names: string[]) =>
    startManager(t, authority, {
      tellWorkers,
      storage: tempFolder(t),
      names,
      database: openDatabase(t, url),
    });
  const drained = start(there, []);
  drained.manager.stopOrders();
  await waitFor('the drained machine to be noted', () => isMachineNoted(database));
  const ordering = start(here, ['one.example']);
  await waitFor('the end of the order', () => ordering.orders[0]);
  assert.deepEqual(ordering.orders, ['ok']);
});

test('of machines that want a certificate at once, one orders it, under the account of all', async (t) => {
  const { url, database } = await makeMigrated(t, server);
  const answering = await startAnswering(t);
  const authority = await startAuthority(t, { httpPort: answering.port, validitySec: 15 });
  const machines = Array.from({ length: 3 }, () => {
    const storage = tempFolder(t);
    const { tellWorkers } = answering;
    return {
      storage,
      ...startManager(t, authority, { tellWorkers, storage, database: openDatabase(t, url) }),
    };
  });
  const pems = () => machines.map(({ manager }) => manager.certificates[0]?.pem);
  const allHave = (pem: string | undefined) => pem !== undefined && pems().every((each) => each === pem);
  const first = await waitFor('all machines to have a certificate', () => allHave(pems()[0]) && pems()[0]);
  assert.equal(ordersOf(authority), 1);
  // The renewal.
  await waitFor('all machines to have another one', () => pems()[0] !== first && allHave(pems()[0]));
  assert.equal(ordersOf(authority), 2);
  const [row] = await database.read(
    'select failures, key_pem from acme_certificates join acme_accounts using (directory)',
  );
  assert.equal(row?.failures, 0);
  assert.match(String(row?.key_pem), /BEGIN PRIVATE KEY/);
  await Promise.all(machines.map(({ manager }) => manager.close()));
  assert.deepEqual(await database.read('select from acme_machines'), []);
});

test('a machine keeps its certificate while the database is away, or has a broken one or none, and shares it again', async (t) => {
  const { url, database } = await makeMigrated(t, server);
  const answering = await startAnswering(t);
  const authority = await startAuthority(t, { httpPort: answering.port });
  const { tellWorkers } = answering;
  const storage = tempFolder(t);
  const first = startManager(t, authority, { tellWorkers, storage });
  const held = await waitFor('a certificate', () => first.manager.certificates[0]?.pem);
  await first.manager.close();

  const shared = async (storageOfIt: string, to: string) => {
    const options = {
      tellWorkers,
      storage: storageOfIt,
      database: openDatabase(t, to),
      times: { lookMs: 50 },
    };
    return startManager(t, authority, options);
  };
  const pemOf = async () => (await database.read('select pem from acme_certificates'))[0]?.pem;
  const second = await shared(storage, url);
  await waitFor('the certificate in the database', async () => (await pemOf()) === held);
  await database.query("update acme_certificates set pem = 'broken', version = default");
  await waitFor('the certificate instead of a broken one', async () => (await pemOf()) === held);
  assert.equal(second.manager.certificates[0]?.pem, held);
  assert.match(JSON.stringify(second.lines), /a certificate in the database cannot be used/);
  await database.query('delete from acme_certificates');
  await waitFor('the certificate that had vanished', async () => (await pemOf()) === held);
  await second.manager.close();

  const away = await shared(copyOf(t, storage), 'postgres://nobody@127.0.0.1:1/none');
  await waitFor('a warning', () => away.lines.some(({ msg }) => /cannot be shared/.test(String(msg))));
  assert.equal(away.manager.certificates[0]?.pem, held);
  assert.equal(ordersOf(authority), 1);
  await away.manager.close();
});

test('a schema without the tables is one warning, and no order begins', async (t) => {
  const url = await makeDatabase(server);
  const database = openDatabase(t, url);
  await migrate(database, 'up', { logger: silent });
  for (const _ of ['statuses of gRPC', 'requests', 'the audit', 'the tables'])
    await migrate(database, 'down', { logger: silent });
  const answering = await startAnswering(t);
  const authority = await startAuthority(t, { httpPort: answering.port });
  const { lines, manager } = startManager(t, authority, {
    tellWorkers: answering.tellWorkers,
    storage: tempFolder(t),
    database,
    times: { lookMs: 20 },
  });
  await waitFor('the log', () => lines.some(({ msg }) => /order cannot begin/.test(String(msg))));
  const looks = () => lines.filter(({ msg }) => /cannot be shared/.test(String(msg)));
  await waitFor('two more looks', () => looks().length >= 3);
  const warnings = looks().filter(({ level }) => level === pino.levels.values.warn);
  assert.equal(warnings.length, 1);
  assert.match(
    JSON.stringify(warnings),
    /lacks 0003_acme, 0004_audit, 0005_audit_requests, 0006_audit_grpc_status: run `sluice migrate up`/,
  );
  assert.deepEqual(authority.requests, []);
  await manager.close();
});

test('of too many challenges the newest are answered', async (t) => {
  const { database } = await makeMigrated(t, server);
  const tables = new AcmeTables(database, 'https://ca.example/dir');
  await database.query(
    `insert into acme_challenges
       select 'old' || n, 'x', clock_timestamp() + interval '1 minute' from generate_series(1, 100) n`,
  );
  await tables.openChallenge({ token: 'new', keyAuthorization: 'y' });
  const tokens = (await tables.challenges()).map(({ token }) => token);
  assert.ok(tokens.length === 100 && tokens.includes('new'));
});

test('an attempt belongs to one machine, and one that dies has failed', async (t) => {
  const { database } = await makeMigrated(t, server);
  const tables = new AcmeTables(database, 'https://ca.example/dir');
  const claims = await Promise.all([1, 2, 3].map(() => tables.claim('a.example', null, () => 60_000)));
  assert.deepEqual(claims.map(({ isGranted }) => isGranted).sort(), [false, false, true]);
  const waits = claims.filter(({ isGranted }) => !isGranted).map(({ waitMs }) => waitMs);
  assert.ok(
    waits.every((waitMs) => waitMs > 50_000 && waitMs <= 60_000),
    waits.join(),
  );
  await tables.settle('a.example', 1, 0);
  assert.equal((await tables.claim('a.example', null, () => 1)).failures, 2);
  await tables.publish('a.example', 'pem');
  const outdated = await tables.claim('a.example', null, () => 1);
  assert.deepEqual([outdated.pem, outdated.isGranted], ['pem', false], 'another machine was faster');
  assert.equal((await tables.claim('a.example', 'pem', () => 1)).failures, 1);
  assert.equal(
    (await new AcmeTables(database, 'https://other.example/dir').claim('a.example', null, () => 1)).pem,
    null,
  );
});
