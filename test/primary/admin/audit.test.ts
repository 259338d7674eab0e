import assert from 'node:assert/strict';
import { after, before, type TestContext, test } from 'node:test';
import { makeMigrated } from '../../postgres/support.ts';
import { type PostgresServer, startPostgres } from '../../support/postgres.ts';
import { startAudit } from '../audit/support.ts';
import { assertProblem, startAdmin } from './harness.ts';

let server: PostgresServer;
before(async () => {
  server = await startPostgres();
});
after(() => server.remove());

async function start(t: TestContext) {
  const { database } = await makeMigrated(t, server);
  const { audit, events } = startAudit(t, { database, isUnused: false });
  const { call } = await startAdmin(t, { audit });
  const list = async (query: string) => {
    const answer = await call({ path: `/api/v1/audit?${query}` });
    assert.equal(answer.status, 200, answer.text);
    return answer.json as { items: Record<string, unknown>[]; next: string | null };
  };
  return { audit, events, database, call, list };
}

test('the audit lists the newest first, by kind, actor, subject and time', async (t) => {
  const { audit, events, list } = await start(t);
  const actor = { who: 'admin', from: '192.0.2.1', requestId: 'r-1' } as const;
  const data = { before: { mode: 'limit' }, after: { mode: 'blocked' } };
  events.record({ kind: 'reload', severity: 'info', text: 'reloaded' });
  events.record({ kind: 'admin', severity: 'info', text: 'changed', subject: 'client a', actor, data });
  const other = { ...actor, who: 'none', from: '::1' } as const;
  events.record({ kind: 'admin', severity: 'warning', text: 'failed', subject: 'client b', actor: other });
  const { items, next } = await list('');
  assert.equal(next, null);
  const { number, at } = events.entries[1]!;
  const about = { kind: 'admin', severity: 'info', text: 'changed', subject: 'client a' };
  assert.deepEqual(items[1], { at, instance: 'here', number, ...about, actor, data });
  const textsOf = async (query: string) => (await list(query)).items.map(({ text }) => text);
  assert.deepEqual(await textsOf('kind=reload'), ['reloaded']);
  assert.deepEqual(await textsOf('actor=admin'), ['changed']);
  assert.deepEqual(await textsOf('actor=none'), ['failed']);
  assert.deepEqual(await textsOf('actor=192.0.2.1'), ['changed']);
  assert.deepEqual(await textsOf('kind=admin&subject=client%20b'), ['failed']);
  assert.deepEqual(await textsOf("subject='%20or%20true--"), []);
  const ats = [10, 20, 30].map((second) => `2026-01-02T03:04:${second}.000Z`);
  const entry = { ...events.entries[0]!, instance: 'there' };
  await audit.events.write(ats.map((time) => ({ ...entry, at: time, text: time })));
  const until = 'until=2026-01-02T04:04:30%2B01:00';
  assert.deepEqual(await textsOf(`since=${ats[1]}&${until}`), [ats[1]]);
});

test('pages of the audit have every row once, whatever is written meanwhile', async (t) => {
  const { events, list, database } = await start(t);
  for (let i = 0; i < 25; i++) events.record({ kind: 'worker', severity: 'info', text: `${i}` });
  await list('');
  // By hand, with microseconds, at the same moment on two machines.
  await database.query(
    `insert into audit select date_trunc('day', now()) + interval '1.000001 s', name, 7, 'worker', 'info', name, null, null, null, null, '{}'
       from unnest(array['a b', 'c']) as name`,
  );
  const seen: unknown[] = [];
  let after = '';
  do {
    const { items, next } = await list(`kind=worker&limit=4${after}`);
    seen.push(...items.map(({ text }) => text));
    events.record({ kind: 'worker', severity: 'info', text: 'later' });
    after = next === null ? '' : `&after=${next}`;
  } while (after !== '');
  const expected = Array.from({ length: 25 }, (_, i) => `${24 - i}`);
  assert.deepEqual(seen, [...expected, 'c', 'a b']);
});

test('what is no query of the audit is refused', async (t) => {
  const { call } = await start(t);
  const path = '/api/v1/audit';
  for (const [query, field] of [
    ['kind=nothing', 'kind'],
    ['since=yesterday', 'since'],
    ['until=2026-02-30T00:00:00Z', 'until'],
    ['subject=%00', 'subject'],
    ['limit=0', 'limit'],
    ['after=Zm9v', 'after'],
    [`after=${Buffer.from('1 2').toString('base64url')}`, 'after'],
    [`after=${Buffer.from("1 2' x").toString('base64url').slice(1)}`, 'after'],
  ] as const)
    assertProblem(await call({ path: `${path}?${query}` }), 422, [field]);
  const far = Buffer.from('9999999999999999 9999999999999999 x').toString('base64url');
  assert.equal((await call({ path: `${path}?after=${far}&since=0000-01-01T00:00:00Z` })).status, 200);
  assertProblem(await call({ path, method: 'POST' }), 405);
});

test('while the database is away the audit answers 503', async (t) => {
  const { call, database } = await start(t);
  await database.close();
  assertProblem(await call({ path: '/api/v1/audit' }), 503);
});
