import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { LbError } from '../../../src/contract/errors.ts';
import { migrate } from '../../../src/infra/postgres/migrations.ts';
import { AuditTable } from '../../../src/primary/audit/audit-table.ts';
import { makeMigrated, openDatabase, silent } from '../../postgres/support.ts';
import { type PostgresServer, startPostgres } from '../../support/postgres.ts';
import { waitFor } from '../../support/wait.ts';
import { DAY_MS, startAudit } from './support.ts';

let server: PostgresServer;
before(async () => {
  server = await startPostgres();
});
after(() => server.remove());

const STATE = { kind: 'backend_state', severity: 'warning' } as const;

test('events become rows, those before the start of the writer included, and several machines write at the same time', async (t) => {
  const { database } = await makeMigrated(t, server);
  const storage = { database, isUnused: false };
  const machines = ['one', 'two', 'three'].map((instance) => startAudit(t, storage, { instance }));
  const actor = { who: 'admin', from: '192.0.2.1', requestId: 'r-1' } as const;
  const data = { method: 'PATCH', status: 200, before: { mode: 'limit' }, after: { mode: 'blocked' } };
  for (const { events } of machines)
    for (let i = 0; i < 250; i++)
      events.record({
        kind: 'admin',
        severity: 'info',
        text: `write ${i}`,
        subject: 'client acme',
        actor,
        data,
      });
  const count = async () => Number((await database.query('select count(*) as n from audit'))[0]?.n);
  await waitFor('all rows', async () => (await count()) === 750);
  const [first] = machines;
  const { items } = (await first?.audit.events.page({ limit: 1, after: null })) ?? {};
  const [entry] = items ?? [];
  const kept = machines
    .flatMap(({ events }) => events.entries)
    .find(({ at, number }) => at === entry?.at && number === entry.number);
  assert.deepEqual({ ...kept, instance: entry?.instance }, entry);
  const late = startAudit(t, storage);
  late.events.record({ ...STATE, text: 'down' });
  await late.audit.close();
  assert.deepEqual(await late.texts({ kind: 'backend_state' }), ['down'], 'what waits at the end was lost');
});

test('while the database is away events wait, those of operators the longest; what is lost is counted, and told once', async (t) => {
  const { database } = await makeMigrated(t, server);
  const { audit, events, lines, dropped, texts } = startAudit(t, { database, isUnused: false });
  events.record({ ...STATE, text: 'before' });
  await waitFor('the first row', async () => (await texts()).length === 1);
  await server.stop();
  try {
    events.record({ kind: 'admin', severity: 'info', text: 'the write' });
    await audit.whenWritten('events');
    for (let i = 0; i < 2_100; i++) events.record({ ...STATE, text: `state ${i}` });
    await waitFor(
      'more tries',
      () => lines.filter(({ msg }) => /cannot be written/.test(String(msg))).length > 2,
    );
  } finally {
    await server.start();
  }
  await waitFor(
    'the word that it is back',
    () => lines.some(({ msg }) => msg === 'the audit is written again'),
    {
      timeoutMs: 30_000,
    },
  );
  assert.equal(dropped('admin'), 0);
  assert.ok(dropped('backend_state') >= 1, 'nothing was counted');
  const [row] = await database.query('select count(*) as n from audit');
  assert.equal(Number(row?.n) + dropped('backend_state'), 2_102);
  assert.deepEqual(await texts({ kind: 'admin' }), ['the write']);
  // A sweep may have met the end of the server, too.
  const warnings = lines.filter(({ level, msg }) => level === 40 && /cannot be written/.test(String(msg)));
  assert.equal(warnings.length, 1);
});

test('a partition that somebody drops is made again; those older than the retention are dropped', async (t) => {
  const { database } = await makeMigrated(t, server);
  const { audit, events, texts } = startAudit(t, { database, isUnused: false });
  const [now] = await database.query("select to_char(now() at time zone 'UTC', 'YYYYMMDD') as day");
  events.record({ ...STATE, text: 'one' });
  await waitFor('the row', async () => (await texts()).length === 1);
  await database.query(`drop table audit_${now?.day}`);
  events.record({ ...STATE, text: 'two' });
  await waitFor('the next row', async () => (await texts()).join() === 'two');

  const entry = { ...events.entries[0]!, instance: 'here' };
  const dates = [29, 31, 400].map((days) => new Date(Date.now() - days * DAY_MS).toISOString());
  await audit.events.write(dates.map((at) => ({ ...entry, at, text: at })));
  const old = dates.slice(1).map((at) => `audit_${at.slice(0, 10).replaceAll('-', '')}`);
  const [newer = '', older = ''] = old;
  await database.query(`create view reports as select * from ${older}`);
  const { dropped, kept } = await audit.events.dropBefore(30 * DAY_MS);
  assert.deepEqual([dropped, kept.map(({ partition }) => partition)], [[newer], [older]], 'one stays');
  await database.query('drop view reports');
  assert.deepEqual(await audit.events.dropBefore(30 * DAY_MS), { dropped: [older], kept: [] });
  assert.deepEqual(await texts(), ['two', dates[0]]);
});

test('texts that PostgreSQL cannot hold are changed, and a row that it refuses is dropped alone', async (t) => {
  const { database } = await makeMigrated(t, server);
  const { audit, events, lines, dropped, texts } = startAudit(t, { database, isUnused: false });
  await database.query("alter table audit add check (text <> 'refused')");
  const hostile = `'; drop table audit; -- \\u0000 \0 \uD800 " \\ <script>\u2028😀`;
  for (const text of ['one', 'refused', hostile])
    events.record({ ...STATE, text, subject: text, data: { [text]: text } });
  await waitFor('two rows', async () => (await texts()).length === 2);
  const stored = hostile.replace('\0', '\uFFFD').toWellFormed();
  const { items } = await audit.events.page({ limit: 1, after: null });
  const { text, subject, data } = items[0]!;
  assert.deepEqual({ text, subject, data }, { text: stored, subject: stored, data: { [stored]: stored } });
  assert.equal(dropped('backend_state'), 1);
  assert.match(JSON.stringify(lines), /refuses rows/);
});

test('a table that takes no row at all loses none: they wait until it does', async (t) => {
  const { database } = await makeMigrated(t, server);
  await database.query('alter table audit alter column severity type int using 0');
  const { audit, events, lines, dropped, texts } = startAudit(t, { database, isUnused: false });
  for (const text of ['one', 'two']) events.record({ ...STATE, text });
  await waitFor(
    'two tries',
    () => lines.filter(({ msg }) => /cannot be written/.test(String(msg))).length > 1,
  );
  await database.query('alter table audit alter column severity type text');
  await audit.whenWritten('events');
  assert.deepEqual([await texts(), dropped('backend_state')], [['two', 'one'], 0]);
});

test('old days that cannot be dropped are told, and weaken nothing else', async (t) => {
  const { database } = await makeMigrated(t, server);
  // More than an interval of PostgreSQL can be.
  const settings = { retentionMs: Number.MAX_VALUE };
  const { audit, events, lines } = startAudit(t, { database, isUnused: false }, { settings });
  events.record({ ...STATE, text: 'one' });
  await waitFor('the sweep', () => lines.length > 0);
  assert.deepEqual(
    lines.map(({ msg, level }) => [level, String(msg).split(';')[0]]),
    [[40, 'old days of the audit cannot be dropped']],
  );
  events.record({ ...STATE, text: 'at the end' });
  await audit.close();
  const rows = await database.query('select text from audit order by number');
  assert.deepEqual(
    rows.map(({ text }) => text),
    ['one', 'at the end'],
  );
});

test('a schema that is too old is told once, and rows come as soon as it fits', async (t) => {
  const { database } = await makeMigrated(t, server);
  for (let i = 0; i < 3; i++) await migrate(database, 'down', { logger: silent });
  const { events, lines, texts } = startAudit(t, { database, isUnused: false });
  events.record({ ...STATE, text: 'early' });
  await waitFor('three tries', () => lines.length >= 3);
  const told = lines.filter(({ level }) => level === 40);
  assert.equal(told.length, 1);
  assert.match(JSON.stringify(told), /schema_mismatch/);
  await migrate(database, 'up', { logger: silent });
  await waitFor('the row', async () => (await texts()).join() === 'early');
});

test('with adminChanges: false nothing is written; a reload changes it', async (t) => {
  const { database } = await makeMigrated(t, server);
  const { audit, events, inForce, texts } = startAudit(
    t,
    { database, isUnused: false },
    { settings: { adminChanges: false } },
  );
  events.record({ ...STATE, text: 'off' });
  inForce.adminChanges = true;
  events.record({ ...STATE, text: 'on' });
  await audit.whenWritten('events');
  assert.deepEqual(await texts(), ['on']);
});

test('where the audit is off no day is dropped: another machine may keep it for longer', async (t) => {
  const { database } = await makeMigrated(t, server);
  const entry = { number: 1, instance: 'here', subject: null, actor: null, data: {} };
  const at = new Date(Date.now() - 31 * DAY_MS).toISOString();
  await new AuditTable(database).write([{ ...entry, ...STATE, at, text: 'old' }]);
  const storage = { database, isUnused: false };
  const off = startAudit(t, storage, { settings: { adminChanges: false } });
  database.noteActivity();
  await off.audit.flush();
  assert.deepEqual(await off.texts(), ['old']);
  const { texts } = startAudit(t, storage);
  database.noteActivity();
  await waitFor('the end of the old day', async () => (await texts()).length === 0);
});

test('events on their way at the end are passed on, each is a row once, and those that nobody takes count as lost', async (t) => {
  const { url, database } = await makeMigrated(t, server);
  const machines = ['one', 'two'].map((instance) =>
    startAudit(t, { database: openDatabase(t, url), isUnused: false }, { instance }),
  );
  const heir = startAudit(t, { database, isUnused: false });
  const [first, second] = machines as [typeof heir, typeof heir];
  for (const { audit } of machines) await audit.flush();
  // For longer than the usual statementMs allow.
  const locker = openDatabase(t, url, { statementMs: 20_000 });
  await locker.transaction(20_000, async (query) => {
    await query('lock table audit in access exclusive mode');
    for (const { events } of machines) for (const text of ['a', 'b']) events.record({ ...STATE, text });
    await waitFor(
      'both batches',
      async () => (await query('select from pg_locks where not granted')).length === 2,
    );
    for (const { events } of machines) events.record({ ...STATE, text: 'c' });
    await Promise.all([
      first.audit.close(async (entries) => {
        heir.audit.adopt(entries);
        return true;
      }),
      second.audit.close(),
    ]);
  });
  const lost = machines.map(({ lines }) => lines.flatMap(({ rows }) => (rows === undefined ? [] : [rows])));
  assert.deepEqual(lost, [[], [3]]);
  await heir.audit.whenWritten('events');
  const { items } = await heir.audit.events.page({ limit: 9, after: null });
  const texts = items.filter(({ instance }) => instance === 'one').map(({ text }) => text);
  assert.deepEqual(texts, ['c', 'b', 'a']);
});

test('events do not wake a database that nobody has used; they are written once somebody has', async (t) => {
  const { database } = await makeMigrated(t, server);
  const storage = { database, isUnused: true };
  const { events, texts } = startAudit(t, storage);
  // The other name: two logs that begin in the same millisecond give the same numbers.
  const other = startAudit(t, { database, isUnused: false }, { instance: 'there' });
  for (const each of [events, other.events])
    each.record({ ...STATE, text: each === events ? 'early' : 'other' });
  await other.audit.whenWritten('events');
  other.events.record({ ...STATE, text: 'later' });
  await waitFor('the rows of another machine', async () => (await texts()).length === 2);
  assert.deepEqual(await texts(), ['later', 'other']);
  storage.isUnused = false;
  database.noteActivity();
  await waitFor('the row', async () => (await texts()).includes('early'));
});

test('a reader of the audit is the first to use the database: its start, which takes seconds, does not hide what waits', async (t) => {
  const { url } = await makeMigrated(t, server);
  const reason = new LbError('database_starting', 'the embedded database is starting');
  let startMs = 1_200;
  const database = openDatabase(t, url, {
    onHeld: async () => {
      await setTimeout(startMs);
      if (startMs > 0) database.hold(null);
    },
  });
  database.hold(reason);
  const { audit, events, texts } = startAudit(t, { database, isUnused: true });
  events.record({ ...STATE, text: 'early' });
  await audit.whenWritten('events');
  assert.deepEqual(await texts(), ['early']);
  startMs = 0;
  database.hold(reason);
  await assert.rejects(audit.whenWritten('events'), { code: 'database_starting' });
  database.hold(null);
});
