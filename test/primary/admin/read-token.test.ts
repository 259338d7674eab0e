import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readEvents } from '../../support/event-stream.ts';
import { assertProblem, startAdmin } from './harness.ts';

const settings = { token: 'a-token-that-may-write', readToken: 'a-token-that-may-read' };
const reader = { authorization: `Bearer ${settings.readToken}` };
const writer = { authorization: `Bearer ${settings.token}` };
const clients = '/api/v1/clients';

test('the read token reads everything and changes nothing', async (t) => {
  const { call, parts } = await startAdmin(t, { settings });
  const before = parts.state();
  for (const path of [clients, '/api/v1/pools', '/api/v1/config', '/metrics', '/openapi.json'])
    assert.equal((await call({ path, headers: reader })).status, 200, path);
  const drain = '/api/v1/pools/app/backends/one/drain';
  for (const write of [
    { method: 'POST', path: clients, body: { clientId: 'x' } },
    { method: 'PUT', path: `${clients}/x`, body: {} },
    { method: 'DELETE', path: `${clients}/x` },
    { method: 'POST', path: drain },
    { method: 'POST', path: '/api/v1/reload' },
    { method: 'POST', path: '/api/v1/workers/restart' },
    { method: 'POST', path: '/api/v1/nowhere' },
  ]) {
    const answer = await call({ ...write, headers: reader });
    assertProblem(answer, 403);
    assert.match(answer.text, /this token may only read/);
  }
  assert.equal(parts.state(), before);
  assert.notEqual(
    (await call({ method: 'POST', path: '/api/v1/explain', headers: reader, body: {} })).status,
    403,
  );
});

test('the file is read once a second at most for the read token, and each time for the other one', async (t) => {
  const { call, parts } = await startAdmin(t, { settings });
  let count = 0;
  const { file } = parts;
  parts.file = () => {
    count++;
    return file();
  };
  const diff = (headers: Record<string, string>) => call({ path: '/api/v1/config/diff', headers });
  const check = { method: 'POST', path: '/api/v1/config/check', headers: reader };
  const answers = await Promise.all([...Array.from({ length: 20 }, () => diff(reader)), call(check)]);
  assert.deepEqual([...new Set(answers.map(({ status }) => status))], [200]);
  assert.equal(count, 1);
  await diff(writer);
  await diff(writer);
  assert.equal(count, 3);
});

test('the read token does not end the count of wrong tokens', async (t) => {
  const { call } = await startAdmin(t, { settings });
  const statusOf = async (token: string) =>
    (await call({ path: clients, headers: { authorization: `Bearer ${token}` } })).status;
  const statuses = [];
  for (let guess = 0; guess < 7; guess++) {
    statuses.push(await statusOf(`guess-${guess}`));
    assert.equal(await statusOf(settings.readToken), 200);
  }
  assert.deepEqual(statuses.slice(-2), [429, 429]);
  await statusOf(settings.token);
  assert.equal(await statusOf('one-more'), 401);
});

test('a session says what its token allows, and whether one is needed', async (t) => {
  const guarded = await startAdmin(t, { settings });
  const sessionOf = async (admin: typeof guarded, headers: Record<string, string>) =>
    (await admin.call({ path: '/api/v1/session', headers })).json;
  assert.deepEqual(await sessionOf(guarded, reader), { access: 'read', tokenNeeded: true });
  assert.deepEqual(await sessionOf(guarded, writer), { access: 'write', tokenNeeded: true });
  assertProblem(await guarded.call({ path: '/api/v1/session' }), 401);
  const open = await startAdmin(t);
  assert.deepEqual(await sessionOf(open, {}), { access: 'write', tokenNeeded: false });
});

test('wrong tokens are told from both tokens, and the configuration shows neither', async (t) => {
  const { call, parts } = await startAdmin(t, { settings });
  for (const token of ['', 'a-token-that-may', `${settings.readToken}x`])
    assertProblem(await call({ path: clients, headers: { authorization: `Bearer ${token}` } }), 401);
  parts.settings = { ...parts.settings, admin: { ...parts.settings.admin, ...settings } };
  const { text } = await call({ path: '/api/v1/config', headers: reader });
  assert.doesNotMatch(text, /a-token-that/);
});

test('who may only read cannot take the last streams', async (t) => {
  const { call, url } = await startAdmin(t, { settings });
  const path = '/api/v1/requests';
  const open = (headers: Record<string, string>) => readEvents(t, `${url}${path}`, { headers });
  for (let i = 0; i < 8; i++) assert.equal((await open(reader)).response.statusCode, 200);
  const refused = await call({ path, headers: reader });
  assertProblem(refused, 503);
  assert.match(refused.text, /8 others read this already/);
  for (let i = 0; i < 2; i++) assert.equal((await open(writer)).response.statusCode, 200);
  assertProblem(await call({ path, headers: writer }), 503);
});
