/** The admin API over the real repository and a real PostgreSQL. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { after, before, type TestContext, test } from 'node:test';
import pg from 'pg';
import { pino } from 'pino';
import { ClientRepository } from '../../../src/clients/client-repository.ts';
import { EmbeddedPostgres } from '../../../src/infra/postgres/embedded-postgres.ts';
import { migrate } from '../../../src/infra/postgres/migrations.ts';
import { Database } from '../../../src/infra/postgres/postgres.ts';
import { preparedData } from '../../support/made-once.ts';
import { makeDatabase, type PostgresServer, startPostgres } from '../../support/postgres.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { waitFor, within } from '../../support/wait.ts';
import { assertProblem, startAdmin } from './harness.ts';

let server: PostgresServer;
before(async () => {
  server = await startPostgres();
});
after(() => server.remove());

const path = '/api/v1/clients';

async function startOnPostgres(t: TestContext, port = server.port) {
  const logger = pino({ level: 'silent' });
  const url = await makeDatabase(server);
  const through = new URL(url);
  through.port = String(port);
  const database = new Database({ target: { kind: 'url', url: through.href }, logger });
  t.after(() => database.close());
  await migrate(database, 'up', { logger });
  const { call, parts } = await startAdmin(t, { clients: new ClientRepository(database) });
  const rows = async () => JSON.stringify(await database.query('select * from clients order by client_id'));
  return { call, parts, rows, database, url };
}

async function connectTo(t: TestContext, url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  t.after(() => client.end());
  return client;
}

/** whileLocked makes the writes wait for each other in PostgreSQL. */
async function whileLocked<T>(other: pg.Client, writes: () => Promise<T>[]): Promise<T[]> {
  await other.query("begin; update clients set mode = 'blocked'");
  const all = writes();
  await waitFor('all writers to wait', async () => {
    const waiting = await other.query('select from pg_locks where not granted');
    return waiting.rowCount === all.length;
  });
  await other.query('commit');
  return Promise.all(all);
}

test('while the embedded database starts, calls get 503 with that reason and a Retry-After', async (t) => {
  const folder = tempFolder(t);
  const embedded = new EmbeddedPostgres({
    folder,
    purpose: 'a test',
    logger: pino({ level: 'silent' }),
    preparedData: await preparedData(),
  });
  t.after(() => embedded.close());
  const { call } = await startAdmin(t, { clients: new ClientRepository(embedded.database) });
  const early = await call({ path });
  assertProblem(early, 503);
  const { code, detail } = early.json as { code: string; detail: string };
  assert.deepEqual([code, detail], ['database_starting', 'the database is starting']);
  assert.equal(early.headers['retry-after'], '2');
  await within(embedded.ready, 60_000, 'the start');
  assert.equal((await call({ path })).status, 200);
});

test('clients are written to PostgreSQL and read back, page by page', async (t) => {
  const { call } = await startOnPostgres(t);
  const gold = { gold: { capacity: 7, refillPerSecond: 0.25 } };
  const bodies = [
    { clientId: '10.0.0.0/8', mode: 'blocked', capacity: null, refillPerSecond: null, limits: {} },
    { clientId: 'Zed', mode: 'limit', capacity: 1_000_000_000, refillPerSecond: 1e9, limits: {} },
    { clientId: 'acme', mode: 'limit', capacity: 1, refillPerSecond: 1e-6, limits: gold },
    { clientId: 'free', mode: 'unlimited', capacity: 2_592_000, refillPerSecond: 1, limits: {} },
  ];
  for (const body of bodies) {
    const made = await call({ method: 'POST', path, body });
    assert.deepEqual([made.status, made.json], [201, body], made.text);
    assert.deepEqual((await call({ path: String(made.headers.location) })).json, body);
    assertProblem(await call({ method: 'POST', path, body }), 409);
  }
  const first = (await call({ path: `${path}?limit=3` })).json as { items: unknown[]; next: string };
  assert.deepEqual(first.items, bodies.slice(0, 3));
  const rest = await call({ path: `${path}?limit=3&after=${first.next}` });
  assert.deepEqual(rest.json, { items: bodies.slice(3), next: null });

  const acme = bodies[2];
  const patched = await call({ method: 'PATCH', path: `${path}/acme`, body: { mode: 'unlimited' } });
  assert.deepEqual(patched.json, { ...acme, mode: 'unlimited' });
  const empty = await call({ method: 'PATCH', path: `${path}/acme`, body: {} });
  assert.deepEqual(empty.json, patched.json);
  const reset = await call({
    method: 'PATCH',
    path: `${path}/acme`,
    body: { capacity: null, refillPerSecond: null, limits: {} },
  });
  assert.deepEqual(reset.json, {
    clientId: 'acme',
    mode: 'unlimited',
    capacity: null,
    refillPerSecond: null,
    limits: {},
  });
  assert.equal((await call({ method: 'PUT', path: `${path}/acme`, body: {} })).status, 200);
  assert.equal((await call({ method: 'PUT', path: `${path}/new`, body: {} })).status, 201);
  assert.equal((await call({ method: 'DELETE', path: `${path}/10.255.0.0%2F8` })).status, 204);
  assertProblem(await call({ path: `${path}/10.0.0.0%2F8` }), 404);
  assertProblem(await call({ method: 'DELETE', path: `${path}/10.0.0.0%2F8` }), 404);
  assertProblem(await call({ method: 'PATCH', path: `${path}/gone`, body: { mode: 'limit' } }), 404);
});

test('a list continues after an id that only psql can have written', async (t) => {
  const { call, database } = await startOnPostgres(t);
  const ids = ['2001:DB8::1', 'a', 'b c', 'z', '\u00e4'];
  await database.query('insert into clients (client_id) select unnest($1::text[])', [ids]);
  const seen: string[] = [];
  for (let after: string | null = ''; after !== null; ) {
    const page = await call({ path: `${path}?limit=1${after === '' ? '' : `&after=${after}`}` });
    assert.equal(page.status, 200, page.text);
    const { items, next } = page.json as { items: { clientId: string }[]; next: string | null };
    seen.push(...items.map(({ clientId }) => clientId));
    after = next;
  }
  assert.deepEqual(seen, ids);
});

test('a refused write does not change the rows', async (t) => {
  const { call, rows } = await startOnPostgres(t);
  await call({ method: 'PUT', path: `${path}/acme`, body: { capacity: 10, refillPerSecond: 1 } });
  const before = await rows();
  const bad = [
    { capacity: -1, refillPerSecond: 1 },
    { capacity: 1e300, refillPerSecond: 1 },
    { capacity: 10 },
    { unknown: 1 },
    { limits: { silver: { capacity: 1, refillPerSecond: 1 } } },
    { mode: "'; drop table clients; --" },
  ];
  for (const body of bad) {
    assertProblem(await call({ method: 'PUT', path: `${path}/acme`, body }), 422);
    assertProblem(await call({ method: 'POST', path, body: { clientId: 'other', ...body } }), 422);
  }
  assertProblem(await call({ method: 'PATCH', path: `${path}/acme`, body: { capacity: null } }), 422);
  assertProblem(
    await call({ method: 'PUT', path: `${path}/${encodeURIComponent("a' or 1=1")}`, body: {} }),
    422,
  );
  assert.equal(await rows(), before);
});

test('simultaneous patches of the two halves of a limit both count, and never leave half a limit', async (t) => {
  const { call } = await startOnPostgres(t);
  const one = `${path}/acme`;
  await call({ method: 'PUT', path: one, body: { capacity: 10, refillPerSecond: 1 } });
  await Promise.all([
    call({ method: 'PATCH', path: one, body: { capacity: 20 } }),
    call({ method: 'PATCH', path: one, body: { refillPerSecond: 2 } }),
  ]);
  const { json } = await call({ path: one });
  assert.deepEqual(json, { clientId: 'acme', mode: 'limit', capacity: 20, refillPerSecond: 2, limits: {} });
  for (let round = 0; round < 10; round++) {
    const answers = await Promise.all([
      call({ method: 'PATCH', path: one, body: { capacity: null, refillPerSecond: null } }),
      call({ method: 'PATCH', path: one, body: { capacity: 5 } }),
    ]);
    for (const answer of answers) assert.ok([200, 422].includes(answer.status), answer.text);
    const now = (await call({ path: one })).json as { capacity: unknown; refillPerSecond: unknown };
    assert.equal(now.capacity === null, now.refillPerSecond === null);
    await call({ method: 'PUT', path: one, body: { capacity: 10, refillPerSecond: 1 } });
  }
});

test('a write with If-Match takes effect only on a version that it names, and is refused with 412 otherwise', async (t) => {
  const { call, rows } = await startOnPostgres(t);
  const one = `${path}/acme`;
  const send = (method: string, match: string | string[], to = one) =>
    call({ method, path: to, headers: { 'if-match': match }, ...(method !== 'DELETE' && { body: {} }) });
  const read = async () => String((await call({ path: one })).headers.etag);
  const made = await call({ method: 'POST', path, body: { clientId: 'acme' } });
  const first = await read();
  assert.equal(made.headers.etag, first);
  assert.match(first, /^"\d+"$/);
  let tag = first;
  for (const matchOf of [
    () => tag,
    () => '*',
    () => ` "0",${tag} , W/"1"`,
    () => `,, ${tag},`,
    () => ['"a,b"', tag],
  ]) {
    const patched = await send('PATCH', matchOf());
    assert.equal(patched.status, 200, `${matchOf()} ${patched.text}`);
    assert.notEqual(patched.headers.etag, tag);
    assert.equal(patched.headers.etag, await read());
    const put = await send('PUT', patched.headers.etag ?? '');
    assert.deepEqual([put.status, put.headers.etag], [200, undefined], put.text);
    tag = await read();
  }

  const before = await rows();
  for (const method of ['PATCH', 'PUT', 'DELETE']) {
    for (const match of [
      first,
      `W/${tag}`,
      `"0", W/${tag}`,
      `"0${tag.slice(1)}`,
      `"x${tag.slice(1)}`,
      '""',
    ]) {
      const refused = await send(method, match);
      assertProblem(refused, 412);
      assert.equal((refused.json as { code: string }).code, 'client_changed', match);
    }
    for (const match of [tag.slice(1, -1), tag.slice(1), `*, ${tag}`, ''])
      assertProblem(await send(method, match), 422, ['if-match']);
    const missing = await send(method, '*', `${path}/nobody`);
    assertProblem(missing, method === 'PUT' ? 412 : 404);
  }
  assert.equal(await rows(), before);
  assert.equal((await send('DELETE', tag)).status, 204);
  assertProblem(await send('PUT', tag), 412);
});

test('a write with If-Match that waits for another writer is refused once that one has committed', async (t) => {
  const { call, url } = await startOnPostgres(t);
  const one = `${path}/acme`;
  const { headers: made } = await call({ method: 'POST', path, body: { clientId: 'acme' } });
  const headers = { 'if-match': made.etag ?? '' };
  const answers = await whileLocked(await connectTo(t, url), () => [
    call({ method: 'PATCH', path: one, headers, body: { capacity: null } }),
    call({ method: 'PUT', path: one, headers, body: {} }),
    call({ method: 'DELETE', path: one, headers }),
  ]);
  for (const answer of answers) assertProblem(answer, 412);
  assert.equal(((await call({ path: one })).json as { mode: string }).mode, 'blocked');
});

test('the event of a write has what its statement found, also where others write at the same time', async (t) => {
  const { call, parts, url } = await startOnPostgres(t);
  const one = `${path}/acme`;
  const made = await call({ method: 'POST', path, body: { clientId: 'acme' } });
  const body = (capacity: number) => ({ capacity, refillPerSecond: 1 });
  const answers = await whileLocked(await connectTo(t, url), () => [
    ...[20, 30, 40].map((each) => call({ method: 'PATCH', path: one, body: body(each) })),
    call({ method: 'PUT', path: one, body: body(50) }),
  ]);
  assert.deepEqual(new Set(answers.map(({ status }) => status)), new Set([200]));
  await call({ method: 'DELETE', path: one });
  const found = parts.events.entries.map(({ data }) => JSON.stringify(data.before));
  const left = parts.events.entries.map(({ data }) => JSON.stringify(data.after));
  // What the first has left was changed by psql. Answers of one moment may arrive in another order than that of the writes.
  left[0] = JSON.stringify({ ...(made.json as object), mode: 'blocked' });
  assert.deepEqual(found.slice(1).sort(), left.slice(0, -1).sort(), 'each state is found by one write');
});

test('a write whose answer is lost may have taken effect: its caller and its event say so, and what was asked for', async (t) => {
  let isArmed = false;
  // Passes on what comes for a write, and not the answer.
  const proxy = createServer((client) => {
    const upstream = connect(server.port, '127.0.0.1');
    for (const socket of [client, upstream]) socket.on('error', () => socket.destroy());
    upstream.on('data', (bytes) => client.write(bytes)).on('close', () => client.destroy());
    client.on('close', () => upstream.destroy());
    client.on('data', (bytes) => {
      upstream.write(bytes);
      if (!isArmed || !bytes.includes('update clients set')) return;
      isArmed = false;
      upstream.removeAllListeners('data').once('data', () => client.destroy());
    });
  });
  await once(proxy.listen(0, '127.0.0.1'), 'listening');
  t.after(() => proxy.close());
  const { call, parts } = await startOnPostgres(t, (proxy.address() as AddressInfo).port);
  const one = `${path}/acme`;
  await call({ method: 'PUT', path: one, body: {} });
  isArmed = true;
  const lost = await call({ method: 'PATCH', path: one, body: { mode: 'blocked' } });
  assertProblem(lost, 503);
  const { code, detail } = lost.json as { code: string; detail: string };
  const said = 'the database gave no answer; the write may have taken effect';
  assert.deepEqual([code, detail], ['database_unanswered', said]);
  assert.equal(((await call({ path: one })).json as { mode: string }).mode, 'blocked');
  const { severity, text, subject, data } = parts.events.entries.at(-1)!;
  assert.deepEqual([severity, text, subject], ['warning', `PATCH ${one}: ${said}`, 'client acme']);
  assert.deepEqual(data.asked, { mode: 'blocked' });
});

test('a write that a full disk refuses is answered with that reason, and reads go on', async (t) => {
  const { call, database } = await startOnPostgres(t);
  await database.query(
    `create function refuse() returns trigger language plpgsql as $$
     begin raise exception 'could not extend file' using errcode = 'disk_full'; end $$`,
  );
  await database.query('create trigger refuse before insert on clients execute function refuse()');
  const refused = await call({ method: 'POST', path, body: { clientId: 'acme' } });
  assertProblem(refused, 503);
  assert.equal((refused.json as { detail: string }).detail, 'the disk of the database is full');
  assert.equal((await call({ path })).status, 200);
});

test('writes get 503 while PostgreSQL is down, and acknowledged ones exist when it is back', async (t) => {
  const { call } = await startOnPostgres(t);
  assert.equal((await call({ method: 'PUT', path: `${path}/kept`, body: {} })).status, 201);
  await server.stop();
  for (const [method, one] of [
    ['PUT', 'lost'],
    ['PATCH', 'kept'],
    ['DELETE', 'kept'],
  ] as const) {
    const body = method === 'DELETE' ? {} : { body: { mode: 'blocked' } };
    const answer = await call({ method, path: `${path}/${one}`, ...body });
    assertProblem(answer, 503);
    assert.match(String(answer.headers['retry-after']), /^[1-9]\d*$/);
  }
  assertProblem(await call({ path }), 503);
  await server.start();
  await waitFor('clients to be readable again', async () => (await call({ path })).status === 200);
  const { json } = await call({ path });
  assert.deepEqual((json as { items: { clientId: string; mode: string }[] }).items, [
    { clientId: 'kept', mode: 'limit', capacity: null, refillPerSecond: null, limits: {} },
  ]);
});
