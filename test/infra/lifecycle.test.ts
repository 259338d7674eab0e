import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Lifecycle } from '../../src/infra/lifecycle.ts';

test('releasers run in reverse order, once each, even if one fails or hangs', async () => {
  const order: string[] = [];
  const lifecycle = new Lifecycle();
  lifecycle.onClose('first', () => void order.push('first'));
  lifecycle.onClose('broken', () => {
    throw new Error('boom');
  });
  lifecycle.onClose('hanging', () => Promise.withResolvers<void>().promise, 20);
  lifecycle.onClose('last', () => void order.push('last'));
  const failure: unknown = await lifecycle.close().catch((error: unknown) => error);
  assert.ok(failure instanceof AggregateError);
  assert.deepEqual(
    failure.errors.map((error: Error) => error.message),
    ['closing hanging failed', 'closing broken failed'],
  );
  assert.deepEqual(order, ['last', 'first']);
  await lifecycle.close();
  assert.deepEqual(order, ['last', 'first']);
});
