import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PartialHead } from '../../src/worker/inbound/wire/partial-head.ts';

const LIMITS = { targetBytes: 100, headerBytes: 200 } as Parameters<PartialHead['refusalOf']>[3];
const LINE_MAX_BYTES = 100 + 1_024;

function refusalOf(text: string): number {
  const bytes = Buffer.from(text, 'latin1');
  return new PartialHead().refusalOf(bytes, 0, bytes.length, LIMITS);
}

test('a request line without its end may have targetBytes and 1 KiB, not a byte more', () => {
  assert.equal(refusalOf('x'.repeat(LINE_MAX_BYTES)), 0);
  assert.equal(refusalOf('x'.repeat(LINE_MAX_BYTES + 1)), 414);
});

test('fields without their end may have headerBytes and an empty line, not a byte more', () => {
  const line = 'GET / HTTP/1.1\r\n';
  assert.equal(refusalOf(line + 'x'.repeat(200 + 2)), 0);
  assert.equal(refusalOf(line + 'x'.repeat(200 + 3)), 431);
});

test('only a line that ends in what has not been looked at yet makes a small head worth a look', () => {
  const bytes = Buffer.from('GET / HTTP/1.1\r\nHost: a\r\n\r\n', 'latin1');
  const partial = new PartialHead();
  assert.equal(partial.isDue(bytes, 0, 20), true);
  partial.refusalOf(bytes, 0, 20, LIMITS);
  assert.equal(partial.isDue(bytes, 0, 24), false);
  assert.equal(partial.isDue(bytes, 0, 25), true);
  partial.forget();
  assert.equal(partial.isDue(bytes, 0, 20), true);
});
