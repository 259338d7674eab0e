import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PartialHead } from '../../src/http1/partial-head.ts';

const STRICT = { controlsInFirstLine: false };

/** Feeds a head byte by byte. Returns at which byte counts it was parsed, and at which it was malformed (0: never). */
function drip(text: string, options = STRICT): { looks: number[]; brokenAt: number } {
  const bytes = Buffer.from(text, 'latin1');
  const partial = new PartialHead(options);
  const looks: number[] = [];
  for (let to = 1; to <= bytes.length; to++) {
    if (partial.isDue(bytes, 0, to)) looks.push(to);
    partial.noteIncomplete(bytes, 0, to);
    if (partial.isBroken) return { looks, brokenAt: to };
  }
  return { looks, brokenAt: 0 };
}

test('an unfinished head of thousands of lines is parsed a few times, and once more at its end', () => {
  const text = `GET / HTTP/1.1\r\n${'a:\r\n'.repeat(4_000)}\r\n`;
  const { looks, brokenAt } = drip(text);
  const bytesRead = looks.reduce((sum, bytes) => sum + bytes, 0);
  assert.equal(brokenAt, 0);
  assert.equal(looks.at(-1), text.length, 'the empty line makes it due');
  assert.ok(bytesRead < 8 * text.length, `${bytesRead} bytes read for ${text.length}`);
});

test('a small head is parsed after each line', () => {
  const { looks } = drip('GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n');
  assert.deepEqual(looks.slice(1), [16, 25, 32]);
});

test('bytes that can never become a head are malformed at the first wrong byte', () => {
  for (const [text, brokenAt] of [
    ['GET / HTTP/1.1\n', 15],
    ['GET / HTTP/1.1\r\nHost: a\rX', 25],
    ['GET / HTTP/1.1\rX', 16],
    ['GET / HTTP/1.1\r\r', 16],
    ['\x16\x03\x01', 1],
    ['\rX', 2],
    ['GET / HTTP/1.1\r\nA\0', 18],
    ['GET / HTTP/1.1\r', 0],
    ['GET / HTTP/1.1\r\n', 0],
  ] as const) {
    assert.equal(drip(text).brokenAt, brokenAt, JSON.stringify(text));
  }
});

test('a control byte in a first line may be left to the parser, a line end other than CRLF may not', () => {
  const lenient = { controlsInFirstLine: true };
  assert.equal(drip('HTTP/1.1 200 \x01\r\nA: b\r\n\r\n', lenient).brokenAt, 0);
  assert.equal(drip('HTTP/1.1 200 \x01\r\nA\x01', lenient).brokenAt, 18);
  assert.equal(drip('HTTP/1.1 200 \x01\n', lenient).brokenAt, 15);
});

test('bytes behind the head do not belong to it', () => {
  const text = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';
  const bytes = Buffer.from(`${text}\0\n`, 'latin1');
  const partial = new PartialHead(STRICT);
  partial.noteIncomplete(bytes, 0, 20);
  assert.equal(partial.isDue(bytes, 0, bytes.length), true);
  assert.equal(partial.isBroken, false);
});

test('restart forgets the previous bytes', () => {
  const bytes = Buffer.from(`GET / HTTP/1.1\r\n${'a:\r\n'.repeat(500)}\n`, 'latin1');
  const partial = new PartialHead(STRICT);
  partial.noteIncomplete(bytes, 0, bytes.length);
  assert.deepEqual(
    [partial.isDue(bytes, 0, bytes.length), partial.isBroken, partial.firstLineBytes],
    [false, true, 16],
  );
  partial.restart();
  assert.deepEqual(
    [partial.isDue(bytes, 0, bytes.length), partial.isBroken, partial.firstLineBytes],
    [true, false, 0],
  );
});

test('a small head is parsed again only when a new line has ended', () => {
  const bytes = Buffer.from('GET / HTTP/1.1\r\nHost: a\r\n\r\n', 'latin1');
  const partial = new PartialHead(STRICT);
  assert.equal(partial.isDue(bytes, 0, 20), true);
  partial.noteIncomplete(bytes, 0, 20);
  assert.equal(partial.isDue(bytes, 0, 24), false);
  assert.equal(partial.isDue(bytes, 0, 25), true);
  partial.restart();
  assert.equal(partial.isDue(bytes, 0, 20), true);
});
