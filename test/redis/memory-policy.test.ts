/** The primary's warnings about a Redis whose memory may fill up. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bucketKey, hashBucketName, storeKeyPrefix } from '../../src/limit/bucket/bucket-key.ts';
import { PLAIN_TAKE } from '../../src/limit/store/bucket-store.ts';
import { warnOfMemoryPolicy } from '../../src/primary/buckets/primary-store.ts';
import { allowed, callerOf, policyOf, takeMany } from '../limit/limiter/limiter-lab.ts';
import { startRedis } from '../support/redis.ts';
import { waitFor } from '../support/wait.ts';
import { openOperator } from './connect.ts';
import { PATIENT_MS, startFleet } from './limiter-fleet.ts';
import { openOperatorBuckets } from './operator-buckets.ts';

test('a warning names the right setting if Redis refuses writes or evicts buckets in use when its memory is full', async (t) => {
  const server = await startRedis();
  t.after(() => server.stop());
  const operator = await openOperator(server.url);
  t.after(() => operator.close());
  const lines: string[] = [];
  const record = (_: object, message?: string) => void lines.push(message ?? '');
  for (const [policy, warned] of [
    ['noeviction', true],
    ['allkeys-lru', true],
    ['volatile-lru', false],
    ['volatile-ttl', false],
  ] as const) {
    await operator.client.config('SET', 'maxmemory-policy', policy);
    lines.length = 0;
    await warnOfMemoryPolicy(operator.client, { info: record, warn: record });
    assert.equal(lines.length, warned ? 1 : 0, policy);
    assert.ok(lines.every((line) => line.includes('volatile-ttl')));
  }
});

test('the warning also comes if Redis is there only after the first attempt to connect', async (t) => {
  const server = await startRedis();
  t.after(() => server.stop());
  await server.stop();
  const { store, lines } = await openOperatorBuckets(t, { kind: 'single', url: server.url });
  await store.connection?.waitForFirstAttempt(PATIENT_MS);
  assert.ok(lines.includes('no connection to Redis, trying again'));
  await server.start();
  await waitFor('the warning', () => lines.some((line) => line.includes('volatile-ttl')));
});

test('B32: under volatile-ttl a flood of callers evicts no empty bucket when memory is full', async (t) => {
  const server = await startRedis({ args: ['--maxmemory', '6mb', '--maxmemory-policy', 'volatile-ttl'] });
  t.after(() => server.stop());
  const drained = policyOf({ capacity: 100, refillPerSecond: 0.001 });
  const fleet = await startFleet(t, server.url, 1, {
    policies: [drained],
    timeoutMs: PATIENT_MS,
    leases: false,
  });
  const { limiter, store } = fleet.workers[0] ?? assert.fail();
  assert.equal(allowed(await takeMany(limiter, 150, { caller: callerOf('victim'), policy: drained })), 100);
  const operator = await openOperator(server.url);
  t.after(() => operator.close());
  const evictedOf = async () => Number(/evicted_keys:(\d+)/.exec(await operator.client.info('stats'))?.[1]);
  for (let round = 0; (await evictedOf()) < 1_000; round++) {
    assert.ok(round < 1_000, 'memory fills up');
    const takes = Array.from({ length: 128 }, (_, i) => ({
      ...{ ...PLAIN_TAKE, key: bucketKey(hashBucketName(`flood-${round}-${i}`), 'default'), capacity: 100 },
      ...{ rateMicro: 1_000, versionUs: 1, need: 1, partial: false },
    }));
    const replies = await store.takeBatch(takes);
    assert.ok(replies.every((reply) => !(reply instanceof Error)));
  }
  const key = storeKeyPrefix('sluice') + bucketKey(callerOf('victim').bucketHash, 'default');
  assert.equal(await operator.client.exists(key), 1);
});
