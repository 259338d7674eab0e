import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { TakeRequest } from '../../../src/contract/buckets.ts';
import { type BucketState, refillOf, takeFrom } from '../../../src/limit/bucket/bucket-state.ts';
import { PLAIN_TAKE } from '../../../src/limit/store/bucket-store.ts';
import { MemoryBucketStore } from '../../../src/limit/store/memory-bucket-store.ts';
import { operations } from '../bucket/bucket-operations.ts';
import { assertSameReply, expectedTakes } from '../bucket/model-run.ts';

const RUNS = 260;

function takeOf(key: string, fields: Partial<TakeRequest> = {}): TakeRequest {
  const limits = { capacity: 10, rateMicro: 1_000_000, versionUs: 1 };
  return { key, ...limits, need: 1, partial: true, ...PLAIN_TAKE, ...fields };
}

function makeStore(maxBuckets?: number) {
  const clock = { nowMs: 1_000, monotonicMs: () => clock.nowMs };
  return {
    clock,
    store: new MemoryBucketStore(clock, maxBuckets),
  };
}

test('the memory store has the arithmetic of the script: the BigInt model agrees in 10,000 random takes', (t) => {
  const seed = Date.now() & 0x7fffffff;
  t.diagnostic(`seed ${seed}`);
  let count = 0;
  const property = fc.property(operations, (list) => {
    let kept: BucketState | null = null;
    for (const take of expectedTakes(list, 'bucket')) {
      const { reply, state } = takeFrom(kept, take.request, take.nowUs);
      assertSameReply(reply, take);
      kept = state ?? kept;
      count++;
    }
  });
  fc.assert(property, { seed, numRuns: RUNS });
  assert.ok(count >= 10_000, `only ${count} takes`);
});

test('the memory store refills exactly where a plain product would exceed the exact integers', () => {
  const any = fc.tuple(
    fc.integer({ min: 0, max: 3_000_000_000_000 }),
    fc.integer({ min: 1, max: 1_000_000_000_000_000 }),
  );
  // Here one plain product in twenty would be wrong.
  const large = fc.tuple(
    fc.integer({ min: 100_000, max: 999_999 }),
    fc.integer({ min: 10_000_000_000_000, max: 1_000_000_000_000_000 }),
  );
  fc.assert(
    fc.property(fc.oneof(any, large), ([us, rateMicro]) => {
      const exact = (BigInt(us) * BigInt(rateMicro)) / 1_000_000n;
      if (exact < 2n ** 53n) assert.equal(BigInt(refillOf(us, rateMicro)), exact);
      else assert.ok(refillOf(us, rateMicro) >= 2 ** 53, 'more than any bucket holds');
    }),
    { numRuns: 1_000 },
  );
});

test('the memory store agrees with the model through its own map, expiry included', (t) => {
  const seed = Date.now() & 0x7fffffff;
  t.diagnostic(`seed ${seed}`);
  const property = fc.property(operations, (list) => {
    const { clock, store } = makeStore();
    // The clock only goes forwards. The model keeps full buckets that the store has forgotten; both must behave alike.
    const forwards = list.map((operation) => ({
      ...operation,
      stepUs: Math.abs(operation.stepUs),
      versionStep: 0,
      capacity: list[0]?.capacity ?? 1,
      rateMicro: list[0]?.rateMicro ?? 1,
    }));
    for (const take of expectedTakes(forwards, 'bucket', 0)) {
      clock.nowMs = (take.nowUs + 0.5) / 1000;
      assertSameReply(store.take(take.request), take);
    }
  });
  fc.assert(property, { seed, numRuns: 100 });
});

test('the memory store answers a batch in order, one bucket per key', async () => {
  const { store } = makeStore();
  const replies = await store.takeBatch([takeOf('a', { need: 8 }), takeOf('b'), takeOf('a', { need: 8 })]);
  assert.deepEqual(
    replies.map((reply) => reply.granted),
    [8, 1, 2],
  );
});

test('the memory store keeps a bounded number of buckets and drops the fullest', () => {
  const { clock, store } = makeStore(100);
  store.take(takeOf('drained', { capacity: 1_000, need: 1_000 }));
  for (let i = 0; i < 2_000; i++) {
    clock.nowMs += 0.01;
    store.take(takeOf(`flood-${i}`));
  }
  assert.equal(store.size, 100);
  assert.equal(store.take(takeOf('drained', { capacity: 1_000, need: 1_000 })).granted, 0);
});

test('the memory store forgets buckets that have had time to fill up', () => {
  const { clock, store } = makeStore();
  for (let i = 0; i < 1_000; i++) store.take(takeOf(`first-${i}`));
  clock.nowMs += 60_000;
  for (let i = 0; i < 1_000; i++) store.take(takeOf(`second-${i}`));
  assert.ok(store.size <= 1_002, `${store.size} buckets`);
});
