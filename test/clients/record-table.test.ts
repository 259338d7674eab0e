import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { hashId, MAX_ID_BYTES, writeId } from '../../src/clients/packed-id.ts';
import {
  isTombstoneAt,
  lengthAt,
  RecordPacker,
  unpackClient,
  versionAt,
} from '../../src/clients/packed-record.ts';
import { RecordShard } from '../../src/clients/record-shard.ts';
import { RecordTable, SHARDS } from '../../src/clients/record-table.ts';
import { canonicalRange } from '../../src/contract/addresses.ts';
import type { ClientRecord } from '../../src/contract/clients.ts';
import { clientCountOf, keyCountOf } from './counts.ts';

const packer = new RecordPacker();
const packedId = Buffer.alloc(MAX_ID_BYTES);

/** Each policy makes the record longer. */
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

test('a table holds for every id the record that was put last', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
      const table = new RecordTable();
      const last = new Map<string, Step>();
      for (const each of steps) {
        const id = canonicalRange(each.id) ?? each.id;
        assert.equal(table.has(pack(each), 0), last.has(id));
        const before = last.get(id);
        const isNews = before === undefined || !Buffer.from(pack({ ...before, id })).equals(pack(each));
        assert.equal(table.put(pack(each), 0) !== -1, isNews);
        last.set(id, each);
      }
      const living = [...last.values()].filter(({ policies }) => policies !== null);
      assert.equal(clientCountOf(table), living.length);
      for (const [id, { versionUs, policies }] of last) {
        const expected = policies === null ? null : client(id, versionUs, policies);
        assert.deepEqual(table.get(id), { client: expected, versionUs }, id);
      }
      assert.equal(table.get('nobody'), null);
    }),
    { numRuns: 200 },
  );
});

function countsOf(shard: RecordShard): { all: number; tombstones: number } {
  const places = Array.from({ length: shard.slotCount }, (_, slot) => shard.placeOf(slot));
  const used = places.filter((place) => place !== -1);
  return { all: used.length, tombstones: used.filter((place) => isTombstoneAt(shard.bytes, place)).length };
}

test('a shard finds every record after growth, replacement by longer and shorter ones, and removals', () => {
  const shard = new RecordShard();
  const put = (id: string, versionUs: number, policies: number | null): void => {
    const record = pack({ id, versionUs, policies });
    const length = writeId(id, packedId);
    const hash = hashId(packedId, length);
    const slot = shard.slotOf(packedId, length, hash);
    if (slot === -1) shard.add(record, 0, hash, 0);
    else shard.replace(slot, record, 0);
  };
  const find = (id: string): ClientRecord | null | undefined => {
    const length = writeId(id, packedId);
    const slot = shard.slotOf(packedId, length, hashId(packedId, length));
    return slot === -1 ? undefined : unpackClient(shard.bytes, shard.placeOf(slot));
  };
  const ids = Array.from({ length: 2_000 }, (_, i) =>
    i % 3 === 0 ? `name-${i}` : `10.0.${i >> 8}.${i & 255}`,
  );
  for (const id of ids) put(id, 1, 1);
  let bytes = shard.bytes.length;
  // Replaced records are compacted: a hundred rounds take no more memory than a few.
  for (let round = 2; round < 100; round++) {
    for (let i = round; i < ids.length; i += 10) put(ids[i] ?? '', round, round % 4);
    if (round === 20) bytes = shard.bytes.length;
  }
  assert.ok(shard.bytes.length < 1.5 * bytes);
  for (const [i, id] of ids.entries()) if (i % 4 === 0) put(id, 100 + (i % 8), null);
  assert.deepEqual(countsOf(shard), { all: 2_000, tombstones: 500 });
  assert.equal(shard.slotCount, 4_096, 'it has counted them right');
  const { layout } = shard;
  shard.forget(104);
  assert.deepEqual(countsOf(shard), { all: 1_750, tombstones: 250 });
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

/** The last round in 2…99 that changed the index; 1 if none did. */
function lastRoundOf(index: number): number {
  for (let round = Math.min(99, index); round >= 2; round--) if ((index - round) % 10 === 0) return round;
  return 1;
}

test('the longest range that holds an address is found, deleted ones are not', () => {
  const table = new RecordTable();
  const put = (id: string, versionUs = 1) => table.put(packer.client(client(id, versionUs)), 0);
  for (const id of ['10.0.0.0/8', '10.1.0.0/16', '0.0.0.0/0', '2001:db8::/32', '2001:db8:0:1::/64']) put(id);
  const found = (address: string) => table.longestRange(address)?.clientId;
  assert.equal(found('10.1.2.3'), '10.1.0.0/16');
  assert.equal(found('10.2.2.3'), '10.0.0.0/8');
  assert.equal(found('2001:db8:0:1::9'), '2001:db8:0:1::/64');
  assert.equal(found('2001:db9::1'), undefined);
  assert.equal(found('unix:'), undefined);
  table.put(packer.tombstone('10.1.0.0/16', 2), 0);
  assert.equal(found('10.1.2.3'), '10.0.0.0/8');
  put('10.1.0.0/16', 3);
  assert.equal(found('10.1.2.3'), '10.1.0.0/16');
});

test('reading shard by shard into small buffers, while records change, misses no record that was there all the time', () => {
  const table = new RecordTable();
  // All in a few shards, so that reading one takes several buffers.
  const ids = Array.from({ length: 200_000 }, (_, i) => `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`).filter(
    (id) => shardOf(id) < 4,
  );
  const [there, later] = [ids.filter((_, i) => i % 2 === 0), ids.filter((_, i) => i % 2 === 1)];
  for (const id of there) table.put(packer.client(client(id, 1)), 0);
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
      if (number < 4 && id !== undefined) table.put(packer.client(client(id, 1, 2)), 0);
    }
  }
  assert.ok(turn > SHARDS + 50, 'a shard took several buffers');
  for (const id of there) assert.equal(seen.get(id), 1, id);
});

function shardOf(id: string): number {
  return hashId(packedId, writeId(id, packedId)) >>> 22;
}

test('API keys are found by their digests, are not clients, and are removed like clients', () => {
  const table = new RecordTable();
  const digestOf = (n: number) => Buffer.alloc(32, n);
  for (let n = 0; n < 100; n++) {
    table.put(packer.apiKey({ digest: digestOf(n), clientId: `client-${n % 7}`, secretId: 's' }), 0);
  }
  assert.deepEqual([keyCountOf(table), clientCountOf(table)], [100, 0]);
  table.put(packer.apiKey({ digest: digestOf(1), clientId: 'other', secretId: 't' }), 0);
  table.put(packer.apiKeyTombstone(digestOf(2), 1), 0);
  assert.deepEqual(table.apiKey(digestOf(1)), { clientId: 'other', secretId: 't' });
  assert.deepEqual([table.apiKey(digestOf(2)), table.apiKey(digestOf(200))], [null, null]);
  assert.equal(table.apiKey(digestOf(3))?.clientId, 'client-3');
  for (let i = 0; i < SHARDS; i++) table.forgetSome(2);
  assert.deepEqual([keyCountOf(table), table.has(packer.apiKeyTombstone(digestOf(2), 1), 0)], [99, false]);
});

test('old tombstones are removed shard by shard, clients and recent tombstones stay', () => {
  const table = new RecordTable();
  for (let i = 0; i < 5_000; i++) table.put(packer.tombstone(`t-${i}`, 1 + (i % 2)), 0);
  table.put(packer.client(client('old but alive', 1)), 0);
  for (let i = 0; i < SHARDS; i++) table.forgetSome(2);
  const left = Array.from({ length: 5_000 }, (_, i) => table.get(`t-${i}`)).filter((entry) => entry !== null);
  assert.equal(left.length, 2_500);
  assert.ok(left.every(({ versionUs }) => versionUs === 2));
  assert.equal(table.get('old but alive')?.client?.clientId, 'old but alive');
});
