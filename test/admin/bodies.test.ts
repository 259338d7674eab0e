import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Admin, assertProblem, startAdmin } from './harness.ts';

const path = '/api/v1/clients';

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

test('a body that is not JSON is 400, one over 64 KiB is 413, and nothing changes', async (t) => {
  const { call, services } = await withAcme(t);
  const before = services.state();
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
  assert.equal(services.state(), before);
  const largest = `{"mode":"blocked"${' '.repeat(64 * 1024 - 18)}}`;
  assert.equal(largest.length, 64 * 1024);
  assert.equal((await call({ method: 'PUT', path: `${path}/acme`, headers, body: largest })).status, 200);
});

test('a write with a body needs application/json, a bodyless one needs no type', async (t) => {
  const { call, services } = await withAcme(t);
  const before = services.state();
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
  assert.equal(services.state(), before);
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
