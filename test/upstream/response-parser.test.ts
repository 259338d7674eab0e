import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fieldsOf } from '../../src/http1/field-lines.ts';
import { type Outcome, parseSegments } from './parse-segments.ts';
import { VECTORS, type Vector } from './vectors.ts';

/** Large vectors are split near their edges only; all splits would take minutes. */
const SPLIT_MAX_BYTES = 1500;

function checkAgainst(vector: Vector, outcome: Outcome, how: string): void {
  const { expected } = vector;
  const where = `${vector.name}, ${how}: ${JSON.stringify(outcome).slice(0, 400)}`;
  if (typeof expected === 'string') {
    assert.equal(outcome.problem !== '', expected === 'upstream_invalid', where);
    assert.equal(outcome.complete, false, where);
    return;
  }
  assert.equal(outcome.problem, '', where);
  assert.equal(outcome.complete, true, where);
  assert.equal(outcome.status, expected.status, where);
  assert.equal(outcome.body, expected.body ?? '', where);
  assert.deepEqual(outcome.interims, expected.interims ?? [], where);
  assert.deepEqual(outcome.trailers, expected.trailers ?? [], where);
  assert.equal(outcome.persistent && outcome.leftoverBytes === 0, expected.reused, where);
  if (expected.headers !== undefined) assert.deepEqual(outcome.headers, expected.headers, where);
  if (expected.reason !== undefined) assert.equal(outcome.reason, expected.reason, where);
  if (expected.contentLength !== undefined)
    assert.equal(outcome.contentLength, expected.contentLength, where);
}

for (const vector of VECTORS) {
  test(`any segmentation has the same outcome: ${vector.name}`, () => {
    const bytes = Buffer.from(vector.bytes, 'latin1');
    const method = vector.method ?? 'GET';
    const fin = vector.fin ?? false;
    const whole = parseSegments([bytes], method, fin);
    checkAgainst(vector, whole, 'in one read');
    const cuts = bytes.length <= SPLIT_MAX_BYTES ? bytes.length : 0;
    for (let cut = 1; cut < cuts; cut++) {
      const outcome = parseSegments([bytes.subarray(0, cut), bytes.subarray(cut)], method, fin);
      checkAgainst(vector, outcome, `cut at ${cut}`);
      if (typeof vector.expected !== 'string') assert.deepEqual(outcome, whole, `cut at ${cut}`);
    }
    const single = Array.from(bytes, (_, i) => bytes.subarray(i, i + 1));
    checkAgainst(vector, parseSegments(single, method, fin), 'byte by byte');
  });
}

test('the end of a head is found across search windows', () => {
  const text = `HTTP/1.1 200 OK\r\nX: ${'a'.repeat(9_000)}\r\nContent-Length: 2\r\n\r\nok`;
  const bytes = Buffer.from(text, 'latin1');
  for (const cut of [1, 4_090, 4_096, 4_097, 8_192, bytes.length - 5, bytes.length - 3, bytes.length - 1]) {
    const outcome = parseSegments([bytes.subarray(0, cut), bytes.subarray(cut)], 'GET', false);
    assert.equal(outcome.body, 'ok', `cut at ${cut}`);
    assert.equal(outcome.headers[1]?.length, 9_000);
  }
  // The end of the head lies across the window that is searched as text.
  for (let filler = 4_020; filler < 4_100; filler++) {
    const straddling = `HTTP/1.1 200 OK\r\nX: ${'a'.repeat(filler)}\r\nContent-Length: 2\r\n\r\nok`;
    const outcome = parseSegments([Buffer.from(straddling, 'latin1')], 'GET', false);
    assert.equal(outcome.body, 'ok', `filler of ${filler}`);
  }
});

test('interim heads share one cap of 64 KiB', () => {
  const interim = `HTTP/1.1 103 E\r\nLink: ${'a'.repeat(9_000)}\r\n\r\n`;
  const outcome = parseSegments([Buffer.from(interim.repeat(8), 'latin1')], 'GET', false);
  assert.match(outcome.problem, /interim/);
  assert.equal(outcome.interims.length, 7);
});

test('a head that never ends is refused at the cap', () => {
  const line = Buffer.from(`X: ${'a'.repeat(1_000)}\r\n`);
  const segments = [Buffer.from('HTTP/1.1 200 OK\r\n'), ...Array.from({ length: 80 }, () => line)];
  assert.match(parseSegments(segments, 'GET', false).problem, /too large/);
});

test('chunk extensions and trailers are capped', () => {
  const chunked = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n';
  for (const body of [`1;${'a'.repeat(17_000)}`, `${`1;${'a'.repeat(300)}\r\nx\r\n`.repeat(60)}`]) {
    assert.match(parseSegments([Buffer.from(chunked + body)], 'GET', false).problem, /extensions too large/);
  }
  const trailers = `0\r\n${`X: ${'a'.repeat(500)}\r\n`.repeat(40)}`;
  assert.match(parseSegments([Buffer.from(chunked + trailers)], 'GET', false).problem, /trailers too large/);
});

test('the next response of a parser is independent of the one before', async () => {
  const { ResponseParser } = await import('../../src/upstream/response-parser.ts');
  const parser = new ResponseParser();
  const read = (text: string): string => {
    const buffer = Buffer.from(text, 'latin1');
    parser.start('GET');
    parser.readHead(buffer, 0, buffer.length);
    if (parser.head?.hasBody) parser.body.read(buffer, parser.at, buffer.length);
    return `${fieldsOf(parser.head?.lines ?? '').join()} ${parser.body.trailers.join()} ${parser.keepAliveSec} ${parser.persistent}`;
  };
  const chunked = 'HTTP/1.1 200 OK\r\nConnection: close, Y\r\nY: 1\r\nKeep-Alive: max=1, timeout=7\r\n';
  assert.equal(
    read(`${chunked}Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nT: 1\r\n\r\n`),
    ' T,1 7 false',
  );
  assert.equal(read('HTTP/1.1 200 OK\r\nY: 2\r\nContent-Length: 0\r\n\r\n'), 'Y,2  -1 true');
});
