import assert from 'node:assert/strict';
import { test } from 'node:test';
import { trimmedValue } from '../../src/http1/head-bytes.ts';

test('blanks around a value are removed, those inside stay', () => {
  assert.equal(trimmedValue(' \t a \t b\t '), 'a \t b');
  assert.equal(trimmedValue('a'), 'a');
  assert.equal(trimmedValue(' \t '), '');
  assert.equal(trimmedValue(''), '');
});

/** A quadratic trim would take minutes and miss the runner's deadline. */
test('a million blanks inside a value are trimmed in linear time', () => {
  const value = `a${' '.repeat(1_000_000)}b`;
  assert.equal(trimmedValue(`${value} `), value);
});
