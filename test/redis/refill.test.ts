import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemClock } from '../../src/contract/clock.ts';
import { RedisConnection } from '../../src/infra/redis/redis.ts';
import { bucketKeysOf } from '../../src/limit/bucket/bucket-peek.ts';
import { PLAIN_TAKE, type RefillableStore } from '../../src/limit/store/bucket-store.ts';
import { MemoryBucketStore } from '../../src/limit/store/memory-bucket-store.ts';
import { bucketScripts, RedisBucketStore } from '../../src/limit/store/redis-bucket-store.ts';
import { startRedis } from '../support/redis.ts';
import { waitFor } from '../support/wait.ts';

const [acmeDay = '', acmeSecond = ''] = bucketKeysOf('acme', [{ name: 'day' }, { name: 'second' }]);
const [otherDay = ''] = bucketKeysOf('other', [{ name: 'day' }]);

async function take(store: RefillableStore, key: string): Promise<number> {
  const limits = { capacity: 5, rateMicro: 1, versionUs: 1 };
  const [reply] = await store.takeBatch([{ ...PLAIN_TAKE, ...limits, key, need: 9, partial: true }]);
  assert.ok(reply !== undefined && !(reply instanceof Error), String(reply));
  return reply.granted;
}

async function proveRefill(store: RefillableStore): Promise<void> {
  for (const key of [acmeDay, acmeSecond, otherDay]) {
    assert.equal(await take(store, key), 5);
    assert.equal(await take(store, key), 0);
  }
  await store.refill([acmeDay, acmeSecond]);
  assert.deepEqual([await take(store, acmeDay), await take(store, acmeSecond)], [5, 5]);
  assert.equal(await take(store, otherDay), 0);
  await store.refill([]);
}

test('a refill fills exactly the named buckets, in memory and in Redis', async (t) => {
  await proveRefill(new MemoryBucketStore(systemClock));
  const redis = await startRedis();
  t.after(() => redis.stop());
  const connection = new RedisConnection({
    servers: { kind: 'single', url: redis.url },
    connectionName: 'test',
    scripts: bucketScripts(),
    logger: { info: () => undefined, warn: () => undefined },
  });
  t.after(() => connection.close());
  const store = new RedisBucketStore({ connection, prefix: 'p', timeoutMs: 100 });
  await waitFor('the connection', () => store.available);
  await proveRefill(store);
  redis.signal('SIGSTOP');
  await assert.rejects(store.refill([acmeDay]), { code: 'store_timeout' });
  redis.signal('SIGCONT');
  await redis.stop();
  await waitFor('the loss of Redis', () => !store.available);
  await assert.rejects(store.refill([acmeDay]), { code: 'store_unavailable' });
});
