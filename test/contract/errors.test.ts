import assert from 'node:assert/strict';
import { test } from 'node:test';
import { toError } from '../../src/contract/errors.ts';

test('the error of a thrown value says what the value holds', () => {
  assert.equal(toError({ name: 'ErrnoError', errno: 51 }).message, "{ name: 'ErrnoError', errno: 51 }");
  for (const [thrown, message] of [
    ['a text', 'a text'],
    [7, '7'],
    [null, 'null'],
    [undefined, 'undefined'],
  ] as const)
    assert.equal(toError(thrown).message, message);
  const error = new Error('as it is');
  assert.equal(toError(error), error);
});
