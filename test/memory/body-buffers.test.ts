import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BodyBuffers, FIRST_BUFFER_BYTES, LARGE_BUFFER_BYTES } from '../../src/memory/body-buffers.ts';
import { POISON, PoisonedBuffers } from '../support/poisoned-buffers.ts';

test('at most 12 large buffers are live', () => {
  const buffers = new BodyBuffers();
  const taken = Array.from({ length: 13 }, () => buffers.takeLarge()?.length);
  assert.deepEqual(taken, [...Array(12).fill(LARGE_BUFFER_BYTES), undefined]);
});

test('a first buffer grows into a large one where the rest of the body needs it, while there is one', () => {
  const buffers = new BodyBuffers();
  const first = buffers.take();
  assert.equal(buffers.grow(first, FIRST_BUFFER_BYTES), first);
  const large = buffers.grow(first, FIRST_BUFFER_BYTES + 1);
  assert.deepEqual([large.length, buffers.pooledCount], [LARGE_BUFFER_BYTES, 1]);
  for (let i = 1; i < 12; i++) buffers.takeLarge();
  const second = buffers.take();
  assert.equal(buffers.grow(second, LARGE_BUFFER_BYTES), second);
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
