import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { DigestMap } from '../../src/clients/digest-map.ts';

const digestOf = (n: number): string => createHash('sha256').update(String(n)).digest('base64url');

test('a map by digests holds what a Map holds, also while it is read', () => {
  const map = new DigestMap<number>();
  for (let n = 0; n < 2_000; n++) map.set(digestOf(n), n);
  map.set(digestOf(7), 8);
  assert.deepEqual([map.size, map.get(digestOf(7)), map.get(digestOf(2_000))], [2_000, 8, undefined]);
  assert.deepEqual([map.delete(digestOf(7)), map.delete(digestOf(7))], [true, false]);
  assert.equal(new Set(map.values()).size, 1_999);
  const read: string[] = [];
  for (const [digest] of map.entries()) {
    read.push(digest);
    map.delete(digestOf(read.length));
  }
  assert.equal(new Set(read).size, read.length, 'nothing comes twice');
  assert.ok(read.length < 1_999, 'what is gone does not come');
});
