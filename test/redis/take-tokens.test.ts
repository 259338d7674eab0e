import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import type { TakeReply, TakeRequest } from '../../src/contract/buckets.ts';
import { loadLuaScript } from '../../src/infra/redis/lua-scripts.ts';
import { LEASE_US, PLAIN_TAKE } from '../../src/limit/store/bucket-store.ts';
import { packTakes } from '../../src/limit/store/take-codec.ts';
import { operations } from '../limit/bucket/bucket-operations.ts';
import { assertSameReply, expectedTakes } from '../limit/bucket/model-run.ts';
import { type RedisServer, startRedis } from '../support/redis.ts';
import { waitFor } from '../support/wait.ts';
import { replyOf, ScriptLab, withTestClock } from './script-lab.ts';

const RUNS = 260;
const START_US = 1_790_000_000_000_000;
const SEC_US = 1_000_000;
const MAX_TTL_MS = 90 * 24 * 3600 * 1000;

let server: RedisServer;
let lab: ScriptLab;
let keys = 0;
const freshKey = (): string => `bucket-${++keys}`;

before(async () => {
  server = await startRedis();
  lab = new ScriptLab(server.url);
});
after(async () => {
  lab.close();
  await server.stop();
});

/** A separate bucket, with a clock that starts at 0 µs. */
const makeBucket = () => {
  const key = freshKey();
  return async (atUs: number, fields: Partial<TakeRequest> = {}): Promise<TakeReply> => {
    const [reply] = await lab.takeAll([{ request: takeOf(key, fields), nowUs: START_US + atUs }]);
    assert.ok(reply);
    return reply;
  };
};

test('the script take-tokens does what the BigInt model does in 10,000 random takes', {
  timeout: 120_000,
}, async (t) => {
  const seed = Date.now() & 0x7fffffff;
  t.diagnostic(`seed ${seed}`);
  let count = 0;
  const property = fc.asyncProperty(operations, async (list) => {
    const expected = expectedTakes(list, freshKey());
    const replies = await lab.takeAll(expected);
    for (const [index, take] of expected.entries()) {
      const reply = replies[index];
      assert.ok(reply);
      assertSameReply(reply, take);
    }
    count += expected.length;
  });
  await fc.assert(property, { seed, numRuns: RUNS });
  assert.ok(count >= 10_000, `only ${count} takes`);
});

test('the script take-tokens takes from many buckets in one call as it would from each alone', async (t) => {
  const seed = Date.now() & 0x7fffffff;
  t.diagnostic(`seed ${seed}`);
  const property = fc.asyncProperty(fc.array(operations, { minLength: 2, maxLength: 20 }), async (lists) => {
    const runs = lists.map((list) =>
      expectedTakes(
        list.slice(0, 10).map((operation) => ({ ...operation, stepUs: 10_000 })),
        freshKey(),
      ),
    );
    for (let step = 0; step < 10; step++) {
      const takes = runs.flatMap((run) => run[step] ?? []);
      const replies = await lab.takeTogether(
        takes.map(({ request }) => request),
        takes[0]?.nowUs ?? 0,
      );
      for (const [index, reply] of replies.entries()) assertSameReply(reply, takes[index] ?? assert.fail());
    }
  });
  await fc.assert(property, { seed, numRuns: 20 });
});

test('the script take-tokens reads the server’s clock; only the edited script takes the time as an argument', async () => {
  const { lua, numberOfKeys } = loadLuaScript('take-tokens-n.lua');
  assert.equal(numberOfKeys, undefined);
  assert.notEqual(withTestClock(lua), lua);
  assert.doesNotMatch(lua, /ARGV\[[3-9]/);
  const key = freshKey();
  const drain = takeOf(key, { need: 10, rateMicro: 1 });
  const drainAt = (atUs: number) =>
    lab.redis.takeTokensBuffer(1, key, LEASE_US, packTakes([drain]), START_US + atUs);
  await drainAt(0);
  const [reply] = await drainAt(1_000_000_000_000);
  assert.equal(replyOf(reply).granted, 0, 'a third argument must not move the clock');
});

test('the script take-tokens expires a key only after its bucket is full, so that expiry adds no tokens', async (t) => {
  const seed = Date.now() & 0x7fffffff;
  t.diagnostic(`seed ${seed}`);
  const property = fc.asyncProperty(operations, async (list) => {
    const [take] = expectedTakes(list.slice(0, 1), freshKey());
    assert.ok(take);
    await lab.takeAll([take]);
    const ttlMs = await lab.redis.pttl(take.request.key);
    const { capacity, rateMicro, levelMicro } = take.reply;
    const missing = capacity * SEC_US - levelMicro;
    if (missing === 0) return assert.ok(ttlMs === -2 || ttlMs > 0);
    const fullMs = (missing / rateMicro) * 1000;
    assert.ok(
      ttlMs >= Math.min(fullMs, MAX_TTL_MS - 1000),
      `${ttlMs} ms for ${JSON.stringify(take.request)}`,
    );
  });
  await fc.assert(property, { seed, numRuns: 100 });
});

test('the script take-tokens expires a bucket when it is full, and not before, by the server’s clock', async () => {
  const key = freshKey();
  const packed = packTakes([takeOf(key, { capacity: 20, rateMicro: 20_000_000, need: 20 })]);
  const drain = async (): Promise<number> => {
    const [reply] = await lab.redis.takeTokensBuffer(1, key, LEASE_US, packed);
    return replyOf(reply).granted;
  };
  const startMs = performance.now();
  let admitted = await drain();
  assert.equal(admitted, 20);
  await waitFor('the bucket to have been away for good', async () => {
    admitted += await drain();
    const idealTokens = 20 + (20 * (performance.now() - startMs)) / 1000;
    assert.ok(admitted <= idealTokens + 1, `${admitted} of ${idealTokens}`);
    return admitted >= 60;
  });
  await waitFor('the full bucket’s key to expire', async () => (await lab.redis.exists(key)) === 0);
});

test('the script take-tokens refills exactly where a plain product would exceed the exact integers', async () => {
  const property = fc.asyncProperty(
    fc.integer({ min: 100_000, max: 999_999 }),
    fc.integer({ min: 10_000_000_000_000, max: 1_000_000_000_000_000 }),
    async (us, rateMicro) => {
      const take = makeBucket();
      const limits = { capacity: 1_000_000_000, rateMicro };
      await take(0, { ...limits, need: 1_000_000_000 });
      const { levelMicro } = await take(us, { ...limits, need: 0 });
      assert.equal(BigInt(levelMicro), (BigInt(us) * BigInt(rateMicro)) / 1_000_000n);
    },
  );
  await fc.assert(property, { numRuns: 200 });
});

test('the script take-tokens grants what is there when partial, all or nothing otherwise', async () => {
  const take = makeBucket();
  assert.equal((await take(0, { need: 8, partial: false })).granted, 8);
  assert.equal((await take(0, { need: 3, partial: false })).granted, 0);
  const partial = await take(0, { need: 3, partial: true });
  assert.deepEqual([partial.granted, partial.levelMicro], [2, 0]);
});

test('the script take-tokens adopts the newest limits, cuts the level to a smaller capacity and adds nothing for a larger one', async () => {
  const take = makeBucket();
  await take(0, { need: 2 });
  const shrunk = await take(0, { capacity: 5, versionUs: 2 });
  assert.deepEqual([shrunk.levelMicro, shrunk.capacity], [4_000_000, 5]);
  const grown = await take(0, { capacity: 100, rateMicro: 2_000_000, versionUs: 3 });
  assert.deepEqual([grown.levelMicro, grown.capacity, grown.rateMicro], [3_000_000, 100, 2_000_000]);
  const stale = await take(SEC_US, { capacity: 5, versionUs: 2 });
  assert.deepEqual([stale.levelMicro, stale.capacity, stale.versionUs], [4_000_000, 100, 3]);
});

test('the script take-tokens refills at the lower of both rates until the take with the new limits', async () => {
  const lowered = makeBucket();
  await lowered(0, { need: 10 });
  const slow = await lowered(5 * SEC_US, { rateMicro: 1, versionUs: 2 });
  assert.deepEqual([slow.granted, slow.levelMicro], [0, 5]);
  const raised = makeBucket();
  await raised(0, { need: 10 });
  const quick = await raised(5 * SEC_US, { rateMicro: 9_000_000, versionUs: 2 });
  assert.deepEqual([quick.granted, quick.levelMicro], [1, 4_000_000]);
  const later = await raised(5.5 * SEC_US, { rateMicro: 9_000_000, versionUs: 2 });
  assert.equal(later.levelMicro, 7_500_000);
});

test('the script take-tokens resolves two limits of one version the same way in any order', async () => {
  for (const order of [
    [0, 1, 2],
    [2, 1, 0],
    [1, 2, 0],
  ]) {
    const take = makeBucket();
    const limits = [
      { capacity: 10, rateMicro: 1_000_000 },
      { capacity: 5, rateMicro: 9_000_000 },
      { capacity: 5, rateMicro: 2_000_000 },
    ];
    let last: TakeReply | null = null;
    for (const index of order) last = await take(0, { ...limits[index] });
    assert.deepEqual([last?.capacity, last?.rateMicro], [5, 2_000_000], String(order));
  }
});

test('the script take-tokens survives a clock that steps back and does not refill the same time twice', async () => {
  const take = makeBucket();
  await take(0, { need: 10 });
  assert.equal((await take(3 * SEC_US, { need: 10 })).granted, 3);
  assert.equal((await take(2.5 * SEC_US, { need: 10 })).granted, 0, 'half a second back: waits');
  assert.equal((await take(3.5 * SEC_US, { need: 10 })).granted, 0);
  assert.equal((await take(-3600 * SEC_US, { need: 10 })).granted, 0, 'an hour back: believed');
  assert.equal((await take(-3598 * SEC_US, { need: 10 })).granted, 2);
});

test('the script take-tokens writes nothing for a refused take', async () => {
  const take = makeBucket();
  await take(0, { need: 10 });
  await lab.redis.config('RESETSTAT');
  for (let i = 1; i <= 20; i++) assert.equal((await take(i * 1000)).granted, 0);
  assert.doesNotMatch(await lab.redis.info('commandstats'), /cmdstat_set:/);
  // 3 µs of each poll would round to 0 tokens; the time must not have moved.
  assert.equal((await take(SEC_US)).granted, 1);
});

test('the script take-tokens treats a value of another length as a missing bucket', async () => {
  const key = freshKey();
  await lab.redis.set(key, 'not a bucket');
  const [reply] = await lab.takeTogether([takeOf(key, { need: 10 })], START_US);
  assert.equal(reply?.granted, 10);
  assert.equal(await lab.redis.strlen(key), 64);
});

test('the script take-tokens does not touch a key of another type, and serves the other buckets of the call', async () => {
  const [sound, broken] = [freshKey(), freshKey()];
  await lab.redis.rpush(broken, 'x');
  await assert.rejects(lab.takeTogether([takeOf(sound), takeOf(broken)], START_US), {
    code: 'bucket_unreadable',
  });
  assert.equal(await lab.redis.type(broken), 'list');
  const [reply] = await lab.takeTogether([takeOf(sound)], START_US);
  assert.equal(reply?.levelMicro, 8_000_000, 'two takes of one token each');
});

test('the script take-tokens accepts returned tokens in their epoch and the next, and never above the capacity minus leases', async () => {
  const take = makeBucket();
  const { epoch } = await take(0, { need: 5 });
  const back = { need: 0, refundEpoch: epoch, rateMicro: 1 };
  assert.equal((await take(0, { ...back, refund: 3, versionUs: 2 })).levelMicro, 8_000_000);
  assert.equal((await take(LEASE_US, { ...back, refund: 1, versionUs: 2 })).levelMicro, 9_000_000);
  assert.equal((await take(LEASE_US, { ...back, refund: 9, versionUs: 2 })).levelMicro, 10_000_000);
  await take(LEASE_US, { need: 5, versionUs: 2 });
  assert.ok((await take(2 * LEASE_US, { ...back, refund: 1, versionUs: 2 })).levelMicro < 6_000_000);

  const lending = makeBucket();
  const large = { capacity: 100, rateMicro: 1 };
  const lent = await lending(0, { ...large, need: 10, ahead: 20 });
  assert.deepEqual([lent.ahead, lent.levelMicro], [20, 70_000_000]);
  const refund = { ...large, need: 0, refund: 15, refundEpoch: lent.epoch };
  assert.equal((await lending(LEASE_US, refund)).levelMicro, 80_000_000, 'the rest is on lease');
  const ret = { ...large, need: 0, ret: 20, retEpoch: lent.epoch };
  assert.equal((await lending(LEASE_US, ret)).levelMicro, 100_000_000);
});

test('the script take-tokens stops accounting for lease tokens once they are spent', async () => {
  const take = makeBucket();
  const limits = { capacity: 100, rateMicro: 1_000_000_000 };
  const { ahead, epoch } = await take(0, { ...limits, need: 0, ahead: 20 });
  assert.equal(ahead, 20);
  const full = await take(30_000, { ...limits, need: 0 });
  assert.equal(full.levelMicro, 80_000_000, 'the rest is out');
  await take(30_000, { ...limits, need: 0, spent: 15, retEpoch: epoch });
  const refilled = await take(31_000, { ...limits, need: 0, ret: 5, retEpoch: epoch });
  assert.equal(refilled.levelMicro, 86_000_000, 'a millisecond of refill, and what came back');
});

function takeOf(key: string, fields: Partial<TakeRequest> = {}): TakeRequest {
  const limits = { capacity: 10, rateMicro: 1_000_000, versionUs: 1 };
  return { key, ...limits, need: 1, partial: true, ...PLAIN_TAKE, ...fields };
}
