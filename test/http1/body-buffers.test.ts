import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BodyBuffers, FIRST_BUFFER_BYTES, LARGE_BUFFER_BYTES } from '../../src/http1/body-buffers.ts';
import { POISON, PoisonedBuffers } from '../support/poisoned-buffers.ts';

test('at most 12 large buffers are live, and giving or dropping one makes room', () => {
  const buffers = new BodyBuffers();
  const taken = Array.from({ length: 12 }, () => buffers.takeLarge());
  assert.ok(taken.every((buffer) => buffer?.length === LARGE_BUFFER_BYTES));
  assert.equal(buffers.takeLarge(), null);
  const [first, second] = taken;
  assert.ok(first && second);
  buffers.give(first);
  assert.equal(buffers.largeLiveCount, 11);
  assert.equal(buffers.takeLarge(), first, 'recycled');
  buffers.drop(second);
  assert.notEqual(buffers.takeLarge(), second, 'a dropped one is never handed out again');
});

test('at most 16 buffers of each size are kept, further ones are freed at once', () => {
  const buffers = new BodyBuffers();
  const taken = Array.from({ length: 20 }, () => buffers.take());
  assert.equal(new Set(taken).size, 20);
  for (const buffer of taken) buffers.give(buffer);
  assert.equal(buffers.pooledCount, 16);
  assert.deepEqual(
    taken.map((buffer) => buffer.length),
    [...Array(16).fill(FIRST_BUFFER_BYTES), ...Array(4).fill(0)],
  );
});

test('the shared buffer is never lent', () => {
  const buffers = new BodyBuffers();
  for (let i = 0; i < 20; i++) assert.notEqual(buffers.take(), buffers.shared);
});

test('with poison, buffers are overwritten when they are given back', () => {
  const buffers = new PoisonedBuffers();
  const buffer = buffers.take().fill('x');
  buffers.give(buffer);
  buffers.shared.fill('x');
  buffers.afterRead();
  assert.ok(buffer.every((byte) => byte === POISON));
  assert.ok(buffers.shared.every((byte) => byte === POISON));
});
