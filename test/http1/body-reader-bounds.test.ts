/** The bounds of what a chunked body carries besides its payload. They are per body. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CHUNKED_BODY } from '../../src/contract/request-head.ts';
import { BodyReader } from '../../src/http1/body-reader.ts';

const EXTENSIONS_MAX_BYTES = 16_384;
const TRAILERS_MAX_BYTES = 16_384;

function feed(reader: BodyReader, text: string): BodyReader {
  const buffer = Buffer.from(text, 'latin1');
  reader.read(buffer, 0, buffer.length);
  return reader;
}

function started(): BodyReader {
  const reader = new BodyReader({ refusesFramingTrailers: false });
  reader.start(CHUNKED_BODY);
  return reader;
}

/** A size line with this many bytes of extension, counted from the first semicolon to the CR. */
const sizeLine = (extensionBytes: number) => `1;${'x'.repeat(extensionBytes - 1)}\r\n`;

test('the chunk extensions of a body may have 16 KiB together, not a byte more', () => {
  const half = EXTENSIONS_MAX_BYTES / 2;
  const most = feed(started(), `${sizeLine(half)}a\r\n${sizeLine(half)}b\r\n0\r\n\r\n`);
  assert.deepEqual([most.problem, most.complete], ['', true]);
  const more = feed(started(), `${sizeLine(half)}a\r\n${sizeLine(half + 1)}b\r\n0\r\n\r\n`);
  assert.deepEqual([more.problemStatus, more.complete], [413, false]);
});

test('the next body has the whole bound again, and no rest of the previous size', () => {
  const reader = started();
  for (let i = 0; i < 3; i++) {
    feed(reader, `${sizeLine(EXTENSIONS_MAX_BYTES)}a\r\n0\r\nX: ${i}\r\n\r\n`);
    assert.deepEqual([reader.problem, reader.complete, reader.trailers], ['', true, ['X', `${i}`]]);
    reader.start(CHUNKED_BODY);
    // Abandoned in the middle of a size.
    feed(reader, 'ff');
    reader.start(CHUNKED_BODY);
  }
});

test('the digits of chunk sizes have no common bound', () => {
  const reader = feed(started(), `${'01\r\na\r\n'.repeat(40)}0\r\n\r\n`);
  assert.deepEqual([reader.problem, reader.complete], ['', true]);
});

test('a later chunk without a size is refused too', () => {
  for (const bad of ['\r\n', ';x\r\n']) assert.notEqual(feed(started(), `1\r\na\r\n${bad}`).problem, '', bad);
});

test('trailers may have 16 KiB; a byte more gets 431', () => {
  const line = (bytes: number) => `X: ${'y'.repeat(bytes - 5)}\r\n`;
  const most = feed(started(), `0\r\n${line(TRAILERS_MAX_BYTES - 2)}\r\n`);
  assert.deepEqual([most.problem, most.complete], ['', true]);
  const more = feed(started(), `0\r\n${line(TRAILERS_MAX_BYTES - 1)}\r\n`);
  assert.deepEqual([more.problemStatus, more.complete], [431, false]);
});
