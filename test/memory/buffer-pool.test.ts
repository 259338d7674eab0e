import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BufferPool } from '../../src/memory/buffer-pool.ts';
import { POISON, poison } from '../support/poisoned-buffers.ts';

const SMALL_BYTES = 262_144;
const LARGE_BYTES = 524_288;
const makePool = () => new BufferPool(SMALL_BYTES, LARGE_BYTES, 3);

test('large buffers are lent up to the maximum, and giving or dropping one makes room', () => {
  const pool = makePool();
  const taken = Array.from({ length: 3 }, () => pool.takeLarge());
  assert.ok(taken.every((buffer) => buffer?.length === LARGE_BYTES));
  assert.equal(pool.takeLarge(), null);
  const [first, second] = taken;
  assert.ok(first && second);
  pool.give(first);
  assert.equal(pool.largeLiveCount, 2);
  assert.equal(pool.takeLarge(), first, 'recycled');
  pool.drop(second);
  assert.notEqual(pool.takeLarge(), second, 'a dropped one is never handed out again');
});

test('1 MiB of small buffers is kept, further ones are freed at once', () => {
  const pool = makePool();
  const taken = Array.from({ length: 6 }, () => pool.take());
  assert.equal(new Set(taken).size, 6);
  for (const buffer of taken) pool.give(buffer);
  assert.equal(pool.pooledCount, 4);
  assert.deepEqual(
    taken.map((buffer) => buffer.length),
    [SMALL_BYTES, SMALL_BYTES, SMALL_BYTES, SMALL_BYTES, 0, 0],
  );
});

test('with poison, a buffer is overwritten when it is given back', () => {
  const pool = makePool();
  poison(pool);
  const buffer = pool.take().fill('x');
  pool.give(buffer);
  assert.ok(buffer.every((byte) => byte === POISON));
});
