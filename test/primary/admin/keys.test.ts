import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LbError } from '../../../src/contract/errors.ts';
import { assertProblem, startAdmin } from './harness.ts';

const path = '/api/v1/clients/acme/keys';
const json = { 'content-type': 'application/json' };

test('a key is issued with or without a name, shown once, listed without the secret and revoked', async (t) => {
  const { call, parts } = await startAdmin(t);
  await call({ method: 'PUT', path: '/api/v1/clients/acme', body: {} });
  const named = await call({ method: 'POST', path, body: { name: 'ci' } });
  assert.equal(named.status, 201, named.text);
  assert.deepEqual(Object.keys(named.json as object).sort(), ['createdAt', 'key', 'keyId', 'name']);
  for (const more of [{}, { headers: json }, { body: {} }, { body: { name: null } }]) {
    const made = await call({ method: 'POST', path, ...more });
    assert.equal(made.status, 201, made.text);
    assert.equal((made.json as { name: unknown }).name, null);
  }
  const first = (await call({ path: `${path}?limit=4` })).json as { items: object[]; next: string };
  assert.equal(first.items.length, 4);
  const { key, ...shown } = named.json as { key: string; keyId: string };
  assert.deepEqual(first.items[0], shown);
  const rest = await call({ path: `${path}?limit=4&after=${first.next}` });
  assert.deepEqual((rest.json as { items: unknown[]; next: unknown }).next, null);
  assert.ok(![JSON.stringify(first), rest.text, ...parts.logLines].some((text) => text.includes(key)));

  const gone = await call({ method: 'DELETE', path: `${path}/${shown.keyId}` });
  assert.deepEqual([gone.status, gone.text], [204, '']);
  assertProblem(await call({ method: 'DELETE', path: `${path}/${shown.keyId}` }), 404);
  assert.ok(!(await call({ path })).text.includes(shown.keyId));
});

test('invalid calls on keys are refused, each with its status', async (t) => {
  const { call } = await startAdmin(t);
  for (const method of ['POST', 'GET']) assertProblem(await call({ method, path }), 404);
  assertProblem(await call({ method: 'DELETE', path: `${path}/none` }), 404);
  await call({ method: 'PUT', path: '/api/v1/clients/acme', body: {} });
  assertProblem(await call({ method: 'DELETE', path: `${path}/none` }), 404);
  assertProblem(await call({ method: 'DELETE', path: `${path}/a%00b` }), 422, ['keyId']);
  assertProblem(await call({ method: 'PUT', path, body: {} }), 405);
  for (const name of ['', 'x'.repeat(129), 7, 'a\u0000b']) {
    assertProblem(await call({ method: 'POST', path, body: { name } }), 422, ['name']);
  }
  assertProblem(await call({ method: 'POST', path, body: { label: 'x' } }), 422, ['label']);
  assertProblem(await call({ method: 'POST', path, headers: json, body: '{' }), 400);
  assertProblem(await call({ method: 'POST', path, body: '{}' }), 415);
  assertProblem(await call({ path: `${path}?after=%20` }), 422, ['after']);
  assertProblem(await call({ path: '/api/v1/clients/a%20b/keys' }), 422, ['clientId']);
});

test('a problem says that the secret or the database is missing', async (t) => {
  const { call, parts } = await startAdmin(t);
  await call({ method: 'PUT', path: '/api/v1/clients/acme', body: {} });
  parts.apiKeys.failure = new LbError('secret_missing', 'EACCES /srv/data');
  const refused = await call({ method: 'POST', path });
  assertProblem(refused, 503);
  assert.match(refused.text, /set secrets\.apiKeys/);
  assert.doesNotMatch(refused.text, /srv|data/);
  parts.apiKeys.failure = new LbError('database_unavailable', 'db-7 is away');
  for (const method of ['POST', 'GET']) assertProblem(await call({ method, path }), 503);
  assertProblem(await call({ method: 'DELETE', path: `${path}/x` }), 503);
});
