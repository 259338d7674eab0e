import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { DirectoryChange } from '../../../src/clients/directory-feed.ts';
import { RecordPacker } from '../../../src/clients/record-packer.ts';
import { RecordTable } from '../../../src/clients/record-table.ts';
import type { TakeReply } from '../../../src/contract/buckets.ts';
import { LbError } from '../../../src/contract/errors.ts';
import { bucketKeysOf } from '../../../src/limit/bucket/bucket-peek.ts';
import { type BucketStore, PLAIN_TAKE } from '../../../src/limit/store/bucket-store.ts';
import { MemoryBucketStore } from '../../../src/limit/store/memory-bucket-store.ts';
import { LimitChanges, MAX_PENDING_CLIENTS } from '../../../src/primary/clients/limit-changes.ts';
import { policyOf, ScriptedStore } from '../../limit/limiter/limiter-lab.ts';
import { waitFor } from '../../support/wait.ts';

const POLICIES = [policyOf({ capacity: 10, refillPerSecond: 1 }), policyOf({ name: 'day', capacity: 50 })];
const POLICY_VERSION_US = 1_000;
const packer = new RecordPacker();

/** A client with own limits, packed; without: the tombstone of one. */
function packed(clientId: string, versionUs: number, refillPerSecond?: number): Buffer {
  if (refillPerSecond === undefined) return Buffer.from(packer.tombstone(clientId, versionUs));
  const limits = { default: { capacity: 10, refillPerSecond } };
  return Buffer.from(packer.client({ clientId, mode: 'limit', limits, versionUs }));
}

function makeChanges(store: BucketStore) {
  let tell: (change: DirectoryChange) => void = () => assert.fail('nobody listens');
  const table = new RecordTable();
  const warnings: string[] = [];
  const changes = new LimitChanges({
    feed: {
      table,
      onChange: (listener) => {
        tell = listener;
      },
    },
    store,
    current: () => ({
      policyVersionUs: POLICY_VERSION_US,
      settings: { rateLimit: { policies: POLICIES } },
    }),
    logger: { warn: (_: unknown, text: string) => warnings.push(text), error: assert.fail } as never,
  });
  return {
    changes,
    warnings,
    tell: (...records: Buffer[]) => {
      for (const record of records) table.put(record, 0);
      tell({ records: Buffer.concat(records), shards: [] });
    },
    told: () => waitFor('every change to be told', () => changes.pendingCount === 0),
  };
}

/** Buckets in memory on a clock that the test sets, and a caller whose limits are those of version 1. */
function makeBucket() {
  const clock = { nowMs: 0, monotonicMs: () => clock.nowMs };
  const memory = new MemoryBucketStore({ clock });
  const [key = ''] = bucketKeysOf('192.0.2.1', POLICIES);
  const take = (need: number, refillPerSecond: number, versionUs = POLICY_VERSION_US): TakeReply =>
    memory.take({
      ...PLAIN_TAKE,
      key,
      capacity: 10,
      rateMicro: refillPerSecond * 1e6,
      versionUs,
      need,
      partial: true,
    });
  return { clock, memory, take };
}

describe('new limits of a client', () => {
  it('count from the change on where they are higher, although nobody asks', async () => {
    const { clock, memory, take } = makeBucket();
    const { tell, told } = makeChanges(memory);
    assert.equal(take(10, 1).granted, 10);
    tell(packed('192.0.2.1', 2_000, 1_000));
    await told();
    clock.nowMs = 8;
    assert.equal(take(10, 1_000, 2_000).granted, 8);
  });

  it('count from the change on where they are lower: nothing more is earned by the old ones', async () => {
    const { clock, memory, take } = makeBucket();
    const { tell, told } = makeChanges(memory);
    take(10, 1);
    tell(packed('192.0.2.1', 2_000, 0.001));
    await told();
    clock.nowMs = 9_000;
    assert.equal(take(10, 0.001, 2_000).granted, 0);
  });

  it('give way to those of the policy from the deletion of the client on', async () => {
    const { clock, memory, take } = makeBucket();
    const { tell, told } = makeChanges(memory);
    take(10, 1_000, 2_000);
    tell(packed('192.0.2.1', 3_000));
    await told();
    clock.nowMs = 2_000;
    assert.equal(take(10, 1, 3_000).granted, 2);
  });

  it('make no bucket where there is none, and are told once, in calls of bounded size', async () => {
    const memory = new MemoryBucketStore({ clock: { monotonicMs: () => 0 } });
    const store = new ScriptedStore((takes) => memory.takeBatch(takes));
    const { tell, told } = makeChanges(store);
    tell(...Array.from({ length: 100 }, (_, i) => packed(`client-${i}`, 2_000, 1)));
    await told();
    assert.deepEqual([memory.size, store.batches.flat().length], [0, 100 * POLICIES.length]);
    assert.ok(store.batches.every(({ length }) => length <= 128));
  });

  it('go out in a call for each client where buckets have several servers, one of which may be silent', async () => {
    const silent = new LbError('store_timeout', 'frozen');
    const [ofA = ''] = bucketKeysOf('a', POLICIES);
    let isFrozen = true;
    const store = Object.assign(
      new ScriptedStore((takes) =>
        Promise.resolve(isFrozen && takes[0]?.key === ofA ? [silent, silent] : []),
      ),
      { sharded: true },
    );
    const { changes, tell, told } = makeChanges(store);
    tell(packed('a', 2_000, 1), ...Array.from({ length: 99 }, (_, i) => packed(`b-${i}`, 2_000, 1)));
    await waitFor('all others to be told', () => changes.pendingCount === 1);
    assert.ok(store.batches.every((batch) => batch.length === POLICIES.length));
    isFrozen = false;
    await told();
    const keys = store.batches.flat().map(({ key }) => key);
    assert.deepEqual(keys.slice(-2), bucketKeysOf('a', POLICIES));
  });

  it('wait for a store that is away or silent, and follow the newest word', async () => {
    const { clock, memory, take } = makeBucket();
    const silent = new LbError('store_timeout', 'frozen');
    const store = new ScriptedStore((takes) => Promise.resolve(takes.map(() => silent)));
    store.available = false;
    const { changes, tell, told } = makeChanges(store);
    take(10, 1);
    tell(packed('192.0.2.1', 2_000, 5));
    store.available = true;
    await waitFor('a call without an answer', () => store.batches.length > 0);
    assert.equal(changes.pendingCount, 1);
    tell(packed('192.0.2.1', 3_000, 1_000));
    store.answer = (takes) => memory.takeBatch(takes);
    await told();
    clock.nowMs = 8;
    assert.equal(take(10, 1, 1).granted, 8);
  });

  it('are forgotten beyond a number, with one warning, and when it is closed', () => {
    const store = new ScriptedStore(null);
    store.available = false;
    const { changes, tell, warnings } = makeChanges(store);
    for (let i = 0; i <= MAX_PENDING_CLIENTS; i++) tell(packed(`client-${i}`, 2_000, 1));
    tell(packed('client-0', 3_000, 1), packed('one-more', 2_000, 1));
    assert.deepEqual([changes.pendingCount, warnings.length], [MAX_PENDING_CLIENTS, 1]);
    changes.close();
    assert.equal(changes.pendingCount, 0);
    tell(packed('a', 2_000, 1));
    assert.equal(changes.pendingCount, 0);
  });
});
