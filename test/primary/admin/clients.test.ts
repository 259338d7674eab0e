import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LbError } from '../../../src/contract/errors.ts';
import { type Admin, assertProblem, type Call, startAdmin } from './harness.ts';

const ACME = { clientId: 'acme', capacity: 100, refillPerSecond: 10, mode: 'limit', limits: {} };
const path = '/api/v1/clients';

async function withAcme(t: Parameters<typeof startAdmin>[0]): Promise<Admin> {
  const admin = await startAdmin(t);
  const made = await admin.call({ method: 'POST', path, body: ACME });
  assert.equal(made.status, 201, made.text);
  return admin;
}

test('every write of a client or key that took effect waits for the workers before it answers; nothing else does', async (t) => {
  const { call, parts } = await startAdmin(t);
  const acme = `${path}/acme`;
  const body = { capacity: 5, refillPerSecond: 1 };
  let keyId = '';
  const writes = [
    () => call({ method: 'POST', path, body: { clientId: 'acme' } }),
    () => call({ method: 'PUT', path: acme, body }),
    () => call({ method: 'PATCH', path: acme, body: { mode: 'blocked' } }),
    async () => {
      const issued = await call({ method: 'POST', path: `${acme}/keys` });
      ({ keyId } = issued.json as { keyId: string });
      return issued;
    },
    () => call({ method: 'DELETE', path: `${acme}/keys/${keyId}` }),
    () => call({ method: 'DELETE', path: acme }),
  ];
  for (const [index, write] of writes.entries()) {
    const { status, text } = await write();
    assert.ok(status < 300, text);
    assert.equal(parts.told, index + 1);
  }
  const others = [
    { path },
    { path: acme },
    { path: `${acme}/keys` },
    { method: 'DELETE', path: acme },
    { method: 'PATCH', path: acme, body: {} },
    { method: 'PUT', path: acme, body: { capacity: 5 } },
  ];
  for (const other of others) await call(other);
  assert.equal(parts.told, writes.length);
});

test('a client is created, read, replaced, changed and deleted', async (t) => {
  const { call } = await startAdmin(t);
  const made = await call({
    method: 'POST',
    path,
    body: { clientId: 'acme', capacity: 5, refillPerSecond: 0.5 },
  });
  assert.equal(made.status, 201);
  assert.equal(made.headers.location, '/api/v1/clients/acme');
  const acme = { clientId: 'acme', mode: 'limit', capacity: 5, refillPerSecond: 0.5, limits: {} };
  assert.deepEqual(made.json, acme);
  assert.deepEqual((await call({ path: `${path}/acme` })).json, acme);
  assertProblem(await call({ method: 'POST', path, body: { clientId: 'acme' } }), 409);

  const gold = { gold: { capacity: 7, refillPerSecond: 1 } };
  const patched = await call({ method: 'PATCH', path: `${path}/acme`, body: { limits: gold } });
  assert.equal(patched.status, 200);
  assert.deepEqual(patched.json, { ...acme, limits: gold });
  const half = await call({ method: 'PATCH', path: `${path}/acme`, body: { capacity: 9 } });
  assert.deepEqual(half.json, { ...acme, capacity: 9, limits: gold });
  const reset = await call({
    method: 'PATCH',
    path: `${path}/acme`,
    body: { capacity: null, refillPerSecond: null, limits: {} },
  });
  assert.deepEqual(reset.json, { ...acme, capacity: null, refillPerSecond: null });
  assert.deepEqual((await call({ method: 'PATCH', path: `${path}/acme`, body: {} })).json, reset.json);

  const put = await call({ method: 'PUT', path: `${path}/acme`, body: { mode: 'blocked' } });
  assert.equal(put.status, 200);
  assert.deepEqual(put.json, { ...acme, mode: 'blocked', capacity: null, refillPerSecond: null });
  const putNew = await call({
    method: 'PUT',
    path: `${path}/new`,
    body: { clientId: 'new', mode: 'unlimited' },
  });
  assert.equal(putNew.status, 201);
  assert.equal(putNew.headers.location, '/api/v1/clients/new');

  const gone = await call({ method: 'DELETE', path: `${path}/acme` });
  assert.equal(gone.status, 204);
  assert.equal(gone.text, '');
  assert.match(String(gone.headers['x-request-id']), /./);
  assertProblem(await call({ path: `${path}/acme` }), 404);
  assertProblem(await call({ method: 'DELETE', path: `${path}/acme` }), 404);
  assertProblem(await call({ method: 'PATCH', path: `${path}/acme`, body: { mode: 'limit' } }), 404);
  assertProblem(await call({ method: 'PATCH', path: `${path}/acme`, body: { capacity: 1 } }), 404);
});

test('the body of a GET may be sent back unchanged by PUT and POST', async (t) => {
  const { call } = await startAdmin(t);
  await call({
    method: 'PUT',
    path: `${path}/acme`,
    body: { limits: { gold: { capacity: 7, refillPerSecond: 1 } } },
  });
  const { json } = await call({ path: `${path}/acme` });
  assert.ok(typeof json === 'object' && json !== null);
  const put = await call({ method: 'PUT', path: `${path}/acme`, body: json });
  assert.deepEqual([put.status, put.json], [200, json]);
  await call({ method: 'DELETE', path: `${path}/acme` });
  const post = await call({ method: 'POST', path, body: json });
  assert.deepEqual([post.status, post.json], [201, json]);
});

test('every spelling of an address or CIDR is stored in canonical form', async (t) => {
  const { call, parts } = await startAdmin(t);
  const cases = [
    ['10.1.2.3/8', '10.0.0.0/8'],
    ['2001:DB8:0:0::1', '2001:db8::1'],
    ['::ffff:192.0.2.7', '192.0.2.7'],
    ['fd00:0::/8', 'fd00::/8'],
  ] as const;
  for (const [written, stored] of cases) {
    const made = await call({ method: 'POST', path, body: { clientId: written } });
    assert.equal(made.status, 201, made.text);
    assert.equal(made.headers.location, `${path}/${encodeURIComponent(stored)}`);
    assert.deepEqual((await call({ path: String(made.headers.location) })).json, made.json);
    const found = await call({ path: `${path}/${encodeURIComponent(written)}` });
    assert.deepEqual(found.json, made.json);
    const put = await call({
      method: 'PUT',
      path: `${path}/${encodeURIComponent(written)}`,
      body: { clientId: stored },
    });
    assert.equal(put.status, 200);
  }
  assert.deepEqual(
    [...parts.clients.rows.keys()],
    cases.map(([, stored]) => stored),
  );
});

test('a list can be searched by the beginning of the ids', async (t) => {
  const { call } = await withAcme(t);
  for (const clientId of ['acme-2', 'beta']) await call({ method: 'POST', path, body: { clientId } });
  const ids = async (prefix: string) => {
    const { json } = await call({ path: `${path}?prefix=${encodeURIComponent(prefix)}` });
    return (json as { items: { clientId: string }[] }).items.map(({ clientId }) => clientId);
  };
  assert.deepEqual(await ids('acme'), ['acme', 'acme-2']);
  assert.deepEqual(await ids(''), ['acme', 'acme-2', 'beta']);
  assertProblem(await call({ path: `${path}?prefix=%25` }), 422, ['prefix']);
});

test('a list comes in pages whose opaque next leads to the following one', async (t) => {
  const { call, parts } = await startAdmin(t);
  const ids = ['a', 'b', '10.0.0.0/8', 'c:1', 'd@x'].sort();
  for (const clientId of ids) await call({ method: 'POST', path, body: { clientId } });
  const seen: unknown[] = [];
  let after = '';
  for (let pages = 0; pages < 9; pages++) {
    const { json, status } = await call({ path: `${path}?limit=2${after}` });
    assert.equal(status, 200);
    const page = json as { items: { clientId: string }[]; next: string | null };
    seen.push(...page.items.map(({ clientId }) => clientId));
    if (page.next === null) break;
    assert.ok(!ids.includes(page.next), 'next is opaque');
    after = `&after=${encodeURIComponent(page.next)}`;
  }
  assert.deepEqual(seen, ids);
  assert.equal(parts.clients.rows.size, 5);
  const all = (await call({ path })).json as { items: unknown[]; next: null };
  assert.deepEqual([all.items.length, all.next], [5, null]);
});

const LONG = 'x'.repeat(129);
const HUGE = 1e300;
const LIMITS = { capacity: 1, refillPerSecond: 1 };

type Row = [what: string, body: object | string, fields: string[]];

/** For POST, and for PUT with the id in the path. */
const BAD_BODIES: Row[] = [
  ['capacity as text', { capacity: '100', refillPerSecond: 1 }, ['capacity']],
  ['capacity as a list', { capacity: [1], refillPerSecond: 1 }, ['capacity']],
  ['capacity zero', { capacity: 0, refillPerSecond: 1 }, ['capacity']],
  ['capacity negative', { capacity: -5, refillPerSecond: 1 }, ['capacity']],
  ['capacity with a fraction', { capacity: 1.5, refillPerSecond: 1 }, ['capacity']],
  ['capacity above 1e9', { capacity: 1_000_000_001, refillPerSecond: 1e6 }, ['capacity']],
  ['capacity huge', { capacity: HUGE, refillPerSecond: 1 }, ['capacity']],
  ['capacity beyond numbers', '{"clientId":"bad","capacity":1e999,"refillPerSecond":1}', ['capacity']],
  ['refill as text', { capacity: 1, refillPerSecond: '1' }, ['refillPerSecond']],
  ['refill zero', { capacity: 1, refillPerSecond: 0 }, ['refillPerSecond']],
  ['refill negative', { capacity: 1, refillPerSecond: -1 }, ['refillPerSecond']],
  ['refill too small', { capacity: 1, refillPerSecond: 1e-7 }, ['refillPerSecond']],
  ['refill huge', { capacity: 1, refillPerSecond: HUGE }, ['refillPerSecond']],
  ['capacity alone', { capacity: 1 }, ['refillPerSecond']],
  ['refill alone', { refillPerSecond: 1 }, ['refillPerSecond']],
  ['refill null', { capacity: 1, refillPerSecond: null }, ['refillPerSecond']],
  ['more than 30 days to fill', { capacity: 2_592_001, refillPerSecond: 1 }, ['refillPerSecond']],
  ['unknown mode', { mode: 'unlimted' }, ['mode']],
  ['mode as a number', { mode: 1 }, ['mode']],
  ['mode null', { mode: null }, ['mode']],
  ['unknown field', { capcity: 5 }, ['capcity']],
  ['two unknown fields', { one: 1, two: 2 }, ['one', 'two']],
  ['an unknown field and a wrong type', { mode: 1, zzz: 2 }, ['mode', 'zzz']],
  ['limits as a list', { limits: [] }, ['limits']],
  ['limits null', { limits: null }, ['limits']],
  ['limits of an unknown policy', { limits: { silver: LIMITS } }, ['limits.silver']],
  ['limits of default', { limits: { default: LIMITS } }, ['limits.default']],
  ['limits of a name that objects have', { limits: { constructor: LIMITS } }, ['limits.constructor']],
  ['limits without refill', { limits: { gold: { capacity: 1 } } }, ['limits.gold.refillPerSecond']],
  ['limits with null', { limits: { gold: null } }, ['limits.gold']],
  [
    'limits out of range',
    { limits: { gold: { capacity: -1, refillPerSecond: 1 } } },
    ['limits.gold.capacity'],
  ],
  [
    'limits that fill too slowly',
    { limits: { gold: { capacity: 1e9, refillPerSecond: 1 } } },
    ['limits.gold.refillPerSecond'],
  ],
  ['unknown field in limits', { limits: { gold: { ...LIMITS, burst: 1 } } }, ['limits.gold.burst']],
];

const BAD_IDS = [
  '',
  ' ',
  'a b',
  'a/b',
  '/',
  'ünïcode',
  '名前',
  'a\u0000b',
  'a%b',
  'a"b',
  '10.0.0.0/33',
  '1.2.3.4/',
  LONG,
  '🙂',
];

test('an invalid body is refused with the wrong fields, and nothing changes', async (t) => {
  const { call, parts } = await withAcme(t);
  const before = parts.state();
  const refused = async (what: string, sent: Call, fields: string[]): Promise<void> => {
    await t.test(what, async () => {
      assertProblem(await call({ headers: { 'content-type': 'application/json' }, ...sent }), 422, fields);
      assert.equal(parts.state(), before);
    });
  };
  for (const [what, body, fields] of BAD_BODIES) {
    const post = typeof body === 'string' ? body : { clientId: 'bad', ...body };
    await refused(`POST: ${what}`, { method: 'POST', path, body: post }, fields);
    for (const id of ['acme', 'bad']) {
      await refused(`PUT of ${id}: ${what}`, { method: 'PUT', path: `${path}/${id}`, body }, fields);
    }
    if (what.endsWith('alone') || what === 'capacity beyond numbers') continue;
    await refused(`PATCH: ${what}`, { method: 'PATCH', path: `${path}/acme`, body }, fields);
  }
  for (const clientId of [...BAD_IDS, 7, null, true, {}, ['acme']]) {
    await refused(
      `POST: clientId ${JSON.stringify(clientId)}`,
      { method: 'POST', path, body: { clientId } },
      ['clientId'],
    );
  }
  await refused('POST: no clientId', { method: 'POST', path, body: {} }, ['clientId']);
  await refused('PUT: another clientId', { method: 'PUT', path: `${path}/acme`, body: { clientId: 'b' } }, [
    'clientId',
  ]);
  await refused('PATCH: clientId', { method: 'PATCH', path: `${path}/acme`, body: { clientId: 'acme' } }, [
    'clientId',
  ]);
  for (const body of ['[]', '"acme"', '7', 'true']) {
    await refused(`POST: ${body} for a body`, { method: 'POST', path, body }, ['body']);
  }
  const half = { refillPerSecond: null };
  await refused('PATCH: half of the pair null', { method: 'PATCH', path: `${path}/acme`, body: half }, [
    'refillPerSecond',
  ]);
  const slow = { refillPerSecond: 1e-6 };
  await refused(
    'PATCH: a half that fills too slowly',
    { method: 'PATCH', path: `${path}/acme`, body: slow },
    ['refillPerSecond'],
  );
});

test('an invalid id is refused in the path too, and nothing changes', async (t) => {
  const { call, parts } = await withAcme(t);
  const before = parts.state();
  for (const id of BAD_IDS.filter((each) => each !== '')) {
    const one = `${path}/${encodeURIComponent(id)}`;
    await t.test(JSON.stringify(id), async () => {
      assertProblem(await call({ path: one }), 422, ['clientId']);
      assertProblem(await call({ method: 'PUT', path: one, body: {} }), 422, ['clientId']);
      assertProblem(await call({ method: 'PATCH', path: one, body: {} }), 422, ['clientId']);
      assertProblem(await call({ method: 'DELETE', path: one }), 422, ['clientId']);
      assert.equal(parts.state(), before);
    });
  }
  assertProblem(await call({ method: 'PUT', path: `${path}/a/b`, body: {} }), 404);
  assertProblem(await call({ method: 'DELETE', path: `${path}/` }), 422, ['clientId']);
  assertProblem(await call({ method: 'PUT', path: `${path}/%zz`, body: {} }), 400);
  assertProblem(await call({ method: 'PUT', path: `${path}/%ff`, body: {} }), 400);
  assertProblem(await call({ method: 'PUT', path: `${path}/${'x'.repeat(4000)}`, body: {} }), 422, [
    'clientId',
  ]);
  assert.equal(parts.state(), before);
});

test('an invalid page is refused with the wrong parameter', async (t) => {
  const { call } = await withAcme(t);
  for (const limit of ['0', '-1', '1001', '1e2', 'abc', '', '5.5', '99999999999999999999', '1&limit=2']) {
    assertProblem(await call({ path: `${path}?limit=${limit}` }), 422, ['limit']);
  }
  for (const after of ['acm', '!', '', Buffer.from('a\0b').toString('base64url'), 'x'.repeat(2000)]) {
    assertProblem(await call({ path: `${path}?after=${after}` }), 422, ['after']);
  }
  assertProblem(await call({ path: `${path}?offset=1` }), 422, ['offset']);
  assert.equal((await call({ path: `${path}?limit=1000` })).status, 200);
});

test('every call on clients gets 503 with Retry-After while the database is away, without internals', async (t) => {
  const { call, parts } = await withAcme(t);
  parts.clients.failure = new LbError('database_unavailable', 'secret host db-7');
  const calls: Call[] = [
    { path },
    { path: `${path}/acme` },
    { method: 'POST', path, body: { clientId: 'x' } },
    { method: 'PUT', path: `${path}/acme`, body: {} },
    { method: 'PATCH', path: `${path}/acme`, body: { mode: 'limit' } },
    { method: 'PATCH', path: `${path}/acme`, body: { capacity: 1 } },
    { method: 'DELETE', path: `${path}/acme` },
  ];
  for (const each of calls) {
    const answer = await call(each);
    assertProblem(answer, 503);
    assert.equal(answer.headers['retry-after'], '1');
    assert.equal((answer.json as { detail: string }).detail, 'the database cannot be reached');
    assert.doesNotMatch(answer.text, /db-7/);
  }
  parts.clients.failure = new Error('secret host db-7');
  const broken = await call({ path });
  assertProblem(broken, 500);
  assert.doesNotMatch(broken.text, /db-7/);
  const line = parts.logLines.find((each) => each.includes(String(broken.headers['x-request-id'])));
  assert.match(String(line), /db-7/);
});

test("what only the table refuses gets 422 with the table's rule", async (t) => {
  const { call, parts } = await withAcme(t);
  parts.clients.failure = new LbError('bad_request', 'does not keep to both_or_neither', { status: 422 });
  const answer = await call({ method: 'PUT', path: `${path}/acme`, body: {} });
  assertProblem(answer, 422, ['']);
  assert.match(answer.text, /both_or_neither/);
});

test('lists and reads tell when a client was last seen; what no worker told is left out', async (t) => {
  const { call, parts } = await withAcme(t);
  assert.deepEqual((await call({ path: `${path}/acme` })).json, ACME);
  for (const lastSeenAt of ['2026-12-01T06:00:00Z', null]) {
    parts.seen.set('acme', lastSeenAt);
    assert.deepEqual((await call({ path: `${path}/acme` })).json, { ...ACME, lastSeenAt });
    assert.deepEqual((await call({ path })).json, { items: [{ ...ACME, lastSeenAt }], next: null });
  }
});
