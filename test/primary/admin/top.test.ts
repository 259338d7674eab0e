/** `GET /api/v1/top`. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertProblem, startAdmin } from './harness.ts';

test('the callers with the highest rates are listed with their shares and the error bound', async (t) => {
  const { call } = await startAdmin(t);
  const caller = { client: 'acme', kind: 'client', requestsPerSec: 12.3457, limitedPerSec: 3 };
  const shared = { windowSec: 60, errorBoundPerSec: 0.5, silentWorkers: 0 };
  const { status, json } = await call({ path: '/api/v1/top?limit=5' });
  assert.equal(status, 200);
  assert.deepEqual(json, { ...shared, totalPerSec: 24.6913, items: [{ ...caller, share: 0.5 }] });
  const limited = await call({ path: '/api/v1/top?by=limited' });
  assert.deepEqual(limited.json, { ...shared, totalPerSec: 3, items: [{ ...caller, share: 1 }] });
  for (const [query, field] of [
    ['by=bytes', 'by'],
    ['limit=0', 'limit'],
    ['limit=101', 'limit'],
    ['more=1', 'more'],
  ] as const)
    assertProblem(await call({ path: `/api/v1/top?${query}` }), 422, [field]);
  assertProblem(await call({ path: '/api/v1/top?limit=99' }), 503);
});
