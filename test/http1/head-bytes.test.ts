import assert from 'node:assert/strict';
import { test } from 'node:test';
import { trimmedValue } from '../../src/http1/head-bytes.ts';

test('blanks around a value go, those inside stay', () => {
  assert.equal(trimmedValue(' \t a \t b\t '), 'a \t b');
  assert.equal(trimmedValue('a'), 'a');
  assert.equal(trimmedValue(' \t '), '');
  assert.equal(trimmedValue(''), '');
});

/** A quadratic trim takes minutes for it; the runner's deadline says so. */
test('a value of a million blanks inside takes no longer than its bytes', () => {
  const value = `a${' '.repeat(1_000_000)}b`;
  assert.equal(trimmedValue(`${value} `), value);
});
