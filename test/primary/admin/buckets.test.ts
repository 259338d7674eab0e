import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LbError } from '../../../src/contract/errors.ts';
import { assertProblem, startAdmin } from './harness.ts';

const path = '/api/v1/clients/acme/bucket';

test('the buckets of a client are shown, one per policy, and filled by a reset', async (t) => {
  const { call, services } = await startAdmin(t);
  for (const [method, each] of [
    ['GET', path],
    ['POST', `${path}/reset`],
  ] as const) {
    assertProblem(await call({ method, path: each }), 404);
  }
  await call({ method: 'PUT', path: '/api/v1/clients/acme', body: { capacity: 7, refillPerSecond: 1 } });
  const shown = (await call({ path })).json as { items: object[] };
  assert.deepEqual(shown.items, [
    { policy: 'default', level: 99.5, capacity: 7, refillPerSecond: 50, nextTokenMs: 0 },
    { policy: 'gold', level: 99.5, capacity: 1000, refillPerSecond: 100, nextTokenMs: 0 },
  ]);
  assert.deepEqual(services.resets, [], 'a look changes nothing');
  const reset = await call({ method: 'POST', path: `${path}/reset` });
  assert.deepEqual([reset.status, reset.text, services.resets], [204, '', ['acme']]);
  assertProblem(await call({ path: `${path}/reset` }), 405);
  services.resetBuckets = () => Promise.reject(new LbError('store_timeout', 'redis-7'));
  assertProblem(await call({ method: 'POST', path: `${path}/reset` }), 503);
});
