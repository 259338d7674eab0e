import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Redis } from 'ioredis';
import { bucketKeysOf } from '../../src/limit/bucket/bucket-peek.ts';
import { PLAIN_TAKE } from '../../src/limit/store/bucket-store.ts';
import { policyOf } from '../limit/limiter/limiter-lab.ts';
import { startRedis } from '../support/redis.ts';
import { waitFor } from '../support/wait.ts';
import { openOperatorBuckets } from './operator-buckets.ts';

const POLICIES = [policyOf({ capacity: 100, refillPerSecond: 1 }), policyOf({ name: 'day', capacity: 500 })];

test('peeking at buckets changes no byte in Redis, with leases and under new limits, and waits at most a second', async (t) => {
  const server = await startRedis();
  t.after(() => server.stop());
  const operator = new Redis(server.url);
  t.after(() => operator.disconnect());
  let policies = POLICIES;
  const servers = { kind: 'single', url: server.url } as const;
  const { buckets, store } = await openOperatorBuckets(t, servers, { policies: () => policies });
  await waitFor('the connection', () => store.buckets.available);
  const client = { clientId: 'acme', mode: 'limit', limits: {}, versionUs: 1 } as const;
  const match = { client, bucketName: 'acme', tombstoneUs: 0 };
  const [key = ''] = bucketKeysOf('acme', POLICIES);
  const limits = { capacity: 100, rateMicro: 1e6, versionUs: 1_000 };
  const take = { ...PLAIN_TAKE, key, ...limits, need: 10, partial: true, ahead: 20 };
  const [lent] = await store.buckets.takeBatch([take]);
  assert.ok(lent !== undefined && !(lent instanceof Error) && lent.ahead === 20);

  const looks = async (versionUs: number, capacity: number) => {
    policies = [policyOf({ capacity, refillPerSecond: 1 }), ...POLICIES.slice(1)];
    const seen = await buckets.of(match, versionUs);
    return seen.map(({ level, capacity: of }) => [Math.floor(level), of]);
  };
  const stored = async () => {
    const keys = await operator.keys('*:rl1:*');
    return Promise.all(keys.map(async (key) => [key, (await operator.dump(key))?.toString()]));
  };
  const before = await stored();
  assert.equal(before.length, 1, 'the other bucket was never used');
  const expiresAt = await operator.call('PEXPIRETIME', String(before[0]?.[0]));
  assert.deepEqual(await looks(1_000, 100), [
    [70, 100],
    [500, 500],
  ]);
  assert.deepEqual(await looks(2_000, 40), [
    [40, 40],
    [500, 500],
  ]);
  assert.deepEqual(await looks(2_000, 200), [
    [70, 200],
    [500, 500],
  ]);
  assert.deepEqual(await stored(), before);
  assert.equal(await operator.call('PEXPIRETIME', String(before[0]?.[0])), expiresAt);

  server.signal('SIGSTOP');
  await assert.rejects(looks(1_000, 100), { code: 'store_timeout' });
  server.signal('SIGCONT');
});
