import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { openOperator } from '../redis/connect.ts';
import { startFaultyWire } from '../redis/faulty-wire.ts';
import { type RedisServer, startRedis } from '../support/redis.ts';
import { waitFor } from '../support/wait.ts';
import { startChaos } from './redis-chaos-lab.ts';

const TIMEOUT = { timeout: 120_000 };

async function operate(server: RedisServer, ...words: [string, ...string[]]): Promise<unknown> {
  const operator = await openOperator(server.url);
  try {
    return await operator.client.call(...words);
  } finally {
    await operator.close();
  }
}

test(
  'B32: whole processes under load whose Redis is dead at the start, and dies in every other way',
  TIMEOUT,
  async (t: TestContext) => {
    const redis = await startRedis();
    t.after(() => redis.stop());
    await redis.stop();
    const chaos = await startChaos(t, redis.url);
    await t.test('dead at the start', () => chaos.prove({ from: 0, mend: () => redis.start() }));
    await t.test('SIGKILL', () =>
      chaos.prove({ breakIt: () => redis.signal('SIGKILL'), mend: () => redis.restart() }),
    );
    await t.test('SIGSTOP', () =>
      chaos.prove({ breakIt: () => redis.signal('SIGSTOP'), mend: () => redis.signal('SIGCONT') }),
    );
    await t.test('restarted empty', async () => {
      await chaos.prove({ breakIt: () => redis.restart() });
      const beats = async () => (await operate(redis, 'EXISTS', 'sluice:instances')) === 1;
      await waitFor('the next heartbeat', beats);
    });
    await t.test('out of memory', () =>
      chaos.prove({
        breakIt: () => operate(redis, 'CONFIG', 'SET', 'maxmemory', '1'),
        mend: () => operate(redis, 'CONFIG', 'SET', 'maxmemory', '0'),
      }),
    );
    await t.test('a read-only replica', () =>
      chaos.prove({
        breakIt: () => operate(redis, 'REPLICAOF', '127.0.0.1', '1'),
        mend: () => operate(redis, 'REPLICAOF', 'NO', 'ONE'),
      }),
    );
    await t.test('another password', () =>
      chaos.prove({
        breakIt: async () => {
          const operator = await openOperator(redis.url);
          await operator.client.config('SET', 'requirepass', 'another');
          await operator.client.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
          await operator.close();
        },
        mend: async () => {
          const operator = await openOperator(redis.url.replace('redis://', 'redis://:another@'));
          await operator.client.config('SET', 'requirepass', '');
          await operator.close();
        },
      }),
    );
    await chaos.judge();
  },
);

test(
  'B32: whole processes under load whose Redis is slow, is cut off in the middle of replies, and forgets its scripts',
  TIMEOUT,
  async (t: TestContext) => {
    const redis = await startRedis();
    t.after(() => redis.stop());
    const wire = await startFaultyWire(redis.port);
    t.after(() => wire.close());
    const chaos = await startChaos(t, wire.url);
    await chaos.storeDecides();
    await t.test('forgotten scripts, which nobody notices', async () => {
      const errors = await chaos.storeCalls('error');
      for (let flushed = 0; flushed < 20; flushed++) {
        await operate(redis, 'SCRIPT', 'FLUSH', 'SYNC');
        await chaos.load.atLeast(20);
      }
      await chaos.storeDecides();
      assert.equal(await chaos.storeCalls('error'), errors);
    });
    await t.test('200 ms for each reply', () =>
      chaos.prove({
        breakIt: () => {
          wire.delayMs = 200;
        },
        mend: () => {
          wire.delayMs = 0;
        },
      }),
    );
    await t.test('connections cut in the middle of replies', async () => {
      for (const [index, afterBytes] of [0, 1, 10, 40].entries()) {
        wire.cutNext([afterBytes]);
        await waitFor('the cut', () => wire.cutCount > index);
      }
      await chaos.back();
      await chaos.storeDecides();
    });
    await chaos.judge();
  },
);
