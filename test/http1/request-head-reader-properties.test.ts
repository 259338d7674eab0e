/** Properties of all heads of requests, and of bytes that are none. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { HEAD_INCOMPLETE, HEAD_MALFORMED } from '../../src/http1/head-reader.ts';
import { headOf, readHead } from './read-head.ts';

const token = fc.string({ unit: fc.constantFrom(...'abcXYZ019-._!~'), minLength: 1, maxLength: 12 });
const value = fc.string({ unit: fc.constantFrom(...'ab ,;=:"\t\xe9/1'), maxLength: 20 });
const special = fc.constantFrom(
  'Host',
  'Connection',
  'TE',
  'Content-Length',
  'X-Forwarded-For',
  'x_y',
  'Via',
);
const blanks = fc.constantFrom('', ' ', '\t', '  ');
const line = fc
  .tuple(fc.oneof(token, special), blanks, value, blanks)
  .map(([name, before, text, behind]) => `${name}:${before}${text}${behind}\r\n`);
const soundHead = fc
  .tuple(fc.constantFrom('GET', 'POST', 'M-SEARCH'), token, fc.constantFrom('1.0', '1.1'), fc.array(line))
  .map(([method, path, version, lines]) => `${method} /${path} HTTP/${version}\r\n${lines.join('')}\r\n`);

test('no prefix of a valid head is malformed or complete, and bytes behind it do not change the result', () => {
  fc.assert(
    fc.property(soundHead, fc.string({ unit: 'binary-ascii', maxLength: 20 }), (text, behind) => {
      for (let length = 0; length < text.length; length++)
        assert.equal(
          readHead(text.slice(0, length)).end,
          HEAD_INCOMPLETE,
          JSON.stringify(text.slice(0, length)),
        );
      const { end, reader } = readHead(text + behind);
      assert.equal(end, text.length);
      assert.deepEqual(reader.head, headOf(text));
    }),
    { numRuns: 150 },
  );
});

test('the lines to forward are those received, trimmed, in order', () => {
  const plain = fc.tuple(
    token.map((name) => `q${name.replaceAll('_', '')}`),
    blanks,
    value,
    blanks,
  );
  fc.assert(
    fc.property(fc.array(plain, { maxLength: 30 }), (fields) => {
      const lines = fields.map(([name, before, text, behind]) => `${name}:${before}${text}${behind}\r\n`);
      const expected = fields.map(
        ([name, , text]) => `${name}: ${text.replace(/^[ \t]+/, '').replace(/[ \t]+$/, '')}\r\n`,
      );
      const head = headOf(`GET / HTTP/1.1\r\n${lines.join('')}\r\n`);
      assert.equal(head.lines, expected.join(''));
      assert.deepEqual([head.lineCount, head.headerBytes], [fields.length, lines.join('').length]);
    }),
    { numRuns: 500 },
  );
});

test('any bytes are a head, an unfinished head or malformed', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string({ unit: fc.constantFrom(...'\r\n: \tA1/\0'), maxLength: 60 }),
        fc.tuple(soundHead, fc.nat(), fc.nat(255)).map(([text, at, byte]) => {
          const place = at % text.length;
          return text.slice(0, place) + String.fromCharCode(byte) + text.slice(place + 1);
        }),
      ),
      (text) => {
        const { end, reader } = readHead(text);
        assert.ok(end === HEAD_INCOMPLETE || end === HEAD_MALFORMED || (end > 0 && end <= text.length));
        assert.equal(end === HEAD_MALFORMED, reader.problem !== '');
      },
    ),
    { numRuns: 3_000 },
  );
});

test('hostile heads take linear time', () => {
  const many = 60_000;
  const hostile: Record<string, string> = {
    'blanks in a value': `X: a${' '.repeat(many)}b`,
    'blanks before a value': `X:${' '.repeat(many)}b`,
    'blanks behind a value': `X: b${'\t'.repeat(many)}`,
    'a value of blanks': `X:${' '.repeat(many)}`,
    'commas in Connection': `Connection: ${','.repeat(many)}`,
    'blanks in Connection': `Connection: a${' '.repeat(many)}b`,
    'blanks in TE': `TE: a${' '.repeat(many)}b`,
    'commas and blanks in TE': `TE: ${', '.repeat(many / 2)}`,
    'digits of a length': `Content-Length: ${'9'.repeat(many)}`,
    'zeros of a length': `Content-Length:  ${'0'.repeat(many)}`,
    'a long name': `${'x'.repeat(many)}: y`,
    'short lines': 'X:y\r\n'.repeat(many / 5).slice(0, -2),
    'lines to be left out': 'x_:y\r\nX:y\r\n'.repeat(many / 11).slice(0, -2),
    'forwarded addresses': 'X-Forwarded-For: a\r\n'.repeat(many / 20).slice(0, -2),
    'named fields': `Connection: ${Array.from({ length: many / 6 }, (_, i) => `a${i}`).join(',')}`,
  };
  for (const [name, lines] of Object.entries(hostile))
    assertQuick(name, `GET / HTTP/1.1\r\n${lines}\r\n\r\n`);
  assertQuick('spaces before a target', `GET ${' '.repeat(many)}/ HTTP/1.1\r\n\r\n`);
  assertQuick('spaces behind a target', `GET /${' '.repeat(many)}HTTP/1.1\r\n\r\n`);
});

/** For tens of thousands of bytes, quadratic time is seconds; linear time is below 100 ms even on a busy machine. */
function assertQuick(name: string, text: string): void {
  let leastMs = Number.POSITIVE_INFINITY;
  for (let tries = 0; tries < 3; tries++) {
    const before = process.cpuUsage();
    assert.equal(readHead(text, { targetBytes: 1 << 20, headerBytes: 1 << 20 }).end, text.length, name);
    const { user, system } = process.cpuUsage(before);
    leastMs = Math.min(leastMs, (user + system) / 1000);
  }
  assert.ok(leastMs < 300, `${name}: ${leastMs} ms`);
}
