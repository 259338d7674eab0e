import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ClientRecord } from '../../../src/contract/clients.ts';
import { LbError } from '../../../src/contract/errors.ts';
import { matchOfId } from '../../../src/primary/admin/buckets.ts';
import { assertProblem, startAdmin } from './harness.ts';

const path = '/api/v1/clients/acme/bucket';

test('GET shows the buckets of a client, one per policy, and a reset fills them', async (t) => {
  const { call, parts } = await startAdmin(t);
  for (const [method, each] of [
    ['GET', path],
    ['POST', `${path}/reset`],
  ] as const) {
    assertProblem(await call({ method, path: each }), 404);
  }
  await call({ method: 'PUT', path: '/api/v1/clients/acme', body: { capacity: 7, refillPerSecond: 1 } });
  const shown = (await call({ path })).json as { bucketName: string; items: object[] };
  assert.equal(shown.bucketName, 'acme');
  assert.deepEqual(shown.items, [
    { policy: 'default', level: 99.5, capacity: 7, refillPerSecond: 50, nextTokenMs: 0 },
    { policy: 'gold', level: 99.5, capacity: 1000, refillPerSecond: 100, nextTokenMs: 0 },
  ]);
  assert.deepEqual(parts.resets, [], 'a look changes nothing');
  const reset = await call({ method: 'POST', path: `${path}/reset` });
  assert.deepEqual([reset.status, reset.text, parts.resets], [204, '', ['acme']]);
  assertProblem(await call({ path: `${path}/reset` }), 405);
  parts.resetFailure = new LbError('store_timeout', 'redis-7');
  assertProblem(await call({ method: 'POST', path: `${path}/reset` }), 503);
});

test('buckets belong to the client, to the range that contains an address, or to the group of the address', async () => {
  const record = (clientId: string): ClientRecord => ({ clientId, mode: 'limit', limits: {}, versionUs: 7 });
  const records = new Map(['acme', '192.0.2.1', '10.0.0.0/8'].map((id) => [id, record(id)]));
  const owner = (clientId: string) =>
    matchOfId(
      clientId,
      {
        clients: {
          get: async (id) => {
            const found = records.get(id);
            if (found === undefined) throw new LbError('client_not_found', id);
            return found;
          },
        },
        feed: {
          table: {
            get: (id) => (id === '198.51.100.0/24' ? { client: null, versionUs: 5 } : null),
            longestRange: (address) => (address.startsWith('10.') ? record('10.0.0.0/8') : null),
          },
        },
      },
      { apiKeyHeader: null, ipv4Prefix: 24, ipv6Prefix: 64 },
    );
  for (const [clientId, bucketName, tombstoneUs] of [
    ['acme', 'acme', 0],
    ['192.0.2.1', '192.0.2.1', 0],
    ['10.1.2.3', '10.0.0.0/8', 0],
    ['203.0.113.9', '203.0.113.0/24', 0],
    ['203.0.113.0/24', '203.0.113.0/24', 0],
    ['198.51.100.7', '198.51.100.0/24', 5],
    ['2001:db8::7', '2001:db8::/64', 0],
  ] as const) {
    const found = await owner(clientId);
    assert.deepEqual([found.bucketName, found.tombstoneUs], [bucketName, tombstoneUs], clientId);
  }
  for (const clientId of ['nobody', '203.0.0.0/16', '203.0.113.9/32x'])
    await assert.rejects(owner(clientId), { code: 'client_not_found' });
});
