import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HEAD_MALFORMED } from '../../src/http1/head-reader.ts';
import { RequestHeadReader } from '../../src/http1/request-head-reader.ts';

const LIMITS = { targetBytes: 8192, headerBytes: 16_384 };
const LOW_LIMITS = { targetBytes: 100, headerBytes: 200 };
const LINE_MAX_BYTES = LOW_LIMITS.targetBytes + 1_024;

/** Feeds the bytes in pieces of this size and returns the status that refuses them; 0: they may become a head. */
function refusalOf(text: string, limits = LOW_LIMITS, pieceBytes = text.length): number {
  const bytes = Buffer.from(text, 'latin1');
  const reader = new RequestHeadReader();
  for (let to = pieceBytes; to <= bytes.length; to += pieceBytes) {
    if (reader.read(bytes, 0, to, limits) === HEAD_MALFORMED) return reader.problemStatus;
  }
  return 0;
}

test('bytes that can never become a head are refused at the first wrong byte', () => {
  for (const [text, status] of [
    ['GET / HTTP/1.1\n', 400],
    ['GET / HTTP/1.1\r\nHost: a\rX', 400],
    ['\x16\x03\x01', 400],
    [`GET /${'a'.repeat(9_300)}`, 414],
    [`GET / HTTP/1.1\r\n${'X: y\r\n'.repeat(3_000)}`, 431],
  ] as const) {
    assert.equal(refusalOf(text, LIMITS, 1), status, text.slice(0, 30));
  }
});

test('an unfinished request line may have targetBytes plus 1 KiB, not a byte more', () => {
  for (const pieceBytes of [undefined, 1]) {
    assert.equal(refusalOf('x'.repeat(LINE_MAX_BYTES), LOW_LIMITS, pieceBytes), 0);
    assert.equal(refusalOf('x'.repeat(LINE_MAX_BYTES + 1), LOW_LIMITS, pieceBytes), 414);
  }
});

test('unfinished fields may have headerBytes plus an empty line, not a byte more', () => {
  const line = 'GET / HTTP/1.1\r\n';
  for (const pieceBytes of [undefined, 1]) {
    const fields = 'x'.repeat(LOW_LIMITS.headerBytes + 2);
    assert.equal(refusalOf(line + fields, LOW_LIMITS, pieceBytes), 0);
    assert.equal(refusalOf(`${line}${fields}x`, LOW_LIMITS, pieceBytes), 431);
  }
});
