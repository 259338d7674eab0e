import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { hashId, MAX_ID_BYTES, rangeIdOf, readId, writeId } from '../../src/clients/packed-id.ts';
import { canonicalRange, groupOf } from '../../src/contract/addresses.ts';

function idOf(id: string): Buffer {
  const out = Buffer.alloc(MAX_ID_BYTES, 0xa5);
  return out.subarray(0, writeId(id, out));
}

const byte = fc.nat(255);
const ipv4 = fc.tuple(byte, byte, byte, byte).map((bytes) => bytes.join('.'));
const group = fc.oneof(
  fc.constant('0'),
  fc.nat(0xffff).map((value) => value.toString(16)),
);
/** Spellings of all kinds, some of which are addresses. */
const spelling = fc.oneof(
  ipv4,
  fc.ipV6(),
  fc.array(group, { minLength: 8, maxLength: 8 }).map((groups) => groups.join(':')),
  fc
    .tuple(fc.array(group, { maxLength: 7 }), fc.array(group, { maxLength: 7 }))
    .map(([a, b]) => `${a.join(':')}::${b.join(':')}`),
  ipv4.map((address) => `::ffff:${address}`),
  ipv4.map((address) => `::FFFF:${address}`),
  ipv4.map((address) => `64:ff9b::${address}`),
  fc.stringMatching(/^[0-9.:/a-fA-F%]{1,20}$/),
);
const networkLike = fc.oneof(
  spelling,
  fc
    .tuple(spelling, fc.oneof(fc.nat(140).map(String), fc.stringMatching(/^[0-9-]{0,4}$/)))
    .map(([text, bits]) => `${text}/${bits}`),
);

test('spellings of one address or range are one id, which unpacks to the canonical spelling', () => {
  fc.assert(
    fc.property(networkLike, (text) => {
      const canonical = canonicalRange(text) ?? text;
      const key = idOf(text);
      assert.equal(readId(key), canonical);
      assert.deepEqual(key, idOf(canonical));
    }),
    { numRuns: 5_000 },
  );
});

test('different ids have different keys', () => {
  const id = fc.oneof(
    networkLike,
    fc.string({ minLength: 1, maxLength: 6 }),
    fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 }),
  );
  fc.assert(
    fc.property(id, id, (a, b) => {
      const same = (canonicalRange(a) ?? a) === (canonicalRange(b) ?? b);
      assert.equal(idOf(a).equals(idOf(b)), same);
    }),
    { numRuns: 2_000 },
  );
});

test('names of up to 128 characters unpack unchanged, and longer ones have no key', () => {
  for (const name of [
    'acme',
    'a:b@c',
    '1.2.3',
    '1.2.3.4.5',
    '01.2.3.4',
    '10.0.0.0/08x',
    'unix:',
    'ü',
    '😀'.repeat(128),
  ]) {
    assert.equal(readId(idOf(name)), name);
  }
  assert.equal(idOf('x'.repeat(257)).length, 0);
  assert.deepEqual(
    [idOf('10.1.2.3').length, idOf('10.0.0.0/8').length, idOf('2001:db8::1').length],
    [5, 6, 17],
  );
});

test('the range of an address and a prefix length is the group that the limiter uses', () => {
  const out = Buffer.alloc(MAX_ID_BYTES);
  fc.assert(
    fc.property(fc.oneof(ipv4, fc.ipV6()), fc.nat(127), (text, bits) => {
      const address = canonicalRange(text) ?? text;
      const prefix = address.includes(':') ? bits : bits % 32;
      const length = rangeIdOf(idOf(address), prefix, out);
      assert.equal(readId(out.subarray(0, length)), groupOf(address, prefix, prefix));
    }),
    { numRuns: 1_000 },
  );
});

test('hashes of neighbouring addresses are even in their highest and lowest bits', () => {
  const counts = new Map<string, number>();
  for (let i = 0; i < 65_536; i++) {
    const key = idOf(`10.20.${i >> 8}.${i & 255}`);
    const hash = hashId(key, key.length);
    for (const place of [`high ${hash >>> 26}`, `low ${hash & 63}`])
      counts.set(place, (counts.get(place) ?? 0) + 1);
  }
  // 1,024 in each of 64 places, with a standard deviation of 32.
  for (const [place, count] of counts) assert.ok(count > 800 && count < 1_250, `${place}: ${count}`);
});
