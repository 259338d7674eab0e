import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { MAX_ID_BYTES, writeDigest, writeId } from '../../src/clients/packed-id.ts';
import {
  areRecords,
  copyId,
  hasId,
  isApiKeyAt,
  isTombstoneAt,
  lengthAt,
  MAX_RECORD_BYTES,
  RecordPacker,
  unpackApiKey,
  unpackClient,
  versionAt,
} from '../../src/clients/packed-record.ts';
import type { ClientRecord } from '../../src/contract/clients.ts';

const packer = new RecordPacker();
const id = Buffer.alloc(MAX_ID_BYTES);

const limits = fc.dictionary(
  fc.stringMatching(/^[A-Za-z0-9._-]{1,64}$/),
  fc.record(
    {
      capacity: fc.integer({ min: 1, max: 1_000_000_000 }),
      refillPerSecond: fc.double({ min: 1e-6, max: 1e9, noNaN: true }),
    },
    { noNullPrototype: true },
  ),
  { maxKeys: 5, noNullPrototype: true },
);
const record: fc.Arbitrary<ClientRecord> = fc.record(
  {
    clientId: fc.oneof(
      fc.stringMatching(/^[A-Za-z][A-Za-z0-9._@-]{0,127}$/),
      fc.constantFrom(
        '10.1.2.3',
        '10.0.0.0/8',
        '2001:db8::1',
        '2001:db8::/32',
        '::/0',
        'ünïcode',
        '__proto__',
      ),
    ),
    mode: fc.constantFrom('limit', 'unlimited', 'blocked'),
    limits,
    versionUs: fc.maxSafeNat(),
  },
  { noNullPrototype: true },
);

test('a packed client is unpacked unchanged, at any offset', () => {
  fc.assert(
    fc.property(record, fc.nat(50), (client, at) => {
      const packed = packer.client(client);
      const bytes = Buffer.concat([Buffer.alloc(at, 0xff), packed, Buffer.alloc(5, 0xff)]);
      assert.deepEqual(unpackClient(bytes, at), client);
      assert.deepEqual(
        [lengthAt(bytes, at), versionAt(bytes, at), isTombstoneAt(bytes, at)],
        [packed.length, client.versionUs, false],
      );
      const length = copyId(bytes, at, id);
      assert.ok(hasId(bytes, at, id, length));
      assert.equal(writeId(client.clientId, Buffer.alloc(MAX_ID_BYTES)), length);
      id[length - 1] = (id[length - 1] ?? 0) ^ 1;
      assert.ok(!hasId(bytes, at, id, length));
    }),
    { numRuns: 1_000 },
  );
});

test('a tombstone keeps the id and the version, and unpacks to no client', () => {
  const bytes = packer.tombstone('2001:db8::/32', 7);
  assert.deepEqual([isTombstoneAt(bytes, 0), versionAt(bytes, 0), unpackClient(bytes, 0)], [true, 7, null]);
});

test('a packed API key is unpacked unchanged, at any offset, and its tombstone has the same id', () => {
  const stored = fc.record({
    digest: fc.uint8Array({ minLength: 32, maxLength: 32 }),
    clientId: fc.string({ unit: 'grapheme', minLength: 1, maxLength: 40 }),
    secretId: fc.stringMatching(/^[0-9a-f]{1,64}$/),
  });
  fc.assert(
    fc.property(stored, fc.nat(50), (apiKey, at) => {
      const packed = packer.apiKey(apiKey);
      const bytes = Buffer.concat([Buffer.alloc(at, 0xff), packed, Buffer.alloc(5, 0xff)]);
      const { clientId, secretId } = apiKey;
      assert.deepEqual(unpackApiKey(bytes, at), { clientId, secretId });
      assert.deepEqual([isApiKeyAt(bytes, at), isTombstoneAt(bytes, at)], [true, false]);
      assert.ok(hasId(bytes, at, id, writeDigest(apiKey.digest, id)));
      for (const tombstone of [packer.apiKeyTombstone(apiKey.digest, 7), packer.tombstoneOf(bytes, at, 7)]) {
        assert.ok(hasId(tombstone, 0, id, 33) && isTombstoneAt(tombstone, 0));
        assert.deepEqual([versionAt(tombstone, 0), unpackApiKey(tombstone, 0)], [7, null]);
      }
    }),
  );
});

test('an address with a limit of its own takes 28 bytes, a plain one 15', () => {
  const own = { default: { capacity: 5, refillPerSecond: 1 } };
  const client: ClientRecord = { clientId: '10.1.2.3', mode: 'limit', limits: own, versionUs: 1 };
  assert.equal(packer.client(client).length, 28);
  assert.equal(packer.client({ ...client, limits: {} }).length, 15);
});

test('the largest limits that the database allows fit; larger ones are an error, never a wrong limit', () => {
  const own = { capacity: 1, refillPerSecond: 1 };
  const many = (count: number) =>
    Object.fromEntries(Array.from({ length: count }, (_, i) => [`policy-${i}`.padEnd(255, 'x'), own]));
  const client = (count: number): ClientRecord => ({
    clientId: 'x'.repeat(128),
    mode: 'limit',
    limits: many(count),
    versionUs: 1,
  });
  // As the database writes and counts them.
  const fitting =
    Array.from({ length: 300 }, (_, i) => i).findLast((count) => databaseBytes(many(count)) <= 65_536) ?? 0;
  assert.deepEqual(unpackClient(packer.client(client(fitting)), 0), client(fitting));
  assert.ok(packer.client(client(fitting)).length <= MAX_RECORD_BYTES);
  assert.throws(() => packer.client(client(300)), { code: 'schema_mismatch' });
  assert.throws(() => packer.client({ ...client(0), clientId: 'x'.repeat(1_000) }), {
    code: 'schema_mismatch',
  });
});

function databaseBytes(value: object): number {
  return Buffer.byteLength(JSON.stringify(value).replaceAll(':', ': ').replaceAll(',', ', '));
}

test('limits for impossible policy names are ignored', () => {
  const own = { capacity: 1, refillPerSecond: 1 };
  const client: ClientRecord = {
    clientId: 'a',
    mode: 'limit',
    limits: { '': own, ['p'.repeat(256)]: own, p: own },
    versionUs: 1,
  };
  assert.deepEqual(unpackClient(packer.client(client), 0)?.limits, { p: own });
});

test('bytes that are not complete records are detected', () => {
  const one = Buffer.from(packer.tombstone('a', 1));
  const two = Buffer.concat([one, packer.tombstone('10.0.0.0/8', 2)]);
  assert.ok(areRecords(two, two.length) && areRecords(two, one.length) && areRecords(two, 0));
  for (let end = 1; end < two.length; end++) assert.equal(areRecords(two, end), end === one.length, `${end}`);
  two.writeUInt16LE(0, 1);
  assert.ok(!areRecords(two, two.length));
});
