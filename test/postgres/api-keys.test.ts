/** API keys in a real PostgreSQL: the table, the repository, and the path from a write to a worker's directory. */
import assert from 'node:assert/strict';
import { statSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { digestOf, isApiKey, makeSigningSecret } from '../../src/clients/api-key.ts';
import { MAX_KEYS_PER_CLIENT } from '../../src/clients/api-key-store.ts';
import { clientCountOf, keyCountOf } from '../clients/counts.ts';
import { type PostgresServer, startPostgres } from '../support/postgres.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { waitFor } from '../support/wait.ts';
import { attachWorker, startFeed } from './feed-lab.ts';
import { INPUT, insertKeys, makeMigrated, openDatabase } from './support.ts';

let server: PostgresServer;
before(async () => {
  server = await startPostgres();
});
after(() => server.remove());

const FIRST_PAGE = { limit: 100, after: null };
/** The promised second. */
function soon(what: string, probe: () => unknown): Promise<unknown> {
  return waitFor(`${what} within 1 s`, probe, { timeoutMs: 1_000 });
}

test('a key is issued, listed in order of creation and revoked; the database has only its HMAC', async (t) => {
  const { database, repository: clients } = await makeMigrated(t, server);
  await clients.create('acme', INPUT);
  await clients.create('other', INPUT);
  const { service } = startFeed(t, database);
  const made = [];
  for (const name of ['ci', null, 'ümlaut']) made.push(await service.issue('acme', name));
  for (const { key, keyId, createdAt } of made) {
    assert.ok(isApiKey(key) && /^[0-9a-f]{24}$/.test(keyId) && key.startsWith(`slk_${keyId}_`), key);
    assert.ok(Math.abs(Date.parse(createdAt) - Date.now()) < 60_000);
  }
  assert.equal(new Set(made.map(({ key }) => key)).size, 3);
  const shown = made.map(({ key: _, ...view }) => view);
  assert.deepEqual(await service.list('acme', FIRST_PAGE), { items: shown, next: null });
  const first = await service.list('acme', { limit: 2, after: null });
  assert.deepEqual(first, { items: shown.slice(0, 2), next: shown[1]?.keyId });
  assert.deepEqual(await service.list('acme', { limit: 2, after: first.next }), {
    items: shown.slice(2),
    next: null,
  });
  assert.deepEqual(await service.list('other', FIRST_PAGE), { items: [], next: null });

  const stored = JSON.stringify(
    await database.query('select k.*, encode(digest, $1) as text from api_keys k', ['escape']),
  );
  const { key, keyId } = made[0] ?? assert.fail();
  assert.ok(!stored.includes(key.slice(-43)), 'the key itself is in the table');
  const [row] = await database.query('select digest from api_keys where key_id = $1', [keyId]);
  const { key: secret } = makeSigningSecret('a secret of many machines');
  assert.ok(Buffer.isBuffer(row?.digest));
  assert.deepEqual(row.digest, digestOf(secret, key));

  await service.revoke('acme', keyId);
  assert.deepEqual((await service.list('acme', FIRST_PAGE)).items, shown.slice(1));
  await assert.rejects(service.revoke('acme', keyId), { code: 'key_not_found', status: 404 });
  await assert.rejects(service.revoke('other', made[1]?.keyId ?? ''), { code: 'key_not_found' });
  for (const call of [
    () => service.issue('nobody', null),
    () => service.list('nobody', FIRST_PAGE),
    () => service.revoke('nobody', keyId),
  ]) {
    await assert.rejects(call, { code: 'client_not_found', status: 404 });
  }
});

test('issued and revoked keys reach the workers of two machines within 1 s, by NOTIFY alone and by the poll alone', async (t) => {
  const { url, database, repository: clients } = await makeMigrated(t, server);
  await clients.create('acme', INPUT);
  const own = startFeed(t, database, { pollMs: 3_600_000, notified: false });
  const notified = startFeed(t, openDatabase(t, url), { pollMs: 3_600_000 });
  const polling = startFeed(t, openDatabase(t, url), { notified: false });
  const machines = [own, notified, polling];
  for (const { feed } of machines) await waitFor('the first load', () => feed.loaded);
  await waitFor('the feed to listen', async () => {
    const rows = await database.query('select 1 from pg_stat_activity where query = $1', [
      'listen "sluice_api_keys"',
    ]);
    return rows.length > 0;
  });
  const { key, keyId } = await own.service.issue('acme', null);
  await soon('the key on every machine', () => machines.every(({ clientOf }) => clientOf(key) === 'acme'));
  const remembered = machines.map(({ keys }) => keys.verify(key));
  await own.service.revoke('acme', keyId);
  await soon('its end on every machine', () => machines.every(({ clientOf }) => clientOf(key) === 'unknown'));
  for (const found of remembered) assert.ok(typeof found === 'object' && found.revoked);
});

test('a client has a maximum number of keys, and can get one more after a revocation', async (t) => {
  const { database, repository: clients } = await makeMigrated(t, server);
  for (const clientId of ['acme', 'other']) await clients.create(clientId, INPUT);
  await insertKeys(database, MAX_KEYS_PER_CLIENT - 1);
  const { service } = startFeed(t, database);
  const { keyId } = await service.issue('acme', null);
  await assert.rejects(service.issue('acme', null), { code: 'too_many_keys', status: 409 });
  await service.issue('other', null);
  await service.revoke('acme', keyId);
  await service.issue('acme', null);
});

test('simultaneous calls from two machines do not exceed that maximum', async (t) => {
  const { url, database, repository: clients } = await makeMigrated(t, server);
  await clients.create('acme', INPUT);
  await insertKeys(database, MAX_KEYS_PER_CLIENT - 2);
  // Long enough for every call to count the keys before the first one inserts.
  await database.query(
    'create function dawdle() returns trigger language plpgsql as $$ begin perform pg_sleep(0.2); return new; end $$',
  );
  await database.query(
    'create trigger dawdle before insert on api_keys for each row execute function dawdle()',
  );
  const machines = [database, openDatabase(t, url)].map((each) => startFeed(t, each));
  const calls = machines.flatMap(({ service }) => [1, 2, 3, 4].map(() => service.issue('acme', null)));
  const results = await Promise.allSettled(calls);
  const refused = results.filter((result) => result.status === 'rejected');
  assert.deepEqual(
    refused.map(({ reason }) => reason.code),
    Array(6).fill('too_many_keys'),
  );
  const [row] = await database.query('select count(*)::integer as n from api_keys');
  assert.equal(row?.n, MAX_KEYS_PER_CLIENT);
});

test('keys are deleted with their client in every way, and do not return with a new client of the same name', async (t) => {
  const { database, repository: clients } = await makeMigrated(t, server);
  const { service, directory, feed, clientOf } = startFeed(t, database, { pollMs: 20, notified: false });
  await waitFor('the first load', () => feed.loaded);
  for (const end of [() => clients.remove('acme'), () => database.query('truncate clients cascade')]) {
    await clients.create('acme', INPUT);
    const { key } = await service.issue('acme', null);
    await soon('the key', () => clientOf(key) === 'acme');
    await end();
    await soon('its end', () => clientOf(key) === 'unknown');
    await clients.create('acme', INPUT);
    assert.deepEqual((await service.list('acme', FIRST_PAGE)).items, []);
    await clients.remove('acme');
  }
  assert.equal(keyCountOf(directory.table), 0);
  await assert.rejects(
    database.query("insert into api_keys (key_id, client_id, digest, secret_id) values ($1, 'x', $2, 's')", [
      '0'.repeat(24),
      Buffer.alloc(32),
    ]),
    { code: 'internal_error' },
  );
});

test('without a configured secret the first key makes one (0600), which is used after restarts and by other processes', async (t) => {
  const { database, repository: clients } = await makeMigrated(t, server);
  await clients.create('acme', INPUT);
  const folder = tempFolder(t, 'sluice-keys-');
  const options = { configured: null, folder, pollMs: 20, notified: false };
  const first = startFeed(t, database, options);
  const beside = startFeed(t, database, options);
  for (const { feed } of [first, beside]) await waitFor('the first load', () => feed.loaded);
  assert.equal(first.secret.current, null);
  assert.throws(() => statSync(first.path), { code: 'ENOENT' });
  const { key } = await first.service.issue('acme', null);
  assert.equal(statSync(first.path).mode & 0o777, 0o600);
  await soon('the process beside it', () => beside.clientOf(key) === 'acme');
  const later = startFeed(t, database, options);
  await soon('the next start', () => later.clientOf(key) === 'acme');
  later.secret.configure('another secret');
  await soon('the other secret', () => later.clientOf(key) === 'unknown');
  later.secret.configure(null);
  await soon('the first secret', () => later.clientOf(key) === 'acme');

  const nowhere = startFeed(t, database, { configured: null, folder: '/proc/none', notified: false });
  await assert.rejects(nowhere.service.issue('acme', null), {
    code: 'secret_missing',
    status: 503,
    message:
      /set secrets\.apiKeys to the same .* or copy the file .* to \/proc\/none\/data\/api-keys\.secret$/,
  });
  // Closed before the pool, whose close waits for running queries.
  await Promise.all([first, beside, later, nowhere].map(({ feed }) => feed.close()));
});

test('many keys are sent to a worker in parts, and those missing in a restored database are forgotten', async (t) => {
  const { database, repository: clients } = await makeMigrated(t, server);
  for (const clientId of ['acme', 'other']) await clients.create(clientId, INPUT);
  const count = 2_500;
  await insertKeys(database, count);
  const { feed, streams, directory, messages, keys, service, clientOf, informed } = startFeed(t, database, {
    pollMs: 20,
  });
  await waitFor('the first load', () => feed.loaded);
  assert.ok(await informed);
  assert.deepEqual([keyCountOf(directory.table), clientCountOf(directory.table)], [count, 2]);
  assert.ok(messages.length > 1);
  const { key } = await service.issue('other', null);
  await soon('the key', () => clientOf(key) === 'other');
  const late = attachWorker(streams);
  assert.ok(await late.informed);
  assert.equal(keyCountOf(late.directory.table), count + 1);
  const found = keys.verify(key);
  assert.ok(typeof found === 'object' && !found.revoked);
  // As after restoring a backup: no trigger ran.
  await database.query('alter table api_keys disable trigger user');
  await database.query("delete from api_keys where secret_id = 'foreign'");
  await assert.rejects(database.query('select pg_terminate_backend(pg_backend_pid())'));
  await soon(
    'the older set',
    () => keyCountOf(directory.table) === 1 && keyCountOf(late.directory.table) === 1,
  );
  assert.deepEqual([clientOf(key), found.revoked], ['other', false]);
  await database.query('delete from api_keys');
  await assert.rejects(database.query('select pg_terminate_backend(pg_backend_pid())'));
  await soon('the empty set', () => clientOf(key) === 'unknown');
  assert.ok(found.revoked);
});
