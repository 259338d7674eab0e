import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hasBrokenLine, trimmedValue } from '../../src/http1/head-bytes.ts';

test('a CR that came last before, without its LF now, breaks a head at once', () => {
  for (const [text, from, broken] of [
    ['GET / HTTP/1.1\rX', 15, true],
    ['GET / HTTP/1.1\r\n', 15, false],
    ['GET / HTTP/1.1\r', 14, false],
    ['GET / HTTP/1.1\n', 14, true],
    ['\rX', 1, true],
  ] as const) {
    const bytes = Buffer.from(`\r${text}\n`, 'latin1');
    assert.equal(hasBrokenLine(bytes, 1, 1 + from, 1 + text.length), broken, JSON.stringify(text));
  }
});

test('a line end before the head is none of the head', () => {
  const bytes = Buffer.from('\r\nGET', 'latin1');
  assert.equal(hasBrokenLine(bytes, 1, 1, bytes.length), true);
  assert.equal(hasBrokenLine(bytes, 2, 2, bytes.length), false);
});

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
