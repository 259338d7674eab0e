import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PartialHead } from '../../../../src/worker/inbound/wire/partial-head.ts';

const LIMITS = { targetBytes: 8192, headerBytes: 16_384, headerCount: 100 };
const LOW_LIMITS = { targetBytes: 100, headerBytes: 200, headerCount: 100 };
const LINE_MAX_BYTES = LOW_LIMITS.targetBytes + 1_024;

/** Feeds a head byte by byte; returns with how many bytes it was to be read, and the status that refused it. */
function drip(text: string): { looks: number[]; status: number } {
  const bytes = Buffer.from(text, 'latin1');
  const partial = new PartialHead();
  const looks: number[] = [];
  for (let to = 1; to <= bytes.length; to++) {
    if (partial.isDue(bytes, 0, to)) looks.push(to);
    const status = partial.refusalOf(bytes, 0, to, LIMITS);
    if (status !== 0) return { looks, status };
  }
  return { looks, status: 0 };
}

/** Of a head that came in one read. */
function refusalOf(text: string): number {
  const bytes = Buffer.from(text, 'latin1');
  return new PartialHead().refusalOf(bytes, 0, bytes.length, LOW_LIMITS);
}

test('a head of thousands of short lines is read a few times, and again with its end', () => {
  const text = `GET / HTTP/1.1\r\n${'a:\r\n'.repeat(4_000)}\r\n`;
  const { looks, status } = drip(text);
  const bytesRead = looks.reduce((sum, bytes) => sum + bytes, 0);
  assert.equal(status, 0);
  assert.equal(looks.at(-1), text.length, 'the empty line makes it due');
  assert.ok(bytesRead < 8 * text.length, `${bytesRead} bytes read for ${text.length}`);
});

test('each line of a small head is looked at when it ends', () => {
  const { looks } = drip('GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n');
  assert.deepEqual(looks.slice(1), [16, 25, 32]);
});

test('what can never become a head is refused with its byte', () => {
  for (const [text, status] of [
    ['GET / HTTP/1.1\n', 400],
    ['GET / HTTP/1.1\r\nHost: a\rX', 400],
    ['\x16\x03\x01', 400],
    [`GET /${'a'.repeat(9_300)}`, 414],
    [`GET / HTTP/1.1\r\n${'X: y\r\n'.repeat(3_000)}`, 431],
  ] as const) {
    assert.equal(drip(text).status, status, text.slice(0, 30));
  }
});

test('forgetting begins anew', () => {
  const bytes = Buffer.from(`GET / HTTP/1.1\r\n${'a:\r\n'.repeat(500)}`, 'latin1');
  const partial = new PartialHead();
  partial.refusalOf(bytes, 0, bytes.length, LIMITS);
  assert.equal(partial.isDue(bytes, 0, bytes.length), false);
  partial.forget();
  assert.equal(partial.isDue(bytes, 0, bytes.length), true);
});

test('a request line without its end may have targetBytes and 1 KiB, not a byte more', () => {
  assert.equal(refusalOf('x'.repeat(LINE_MAX_BYTES)), 0);
  assert.equal(refusalOf('x'.repeat(LINE_MAX_BYTES + 1)), 414);
});

test('fields without their end may have headerBytes and an empty line, not a byte more', () => {
  const line = 'GET / HTTP/1.1\r\n';
  assert.equal(refusalOf(line + 'x'.repeat(LOW_LIMITS.headerBytes + 2)), 0);
  assert.equal(refusalOf(line + 'x'.repeat(LOW_LIMITS.headerBytes + 3)), 431);
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
