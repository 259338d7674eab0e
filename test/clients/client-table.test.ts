import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { hashKey, MAX_KEY_BYTES, writeKey } from '../../src/clients/client-key.ts';
import { ClientShard } from '../../src/clients/client-shard.ts';
import { ClientTable, SHARDS } from '../../src/clients/client-table.ts';
import { ClientPacker, lengthAt, unpackClient, versionAt } from '../../src/clients/packed-client.ts';
import { canonicalRange } from '../../src/contract/addresses.ts';
import type { ClientRecord } from '../../src/contract/clients.ts';

const packer = new ClientPacker();
const key = Buffer.alloc(MAX_KEY_BYTES);

/** Longer with every policy. */
function client(clientId: string, versionUs: number, policies = 0): ClientRecord {
  const names = Array.from({ length: policies }, (_, i) => `p${i}`);
  const own = { capacity: versionUs, refillPerSecond: 1 };
  return { clientId, mode: 'limit', limits: Object.fromEntries(names.map((name) => [name, own])), versionUs };
}

/** policies null: a tombstone. */
type Step = { id: string; versionUs: number; policies: number | null };

function pack({ id, versionUs, policies }: Step): Buffer {
  return policies === null ? packer.tombstone(id, versionUs) : packer.client(client(id, versionUs, policies));
}

const step: fc.Arbitrary<Step> = fc.record({
  id: fc.oneof(
    fc.nat(40).map((n) => `10.0.${n % 2}.${n}`),
    fc.nat(20).map((n) => `name-${n}`),
    fc.nat(32).map((bits) => `10.0.0.0/${bits}`),
    fc.nat(64).map((bits) => `2001:db8::/${bits}`),
  ),
  versionUs: fc.integer({ min: 1, max: 20 }),
  policies: fc.option(fc.nat(3)),
});

test('a table knows of every id what a map of the newest versions knows', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
      const table = new ClientTable();
      const newest = new Map<string, Step>();
      for (const each of steps) {
        const id = canonicalRange(each.id) ?? each.id;
        const isNews = each.versionUs > (newest.get(id)?.versionUs ?? 0);
        assert.equal(table.merge(pack(each), 0) !== -1, isNews);
        if (isNews) newest.set(id, each);
        assert.equal(table.versionOf(pack(each), 0), newest.get(id)?.versionUs);
      }
      const living = [...newest.values()].filter(({ policies }) => policies !== null);
      assert.equal(table.clientCount, living.length);
      for (const [id, { versionUs, policies }] of newest) {
        const expected = policies === null ? null : client(id, versionUs, policies);
        assert.deepEqual(table.get(id), { client: expected, versionUs }, id);
      }
      assert.equal(table.get('nobody'), null);
    }),
    { numRuns: 200 },
  );
});

test('a shard finds every record through growth, longer and shorter versions, and what was forgotten', () => {
  const shard = new ClientShard();
  const put = (id: string, versionUs: number, policies: number | null): void => {
    const record = pack({ id, versionUs, policies });
    const length = writeKey(id, key);
    const hash = hashKey(key, length);
    const slot = shard.slotOf(key, length, hash);
    if (slot === -1) shard.add(record, 0, hash);
    else shard.replace(slot, record, 0);
  };
  const find = (id: string): ClientRecord | null | undefined => {
    const length = writeKey(id, key);
    const slot = shard.slotOf(key, length, hashKey(key, length));
    return slot === -1 ? undefined : unpackClient(shard.bytes, shard.placeOf(slot));
  };
  const ids = Array.from({ length: 2_000 }, (_, i) =>
    i % 3 === 0 ? `name-${i}` : `10.0.${i >> 8}.${i & 255}`,
  );
  for (const id of ids) put(id, 1, 1);
  let bytes = shard.bytes.length;
  // Replaced ones are squeezed out: a hundred rounds need no more room than a few.
  for (let round = 2; round < 100; round++) {
    for (let i = round; i < ids.length; i += 10) put(ids[i] ?? '', round, round % 4);
    if (round === 20) bytes = shard.bytes.length;
  }
  assert.ok(shard.bytes.length < 1.5 * bytes);
  for (const [i, id] of ids.entries()) if (i % 4 === 0) put(id, 100 + (i % 8), null);
  assert.deepEqual([shard.count, shard.tombstoneCount], [2_000, 500]);
  const { layout } = shard;
  shard.forget(104);
  assert.deepEqual([shard.count, shard.tombstoneCount], [1_750, 250]);
  assert.notEqual(shard.layout, layout);
  shard.forget(104);
  assert.equal(shard.layout, layout + 1, 'nothing to forget is nothing to do');
  for (const [i, id] of ids.entries()) {
    const round = lastRoundOf(i);
    const expected =
      i % 8 === 0 ? undefined : i % 4 === 0 ? null : client(id, round, round === 1 ? 1 : round % 4);
    assert.deepEqual(find(id), expected, id);
  }
});

/** The last round of 2…99 that touched the index, else 1. */
function lastRoundOf(index: number): number {
  for (let round = Math.min(99, index); round >= 2; round--) if ((index - round) % 10 === 0) return round;
  return 1;
}

test('the longest range that holds an address is found, deleted ones are not', () => {
  const table = new ClientTable();
  const put = (id: string, versionUs = 1) => table.merge(packer.client(client(id, versionUs)), 0);
  for (const id of ['10.0.0.0/8', '10.1.0.0/16', '0.0.0.0/0', '2001:db8::/32', '2001:db8:0:1::/64']) put(id);
  const found = (address: string) => table.longestRange(address)?.clientId;
  assert.equal(found('10.1.2.3'), '10.1.0.0/16');
  assert.equal(found('10.2.2.3'), '10.0.0.0/8');
  assert.equal(found('2001:db8:0:1::9'), '2001:db8:0:1::/64');
  assert.equal(found('2001:db9::1'), undefined);
  assert.equal(found('unix:'), undefined);
  table.merge(packer.tombstone('10.1.0.0/16', 2), 0);
  assert.equal(found('10.1.2.3'), '10.0.0.0/8');
  put('10.1.0.0/16', 3);
  assert.equal(found('10.1.2.3'), '10.1.0.0/16');
});

test('who reads shard by shard into small buffers, while records come and go, misses none that was there all the time', () => {
  const table = new ClientTable();
  // All in a few shards, so that reading one takes several buffers.
  const ids = Array.from({ length: 200_000 }, (_, i) => `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`).filter(
    (id) => shardOf(id) < 4,
  );
  const [there, later] = [ids.filter((_, i) => i % 2 === 0), ids.filter((_, i) => i % 2 === 1)];
  for (const id of there) table.merge(packer.client(client(id, 1)), 0);
  const out = Buffer.alloc(100);
  const seen = new Map<string, number>();
  let turn = 0;
  for (let number = 0; number < SHARDS; number++) {
    const cursor = { slot: 0, layout: -1 };
    for (let done = false; !done; turn++) {
      const read = table.read(number, cursor, out, 0);
      done = read.done;
      for (let at = 0; at < read.end; at += lengthAt(out, at)) {
        seen.set(unpackClient(out, at)?.clientId ?? '', versionAt(out, at));
      }
      const id = later[turn];
      if (number < 4 && id !== undefined) table.merge(packer.client(client(id, 1, 2)), 0);
    }
  }
  assert.ok(turn > SHARDS + 50, 'a shard took several buffers');
  for (const id of there) assert.equal(seen.get(id), 1, id);
});

function shardOf(id: string): number {
  return hashKey(key, writeKey(id, key)) >>> 22;
}

test('old tombstones are forgotten shard by shard, clients and young ones stay', () => {
  const table = new ClientTable();
  for (let i = 0; i < 5_000; i++) table.merge(packer.tombstone(`t-${i}`, 1 + (i % 2)), 0);
  table.merge(packer.client(client('old but alive', 1)), 0);
  for (let i = 0; i < SHARDS; i++) table.forgetSome(2);
  const left = Array.from({ length: 5_000 }, (_, i) => table.get(`t-${i}`)).filter((entry) => entry !== null);
  assert.equal(left.length, 2_500);
  assert.ok(left.every(({ versionUs }) => versionUs === 2));
  assert.equal(table.get('old but alive')?.client?.clientId, 'old but alive');
});
