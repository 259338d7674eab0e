import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertProblem, startAdmin } from './harness.ts';

const path = '/api/v1/log-level';

test('the log level is shown and changed, and a level that is none is refused', async (t) => {
  const admin = await startAdmin(t);
  assert.deepEqual((await admin.call({ path })).json, { level: 'info' });
  const changed = await admin.call({ method: 'PUT', path, body: { level: 'debug' } });
  assert.deepEqual([changed.status, changed.json], [200, { level: 'debug' }]);
  assert.deepEqual((await admin.call({ path })).json, { level: 'debug' });
  assertProblem(await admin.call({ method: 'PUT', path, body: { level: 'loud' } }), 422, ['level']);
  assertProblem(await admin.call({ method: 'PUT', path, body: {} }), 422, ['level']);
  assert.deepEqual((await admin.call({ path })).json, { level: 'debug' });
});

test('the log level needs the token', async (t) => {
  const admin = await startAdmin(t, { settings: { token: 'a-token-of-16-characters' } });
  assertProblem(await admin.call({ path }), 401);
  assertProblem(await admin.call({ method: 'PUT', path, body: { level: 'debug' } }), 401);
  assert.equal(admin.parts.settings.log.level, 'info');
});
