import assert from 'node:assert/strict';
import { after, before, type TestContext, test } from 'node:test';
import { AccessRecord } from '../../../src/proxy/access-record.ts';
import { auditRow } from '../../../src/proxy/audit-row.ts';
import { makeMigrated, openDatabase } from '../../postgres/support.ts';
import { type PostgresServer, startPostgres } from '../../support/postgres.ts';
import { startAudit } from '../audit/support.ts';
import { assertProblem, startAdmin } from './harness.ts';

let server: PostgresServer;
before(async () => {
  server = await startPostgres();
});
after(() => server.remove());

const PATH = '/api/v1/audit/requests';
/** Older days are dropped. */
const DAY = new Date().toISOString().slice(0, 10);

async function start(t: TestContext, options: Parameters<typeof openDatabase>[2] = {}) {
  const { url } = await makeMigrated(t, server);
  const database = openDatabase(t, url, options);
  const { audit } = startAudit(t, { database, isUnused: false }, { settings: { requests: 'all' } });
  // Of a reader, who does not wait as long as those who may write.
  const admin = await startAdmin(t, { audit, settings: { token: 'writer', readToken: 'reader' } });
  const headers = { authorization: 'Bearer reader' };
  const call = ({ path }: { path: string }) => admin.call({ path, headers });
  let number = 0;
  const add = (...records: Partial<AccessRecord>[]): void => {
    const rows = records.map((more) => {
      const ids = { time: `${DAY}T14:00:00.00${number % 10}Z`, requestId: `r-${number}` };
      return auditRow(Object.assign(new AccessRecord('192.0.2.1', 'GET'), ids, more), number++);
    });
    audit.addRequests({ count: rows.length, text: rows.join('') });
  };
  const list = async (query: string) => {
    const answer = await call({ path: `${PATH}?${query}` });
    assert.equal(answer.status, 200, answer.text);
    return answer.json as { items: Record<string, unknown>[]; next: string | null };
  };
  const idsOf = async (query: string) => (await list(query)).items.map(({ requestId }) => requestId);
  return { database, call, add, list, idsOf };
}

test('requests are listed, the newest first, by client, route, status and time', async (t) => {
  const { add, list, idsOf } = await start(t);
  const limited = { status: 429, reason: 'limited', route: 'api', policies: ['day'] } as const;
  add(
    { ...limited, host: 'a', path: '/x', clientId: 'acme', clientIp: '2001:db8::1', totalMs: 0.25 },
    { status: 200, route: 'api', clientId: 'acme', backend: '10.0.0.1:80', bytesIn: 1, bytesOut: 2 },
    { status: 503, route: 'web' },
    { status: 502, route: 'web' },
  );
  const { items, next } = await list('');
  assert.equal(next, null);
  const { instance, ...rest } = items[3] ?? {};
  assert.equal(typeof instance, 'string');
  assert.deepEqual(rest, {
    time: `${DAY}T14:00:00.000Z`,
    requestId: 'r-0',
    ...{ clientIp: '2001:db8::1', clientId: 'acme', method: 'GET', host: 'a', path: '/x' },
    ...{
      status: 429,
      grpcStatus: null,
      reason: 'limited',
      bytesIn: 0,
      bytesOut: 0,
      totalMs: 0.25,
      backend: null,
    },
    ...{ route: 'api', policies: ['day'] },
  });
  assert.deepEqual(await idsOf('client=acme'), ['r-1', 'r-0']);
  assert.deepEqual(await idsOf('client=2001:DB8:0::1'), ['r-0']);
  assert.deepEqual(await idsOf('client=192.0.2.1&status=5xx'), ['r-3', 'r-2']);
  assert.deepEqual(await idsOf('status=429'), ['r-0']);
  assert.deepEqual(await idsOf('route=web&status=502'), ['r-3']);
  assert.deepEqual(await idsOf("route='%20or%20true--"), []);
  const until = `until=${DAY}T15:00:00.003%2B01:00`;
  assert.deepEqual(await idsOf(`since=${DAY}T14:00:00.001Z&${until}`), ['r-2', 'r-1']);
});

test('a status also finds what means it: a call of gRPC, and an answer that was cut behind a status of 200', async (t) => {
  const { add, list, idsOf } = await start(t);
  add(
    { status: 200, grpcStatus: 0, reason: 'ok' },
    { status: 200, grpcStatus: 8, reason: 'limited', clientId: 'acme' },
    { status: 200, grpcStatus: 8, reason: 'ok' },
    { status: 200, grpcStatus: 14, reason: 'ok' },
    { status: 200, grpcStatus: 13, reason: 'body_too_large' },
    { status: 200, reason: 'upstream_reset' },
    { status: 200, grpcStatus: 77, reason: 'ok' },
    { status: 429, reason: 'limited' },
  );
  assert.deepEqual(await idsOf('status=429'), ['r-7', 'r-2', 'r-1']);
  assert.deepEqual(await idsOf('status=429&client=acme'), ['r-1']);
  assert.deepEqual(await idsOf('status=5xx'), ['r-6', 'r-5', 'r-3']);
  assert.deepEqual(await idsOf('status=502'), ['r-5']);
  assert.deepEqual(await idsOf('status=413'), ['r-4']);
  assert.deepEqual(await idsOf('status=3xx'), []);
  assert.equal((await idsOf('status=2xx')).length, 7, 'as it was sent');
  assert.deepEqual(
    (await list('status=503')).items.map(({ status, grpcStatus }) => [status, grpcStatus]),
    [[200, 14]],
  );
});

test('requests are listed by an address or a range, as `top` names callers, which may be the id of a client too', async (t) => {
  const { add, idsOf } = await start(t);
  add({ clientIp: '2001:db8::1' }, { clientIp: '2001:db8:0:1::1' }, { clientIp: 'unix:' });
  add({ clientIp: '198.51.100.7', clientId: '2001:db8::/64' }, { clientId: 'a/64' });
  assert.deepEqual(await idsOf('client=2001:DB8:0::/64'), ['r-3', 'r-0']);
  assert.deepEqual(await idsOf('client=198.51.100.7/31'), ['r-3']);
  assert.deepEqual(await idsOf('client=198.51.100.7/32'), ['r-3']);
  assert.deepEqual(await idsOf('client=::/0'), ['r-1', 'r-0']);
  assert.deepEqual(await idsOf('client=a/64'), ['r-4']);
  assert.deepEqual(await idsOf('client=unix:'), ['r-2']);
  // The client that an address names, by its key, from elsewhere.
  add({ clientIp: '127.0.0.1', clientId: '203.0.113.7' }, { clientIp: '203.0.113.7' });
  assert.deepEqual(await idsOf('client=203.0.113.7'), ['r-6', 'r-5']);
});

test('pages of an address have once what comes from there, and what its client sent from elsewhere', async (t) => {
  const { add, list, idsOf } = await start(t);
  const [clientIp, clientId] = ['203.0.113.7', '203.0.113.7'];
  add({ clientIp }, { clientIp: '127.0.0.1', clientId }, { clientIp, clientId }, {}, { clientIp });
  const query = `client=${clientIp}&limit=2`;
  assert.deepEqual(await idsOf(query), ['r-4', 'r-2']);
  assert.deepEqual(await idsOf(`${query}&after=${(await list(query)).next}`), ['r-1', 'r-0']);
});

test('pages of requests have every row once, whatever is written meanwhile', async (t) => {
  const { add, list } = await start(t);
  add(...Array.from({ length: 25 }, () => ({ time: `${DAY}T14:00:00.000Z`, route: 'api' })));
  const seen: unknown[] = [];
  for (let after = ''; ; ) {
    const { items, next } = await list(`route=api&limit=4${after}`);
    seen.push(...items.map(({ requestId }) => requestId));
    add({ time: `${DAY}T15:00:00.000Z`, route: 'api' });
    if (next === null) break;
    after = `&after=${next}`;
  }
  assert.deepEqual(
    seen,
    Array.from({ length: 25 }, (_, i) => `r-${24 - i}`),
  );
});

test('what is no query of requests is refused; while the database is away the answer is 503', async (t) => {
  const { call, database } = await start(t);
  for (const [query, field] of [
    ['status=abc', 'status'],
    ['client=%00', 'client'],
    ['route=', 'route'],
    ['since=yesterday', 'since'],
    ['limit=1001', 'limit'],
    ['after=Zm9v', 'after'],
  ] as const)
    assertProblem(await call({ path: `${PATH}?${query}` }), 422, [field]);
  await database.close();
  assertProblem(await call({ path: PATH }), 503);
});

test('pages take turns: one that the database gives up says what to do, and others leave it free for the rest', async (t) => {
  // A turn comes within 2 s.
  const { call, database, add, idsOf } = await start(t, { statementMs: 2_800 });
  add({ route: 'api' });
  await idsOf('');
  await database.query('alter table audit_requests rename to hidden');
  await database.query(
    `create view audit_requests as select hidden.* from hidden, pg_sleep(6) where route = 'api'`,
  );
  const { lossCount } = database;
  const pages = Array.from({ length: 5 }, () => call({ path: `${PATH}?route=api` }));
  const [first, ...rest] = await Promise.all(pages);
  await database.read('select 1');
  assertProblem(first!, 503);
  assert.match(first!.text, /takes too long: give `since`/);
  for (const answer of rest) {
    assertProblem(answer, 503);
    assert.match(answer.text, /other pages of the audit are being read/);
  }
  assert.equal(database.lossCount, lossCount);
});
