import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { RequestRows } from '../../../src/contract/audited-requests.ts';
import { migrate } from '../../../src/infra/postgres/migrations.ts';
import { RequestQueue } from '../../../src/primary/audit/request-queue.ts';
import { AccessRecord } from '../../../src/proxy/access-record.ts';
import { auditRow } from '../../../src/proxy/audit-row.ts';
import { makeMigrated, openDatabase, silent } from '../../postgres/support.ts';
import { type PostgresServer, startPostgres } from '../../support/postgres.ts';
import { waitFor } from '../../support/wait.ts';
import { DAY_MS, startAudit } from './support.ts';

let server: PostgresServer;
before(async () => {
  server = await startPostgres();
});
after(() => server.remove());

let number = 2 ** 51;
/** A batch as a worker sends it. */
function batchOf(...records: Partial<AccessRecord>[]): RequestRows {
  const time = new Date().toISOString();
  const rows = records.map((more) =>
    auditRow(
      Object.assign(new AccessRecord('192.0.2.1', 'GET'), { time, requestId: 'r-1', ...more }),
      number++,
    ),
  );
  return { count: rows.length, text: rows.join('') };
}

const many = (count: number, more: Partial<AccessRecord> = {}) =>
  batchOf(...Array.from({ length: count }, (_, i) => ({ path: `/${i}`, ...more })));

const writeOf = ({ text }: RequestRows) => ({ text, days: new Set([text.slice(0, 10)]) });

async function start(t: Parameters<typeof makeMigrated>[0]) {
  const { database } = await makeMigrated(t, server);
  const made = startAudit(t, { database, isUnused: false }, { settings: { requests: 'all' } });
  const count = async () => Number((await database.query('select count(*) as n from audit_requests'))[0]?.n);
  const page = async (more: object = {}) =>
    (await made.audit.requests.page({ limit: 1_000, after: null, ...more })).items;
  return { ...made, database, count, page };
}

test('rows of workers are what the access line says, whatever clients sent', async (t) => {
  const { audit, page } = await start(t);
  const hostile = `'; drop table audit_requests; -- \\u0000 \\N \\. \0 \uD800 " \\ \t \n \r {,} <script>\u2028😀é\x7f`;
  const plain = { status: 200, reason: 'ok', bytesIn: 2 ** 40, bytesOut: 1, totalMs: 1.5 } as const;
  const limited = { status: 429, reason: 'limited', policies: ['day', 'a.b-c_D'] } as const;
  audit.addRequests(
    batchOf(
      {
        ...plain,
        path: hostile,
        host: hostile,
        clientId: hostile,
        backend: hostile,
        route: '\\.',
        method: '',
      },
      { ...limited, clientIp: '2001:db8::1', path: `/${'é'.repeat(5_000)}` },
      { status: 499, reason: 'client_abort', method: null, path: null },
    ),
  );
  await audit.whenWritten('requests');
  const [abort, second, first] = await page();
  const stored = hostile.replace('\0', '\uFFFD').toWellFormed();
  const { path, host, clientId, backend, route, method, bytesIn, totalMs, policies } = first!;
  assert.deepEqual([path, host, clientId, backend], [stored, stored, stored, stored]);
  assert.deepEqual([route, method, bytesIn, totalMs, policies], ['\\.', '', 2 ** 40, 1.5, null]);
  assert.deepEqual(second?.policies, limited.policies);
  assert.equal(second?.path?.length, 1_024);
  assert.deepEqual([abort?.method, abort?.path, abort?.route, abort?.clientId], [null, null, null, null]);
  assert.deepEqual((await page({ client: '2001:DB8:0::1' })).length, 1);
  assert.deepEqual((await page({ client: hostile.replace('\0', '\uFFFD').toWellFormed() })).length, 1);
});

test('writing rows and events does not wake those who follow the clients', async (t) => {
  const { audit, events, database, count } = await start(t);
  const write = async () => {
    audit.addRequests(many(1));
    events.record({ kind: 'admin', severity: 'info', text: 'a write' });
    await Promise.all([audit.whenWritten('requests'), audit.whenWritten('events')]);
  };
  await write();
  let wakes = 0;
  t.after(database.onActivity(() => wakes++));
  await write();
  assert.equal(wakes, 0);
  assert.equal(await count(), 2);
});

test('a batch that is sent again is written once, and those after it are not lost', async (t) => {
  const { audit, count, dropped } = await start(t);
  const batch = many(100);
  await audit.requests.write(writeOf(batch));
  audit.addRequests(batch);
  await audit.whenWritten('requests');
  audit.addRequests(many(10));
  await audit.whenWritten('requests');
  assert.deepEqual([await count(), dropped('request')], [110, 0]);
});

test('a try that failed is made again as it was, whatever has come meanwhile: its rows may be there', () => {
  const queue = new RequestQueue();
  queue.add(many(2));
  queue.add(many(3));
  const first = queue.next();
  queue.add(many(4));
  assert.deepEqual(queue.next(), first);
  assert.deepEqual([first?.count, queue.rowCount], [5, 9]);
  queue.settle();
  assert.deepEqual([queue.next()?.count, queue.rowCount], [4, 4]);
  queue.settle();
  assert.deepEqual([queue.next(), queue.rowCount], [null, 0]);
});

test('of a try that failed one half after the other is made, each alone: its rows may be there', () => {
  const queue = new RequestQueue();
  for (const count of [1, 2, 3]) queue.add(many(count));
  const counts: (number | undefined)[] = [];
  const tryNext = (settle: 'settle' | 'halve') => {
    counts.push(queue.next()?.count);
    queue[settle]();
  };
  tryNext('halve');
  queue.add(many(4));
  tryNext('halve');
  tryNext('halve');
  assert.equal(queue.rowCount, 10);
  for (let i = 0; i < 5; i++) tryNext('settle');
  assert.deepEqual(counts, [6, 3, 1, 1, 2, 3, 4, undefined]);
  assert.equal(queue.rowCount, 0);
});

test('a database too slow for a COPY of its usual size gets smaller ones', async (t) => {
  const { url } = await makeMigrated(t, server);
  const database = openDatabase(t, url, { statementMs: 500 });
  const { audit, dropped } = startAudit(t, { database, isUnused: false }, { settings: { requests: 'all' } });
  const count = async () => Number((await database.read('select count(*) as n from audit_requests'))[0]?.n);
  await audit.requests.write(writeOf(many(1)));
  await database.query(
    `create function slow() returns trigger language plpgsql as 'begin perform pg_sleep(0.02); return new; end'`,
  );
  await database.query(
    'create trigger slow before insert on audit_requests for each row execute function slow()',
  );
  for (let i = 0; i < 10; i++) audit.addRequests(many(5));
  await waitFor('all rows', async () => (await count()) === 51);
  assert.equal(dropped('request'), 0);
});

test('while the database is away rows wait within bounds, the oldest are dropped and counted; then writing goes on', async (t) => {
  const { audit, events, count, dropped, lines, page } = await start(t);
  audit.addRequests(many(1));
  await audit.whenWritten('requests');
  await server.stop();
  let sent = 1;
  try {
    audit.addRequests(many(300));
    sent += 300;
    await audit.whenWritten('requests');
    const path = `/${'x'.repeat(300)}`;
    for (let i = 0; i < 400; i++) audit.addRequests(many(300, { path }));
    sent += 400 * 300;
    events.record({ kind: 'admin', severity: 'info', text: 'the write' });
    assert.ok(dropped('request') >= 20_000, `${dropped('request')} of ${sent}`);
  } finally {
    await server.start();
  }
  await waitFor(
    'the word that it is back',
    () => lines.some(({ msg }) => msg === 'the audit of requests is written again'),
    {
      timeoutMs: 30_000,
    },
  );
  audit.addRequests(many(1, { path: '/later' }));
  await waitFor('the last row', async () => (await page({ limit: 1 }))[0]?.path === '/later');
  assert.equal(dropped('admin'), 0);
  assert.ok((await count()) > 300);
});

test('a row that the database refuses costs its batch, which is counted and told once', async (t) => {
  const { audit, database, count, dropped, lines } = await start(t);
  await database.query("alter table audit_requests add check (path <> '/7')");
  for (let i = 0; i < 2; i++) {
    audit.addRequests(many(10));
    await audit.whenWritten('requests');
  }
  audit.addRequests(many(5));
  await audit.whenWritten('requests');
  assert.deepEqual([await count(), dropped('request')], [5, 20]);
  const told = lines.filter(({ msg }) => msg === 'the database refuses rows of the audit');
  assert.deepEqual(
    told.map(({ level }) => level),
    [50, 20],
  );
});

test('a character that the encoding of the database lacks costs no row, and comes as `?`', async (t) => {
  await openDatabase(t, server.url).query(`create database w1252 template template0 encoding 'WIN1252'`);
  const database = openDatabase(t, server.url.replace(/postgres$/, 'w1252'));
  await migrate(database, 'up', { logger: silent });
  const { audit, dropped } = startAudit(t, { database, isUnused: false }, { settings: { requests: 'all' } });
  for (const path of ['/é', '/\x81z\xff', '/é']) {
    audit.addRequests(batchOf({}, { path }, {}));
    await audit.whenWritten('requests');
  }
  const { items } = await audit.requests.page({ limit: 10, after: null });
  const paths = items.map(({ path }) => path).filter((path) => path !== null);
  assert.deepEqual([items.length, paths, dropped('request')], [9, ['/é', '/?z?', '/é'], 0]);
});

test('requests of a client, of an address, of a range and of a status from 400 on are found by an index', async (t) => {
  const { audit, database, page } = await start(t);
  await audit.requests.write(writeOf(many(1)));
  await database.query(
    `insert into audit_requests select now(), 'h', i, 'r',
       case when i % 100 = 0 then '192.0.2.9' when i % 1000 = 1 then 'unix:' else '203.0.' || i / 250 || '.' || i % 250 end, case when i % 2000 = 0 then '10.9.0.0/16' end, 'GET', 'h', '/', 200, 'ok', 0, 0, 1, 'b', 'r', null from generate_series(1, 20000) i`,
  );
  await database.query(
    "update audit_requests set grpc_status = 8 where number % 5000 = 7 and instance = 'h'",
  );
  await database.query('analyze audit_requests');
  const read = t.mock.method(database, 'read');
  for (const [filter, rows] of [
    [{ client: 'acme' }, 0],
    [{ client: '10.9.0.0/16' }, 10],
    [{ client: '203.0.7.0/28' }, 16],
    [{ client: '203.0.7.5' }, 1],
    [{ client: '192.0.2.9' }, 21],
    [{ client: 'unix:' }, 20],
    [{ status: { from: 429, to: 429 } }, 4],
    [{ status: { from: 400, to: 499 } }, 4],
  ] as const) {
    assert.equal((await page({ ...filter, limit: 20 })).length, Math.min(rows, 20));
    const [text = '', params] = read.mock.calls.at(-1)?.arguments ?? [];
    const plan = (await database.query(`explain ${text}`, params)).map((row) => row['QUERY PLAN']).join('\n');
    assert.doesNotMatch(plan, /Seq Scan|_pkey/, JSON.stringify(filter));
  }
});

test('each day has a partition, which is made again where somebody drops it, and dropped after the retention', async (t) => {
  const { audit, database, page } = await start(t);
  const at = (daysAgo: number) => new Date(Date.now() - daysAgo * DAY_MS).toISOString();
  const [old, older] = [at(29), at(40)];
  // The first sweep drops what is old.
  await audit.flush();
  for (const time of [older, old, at(0)]) await audit.requests.write(writeOf(batchOf({ time })));
  const today = `audit_requests_${at(0).slice(0, 10).replaceAll('-', '')}`;
  await database.query(`drop table ${today}`);
  await audit.requests.write(writeOf(many(2)));
  assert.equal((await page()).length, 4);
  const name = `audit_requests_${older.slice(0, 10).replaceAll('-', '')}`;
  assert.deepEqual(await audit.requests.dropBefore(30 * DAY_MS), { dropped: [name], kept: [] });
  assert.equal((await page()).length, 3);
  // Those of the audit of events are not taken for days of requests, nor the other way round.
  assert.deepEqual(await audit.events.dropBefore(1), { dropped: [], kept: [] });
});

test('batches of several days that go out together make the partitions of all of them', async (t) => {
  const { audit, dropped, page } = await start(t);
  await audit.flush();
  const times = [2, 1, 0].map((daysAgo) => new Date(Date.now() - daysAgo * DAY_MS).toISOString());
  for (const time of times) audit.addRequests(many(3, { time }));
  await audit.whenWritten('requests');
  assert.deepEqual([(await page()).length, dropped('request')], [9, 0]);
});

test('a batch of no day is dropped and counted, and those after it are written', async (t) => {
  const { audit, dropped, count } = await start(t);
  audit.addRequests({ count: 7, text: "');drop table x\n" });
  await audit.whenWritten('requests');
  audit.addRequests({ count: 5, text: '2026-99-99T00:00:00Z\n' });
  await audit.whenWritten('requests');
  audit.addRequests(many(2));
  await audit.whenWritten('requests');
  assert.deepEqual([dropped('request'), await count()], [12, 2]);
});

test('a table of requests that takes no row delays no event, at the end neither, and each says its own', async (t) => {
  const { audit, database, events, lines } = await start(t);
  await database.query('alter table audit_requests drop column path');
  audit.addRequests(many(1));
  await waitFor('a try', () => lines.length > 0);
  assert.match(
    String(lines[0]?.msg),
    /^the audit of requests cannot be written; some seconds of requests wait/,
  );
  events.record({ kind: 'admin', severity: 'info', text: 'the write' });
  await audit.close();
  const texts = (await database.query('select text from audit')).map(({ text }) => text);
  assert.deepEqual(texts, ['the write']);
});

test('a reader of events does not wait for requests that cannot be written, nor the other way round', async (t) => {
  const { audit, database, events, count } = await start(t);
  await audit.flush();
  for (const what of ['requests', 'events'] as const) {
    const other = what === 'events' ? 'audit_requests' : 'audit';
    await database.transaction(5_000, async (query) => {
      await query(`lock table ${other} in access exclusive mode`);
      audit.addRequests(many(1));
      events.record({ kind: 'admin', severity: 'info', text: 'the write' });
      const startMs = performance.now();
      await audit.whenWritten(what);
      assert.ok(performance.now() - startMs < 900, 'it waited for the other queue');
    });
  }
  await waitFor(
    'all rows',
    async () =>
      (await count()) === 2 && (await audit.events.page({ limit: 9, after: null })).items.length === 2,
  );
});

test('the sweep of a locked partition does not hold up the writing', async (t) => {
  const { audit, database, events, count } = await start(t);
  await audit.flush();
  events.record({ kind: 'admin', severity: 'info', text: 'old' });
  const entry = { ...events.entries.at(-1)!, instance: 'here' };
  const at = new Date(Date.now() - 40 * DAY_MS).toISOString();
  await audit.events.write([{ ...entry, at }]);
  const late = startAudit(t, { database, isUnused: false }, { settings: { requests: 'all' } });
  await database.transaction(5_000, async (query) => {
    await query('select 1 from audit');
    // Its sweep waits a second for this one.
    await late.audit.whenWritten('events');
    const startMs = performance.now();
    late.audit.addRequests(many(1));
    await late.audit.whenWritten('requests');
    assert.ok(performance.now() - startMs < 900, 'the writing waited for the sweep');
    assert.equal(await count(), 1);
  });
});
