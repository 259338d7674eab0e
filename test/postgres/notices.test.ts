/** NOTIFY over the one connection that all listeners of a Database share. */
import assert from 'node:assert/strict';
import { after, before, type TestContext, test } from 'node:test';
import type { Database } from '../../src/infra/postgres/postgres.ts';
import { makeDatabase, type PostgresServer, startPostgres } from '../support/postgres.ts';
import { waitFor } from '../support/wait.ts';
import { openDatabase } from './support.ts';

let server: PostgresServer;
before(async () => {
  server = await startPostgres();
});
after(() => server.remove());

/** The calls to one listener; null: listening has begun. */
function listen(database: Database, channel: string) {
  const told: (string | null)[] = [];
  const stop = database.listen(channel, (payload) => told.push(payload));
  return { told, stop };
}

async function start(t: TestContext) {
  const url = await makeDatabase(server);
  const [database, other] = [openDatabase(t, url), openDatabase(t, url)];
  const notify = (channel: string, payload: string) =>
    other.query('select pg_notify($1, $2)', [channel, payload]);
  const listening = async () =>
    (await other.query("select pid from pg_stat_activity where query like 'listen %'")).map(({ pid }) => pid);
  return { database, notify, listening, other };
}

test('listeners share a connection, get the payloads of their channels, and may be added and removed', async (t) => {
  const { database, notify, listening } = await start(t);
  const one = listen(database, 'one');
  await waitFor('the first to listen', () => one.told.length === 1);
  const two = listen(database, 'two');
  await waitFor('the second to listen', () => two.told.length === 1);
  assert.equal((await listening()).length, 1);
  await notify('one', 'a');
  await notify('two', 'b');
  await notify('three', 'c');
  await waitFor('both to be notified', () => one.told.length === 2 && two.told.length === 2);
  assert.deepEqual(
    [one.told, two.told],
    [
      [null, 'a'],
      [null, 'b'],
    ],
  );
  one.stop();
  await notify('one', 'd');
  await notify('two', 'e');
  await waitFor('the other to be notified', () => two.told.at(-1) === 'e');
  assert.equal(one.told.length, 2);
  two.stop();
  await waitFor('the connection to end with its last listener', async () => (await listening()).length === 0);
  const again = listen(database, 'one');
  await waitFor('a new one to listen', () => again.told.length === 1);
});

test('a broken connection is reopened, and all listeners are woken', async (t) => {
  const { database, notify, listening, other } = await start(t);
  const both = [listen(database, 'one'), listen(database, 'two')];
  await waitFor('both to listen', () => both.every(({ told }) => told.length === 1));
  const [pid] = await listening();
  await other.query('select pg_terminate_backend($1)', [pid]);
  await waitFor('both to be woken', () => both.every(({ told }) => told.length === 2));
  for (const channel of ['one', 'two']) await notify(channel, 'x');
  await waitFor('both to be notified', () => both.every(({ told }) => told.at(-1) === 'x'));
});

test('listeners added while another LISTEN runs wait for it: one statement at a time', async (t) => {
  const warnings: string[] = [];
  const note = (warning: Error) => warnings.push(warning.message);
  process.on('warning', note);
  t.after(() => process.off('warning', note));
  const { database, notify } = await start(t);
  const all = [listen(database, 'c0')];
  await waitFor('the first to listen', () => all[0]?.told.length === 1);
  for (let n = 1; n < 20; n++) all.push(listen(database, `c${n}`));
  await waitFor('all to listen', () => all.every(({ told }) => told.length > 0));
  for (const n of all.keys()) await notify(`c${n}`, 'x');
  await waitFor('all to be notified', () => all.every(({ told }) => told.at(-1) === 'x'));
  assert.deepEqual(warnings, []);
});
