import assert from 'node:assert/strict';
import { test } from 'node:test';
import { counted } from '../../src/contract/counted.ts';

test('one is one, and all others are many', () => {
  assert.deepEqual(
    [counted(0, 'pool'), counted(1, 'pool'), counted(2, 'pool'), counted(3, 'pass', 'passes')],
    ['0 pools', '1 pool', '2 pools', '3 passes'],
  );
});
