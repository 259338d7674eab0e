import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Admin, type Answer, assertProblem, startAdmin } from './harness.ts';

const path = '/api/v1/clients';

function detailOf({ json }: Answer): unknown {
  return (json as { detail?: unknown } | null)?.detail;
}

async function withAcme(t: Parameters<typeof startAdmin>[0]): Promise<Admin> {
  const admin = await startAdmin(t);
  const made = await admin.call({
    method: 'POST',
    path,
    body: { clientId: 'acme', capacity: 100, refillPerSecond: 10 },
  });
  assert.equal(made.status, 201, made.text);
  return admin;
}

test('a body that is not JSON gets 400, one over 64 KiB 413, and nothing changes', async (t) => {
  const { call, parts } = await withAcme(t);
  const before = parts.state();
  const headers = { 'content-type': 'application/json' };
  const targets = [
    { method: 'POST', path },
    { method: 'PUT', path: `${path}/acme` },
    { method: 'PATCH', path: `${path}/acme` },
  ];
  for (const target of targets) {
    for (const body of [
      '{',
      '{"clientId":"x"',
      'clientId=x',
      "{'a':1}",
      '{"mode":"blocked"}x',
      '{"__proto__":{"a":1}}',
    ]) {
      assertProblem(await call({ ...target, headers, body }), 400);
    }
    assertProblem(await call({ ...target, headers, body: Buffer.from('{"clientId":"\u0001"}') }), 400);
    assertProblem(await call(target), 400);
    assertProblem(await call({ ...target, headers }), 400);
    for (const bytes of [64 * 1024 + 1, 10 * 1024 * 1024]) {
      const body = '{"clientId":"'.padEnd(bytes, 'x');
      assertProblem(await call({ ...target, headers, body }), 413);
      assertProblem(
        await call({ ...target, headers: { ...headers, 'transfer-encoding': 'chunked' }, body }),
        413,
      );
    }
  }
  assert.equal(parts.state(), before);
  const largest = `{"mode":"blocked"${' '.repeat(64 * 1024 - 18)}}`;
  assert.equal(largest.length, 64 * 1024);
  assert.equal((await call({ method: 'PUT', path: `${path}/acme`, headers, body: largest })).status, 200);
});

test('errors of fields are worded as by `sluice check`', async (t) => {
  const { call } = await withAcme(t);
  const id = { clientId: 'x' };
  const bodies: [object, string][] = [
    [{ ...id, capacity: 0, refillPerSecond: 1 }, 'capacity: must be at least 1'],
    [{ ...id, capacity: 2e9, refillPerSecond: 1 }, 'capacity: must be at most 1000000000'],
    [{ ...id, capacity: 1.5, refillPerSecond: 1 }, 'capacity: must be a whole number'],
    [{ ...id, capacity: 1, refillPerSecond: -1 }, 'refillPerSecond: must be at least 0.000001'],
    [{ ...id, mode: 'open' }, 'mode: must be one of limit, unlimited, blocked'],
    [{ ...id, limits: [] }, 'limits: must be an object'],
    [{ ...id, limits: { gold: { capacity: 1 } } }, 'limits.gold.refillPerSecond: is missing'],
    [{ clientId: 7 }, 'clientId: must be text'],
    [{}, 'clientId: is missing'],
    [[], 'body: must be an object'],
  ];
  for (const [body, detail] of bodies) {
    const answer = await call({ method: 'POST', path, body });
    assert.deepEqual([answer.status, detailOf(answer)], [422, detail]);
  }
  const pages = { x: 'must be a number', 0: 'must be at least 1', 1001: 'must be at most 1000' };
  for (const [limit, words] of Object.entries(pages)) {
    assert.equal(detailOf(await call({ path: `${path}?limit=${limit}` })), `limit: ${words}`);
  }
  const name = 'n'.repeat(129);
  const keyed = await call({ method: 'POST', path: `${path}/acme/keys`, body: { name } });
  assert.equal(detailOf(keyed), 'name: must have at most 128 characters');
});

test('a write with a body needs application/json, one without needs no type', async (t) => {
  const { call, parts } = await withAcme(t);
  const before = parts.state();
  const body = '{"clientId":"typed"}';
  const wrong = [
    'text/plain',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x',
    'application/jsonp',
    'text/plain; application/json',
    'application/problem+json',
    'application',
    'application/json/x',
    '*/*',
  ];
  for (const type of wrong) {
    assertProblem(await call({ method: 'POST', path, headers: { 'content-type': type }, body }), 415);
    assertProblem(
      await call({ method: 'PUT', path: `${path}/x`, headers: { 'content-type': type }, body: '{}' }),
      415,
    );
    assertProblem(
      await call({ method: 'DELETE', path: `${path}/acme`, headers: { 'content-type': type }, body: '{}' }),
      415,
    );
    assertProblem(
      await call({ method: 'POST', path: '/api/v1/reload', headers: { 'content-type': type }, body: '{}' }),
      415,
    );
  }
  assertProblem(await call({ method: 'POST', path, body }), 415);
  assert.equal(parts.state(), before);
  const right = ['application/json', 'application/json; charset=utf-8', 'Application/JSON;charset="UTF-8"'];
  for (const [i, type] of right.entries()) {
    const made = await call({
      method: 'POST',
      path,
      headers: { 'content-type': type },
      body: `{"clientId":"t${i}"}`,
    });
    assert.equal(made.status, 201, made.text);
  }
  for (const type of ['text/plain', 'application/json', 'application/x-www-form-urlencoded']) {
    const answer = await call({
      method: 'POST',
      path: '/api/v1/reload',
      headers: { 'content-type': type },
      body: '',
    });
    assert.equal(answer.status, 200, answer.text);
  }
  assert.equal((await call({ method: 'POST', path: '/api/v1/reload' })).status, 200);
  assert.equal((await call({ method: 'DELETE', path: `${path}/t0` })).status, 204);
});
