/** Single heads of requests; properties of all heads are in request-head-reader-properties.test.ts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CHUNKED_BODY, NO_BODY } from '../../src/contract/request-head.ts';
import { HEAD_MALFORMED } from '../../src/http1/head-reader.ts';
import { RequestHeadReader } from '../../src/http1/request-head-reader.ts';
import { assertStatus, headOf, LIMITS, readHead, withFields } from './read-head.ts';

test('a request line has three words with any number of spaces between them', () => {
  for (const line of ['GET /a?b HTTP/1.1', 'GET   /a?b HTTP/1.1', 'GET /a?b   HTTP/1.1']) {
    const { method, target, httpVersion } = headOf(`${line}\r\n\r\n`);
    assert.deepEqual([method, target, httpVersion], ['GET', '/a?b', 11]);
  }
  for (const target of ['*', 'http://a/b', '//x', '/a#b', 'a:80', '/\xe9', '"'])
    assert.equal(headOf(`OPTIONS ${target} HTTP/1.0\r\n\r\n`).target, target);
  for (const line of ['GET', 'GET ', ' GET / HTTP/1.1', 'GET\t/ HTTP/1.1', '', ' '])
    assertStatus(`${line}\r\n\r\n`, 400);
  for (const line of ['GET / HTTP/1.1 ', 'GET / HTTP/1.1 x', 'GET /a b HTTP/1.1', 'GET / HTTP/1.1\t'])
    assertStatus(`${line}\r\n\r\n`, 400);
});

test('HTTP/1.0 and HTTP/1.1 are accepted; other versions get 505, malformed ones 400', () => {
  assert.equal(headOf('GET / HTTP/1.0\r\n\r\n').httpVersion, 10);
  for (const version of [' HTTP/0.9', ' HTTP/1.2', ' HTTP/2.0', ' HTTP/3.0', ' HTTP/9.9', ''])
    assertStatus(`GET /${version}\r\n\r\n`, 505);
  for (const version of ['http/1.1', 'HTTP/1', 'HTTP/11', 'HTTP/1.10', 'HTTP/01.1', 'HTTP/1,1', 'RTSP/1.0'])
    assertStatus(`GET / ${version}\r\n\r\n`, 400);
  for (const version of ['HTTP/a.1', 'HTTP/1.a', 'HTTP/:.1', 'HTTP/1./', 'HTTP/-.1', 'ICE/1.0'])
    assertStatus(`GET / ${version}\r\n\r\n`, 400);
});

test('CONNECT gets 501, and unknown methods are refused', () => {
  assertStatus('CONNECT a:443 HTTP/1.1\r\n\r\n', 501);
  assertStatus('CONNECT a:443 HTTP/2.0\r\n\r\n', 505);
  for (const method of ['get', 'FOO', 'GETS', 'GE', 'G\xe9T', '__proto__', 'constructor'])
    assertStatus(`${method} / HTTP/1.1\r\n\r\n`, 400);
  for (const method of ['GET', 'POST', 'PUT', 'M-SEARCH', 'QUERY', 'TRACE', 'PURGE'])
    assertStatus(`${method} / HTTP/1.1\r\n\r\n`, 0);
});

test('control bytes are refused everywhere; HTAB and obs-text are allowed in values', () => {
  for (let byte = 0; byte < 256; byte++) {
    const character = String.fromCharCode(byte);
    const isControl = (byte < 32 && byte !== 9) || byte === 127;
    assertStatus(`GET / HTTP/1.1\r\nX: a${character}b\r\n\r\n`, isControl ? 400 : 0);
    const isToken = /[!#$%&'*+\-.^_`|~0-9A-Za-z]/.test(character);
    // The first colon ends the name, the rest is the value.
    assertStatus(`GET / HTTP/1.1\r\nX${character}Y: a\r\n\r\n`, isToken || character === ':' ? 0 : 400);
    // The request guard refuses a HTAB in a target, like every other byte that is not visible ASCII.
    if (isControl) assertStatus(`GET /${character}a HTTP/1.1\r\n\r\n`, 400);
  }
});

test('lines must end with CRLF, must not fold, and have no space before the colon', () => {
  for (const lines of ['X: a\n\r\n', 'X: a\r\r\n\r\n', 'X: a\rY: b\r\n\r\n', 'X: a\r\n\nX', 'X: a\r\n\rX'])
    assertStatus(`GET / HTTP/1.1\r\n${lines}`, 400);
  for (const line of [
    ' X: a',
    '\tX: a',
    'X : a',
    'X\t: a',
    ': a',
    'X',
    'X: a\r\n b',
    'X:\r\n\tb',
    ' ',
    'X Y: a',
  ])
    assertStatus(`GET / HTTP/1.1\r\nHost: a\r\n${line}\r\n\r\n`, 400);
  assertStatus('GET / HTTP/1.1\nHost: a\r\n\r\n', 400);
  // The connection skips empty lines before a head.
  assertStatus('\r\nGET / HTTP/1.1\r\n\r\n', 400);
});

test('Host fields are counted and not among the lines to forward', () => {
  const head = withFields('Host: a', 'hOsT:\tb ', 'X: c');
  assert.deepEqual([head.hostCount, head.host, head.lines, head.lineCount], [2, 'b', 'X: c\r\n', 3]);
  assert.equal(withFields('X: y').hostCount, 0);
  assert.deepEqual([withFields('Host:').hostCount, withFields('Host:').host], [1, '']);
});

test('Content-Length must be digits up to 2^53 - 1, once', () => {
  const lengthOf = (...values: string[]) => {
    const head = withFields(...values.map((value) => `Content-Length:${value}`));
    return head.hasBadFraming ? null : head.bodyLength;
  };
  for (const blank of [' ', '', '  ', '\t']) {
    assert.equal(lengthOf(`${blank}0`), 0);
    assert.equal(lengthOf(`${blank}00000000000000002`), 2, '17 digits with leading zeros');
    assert.equal(lengthOf(`${blank}9007199254740991`), Number.MAX_SAFE_INTEGER);
    for (const value of ['9007199254740992', '9007199254740993', '18446744073709551617', '1'.repeat(400)])
      assert.equal(lengthOf(blank + value), null, value);
    for (const value of ['', '+1', '-1', '1,1', '1, 1', '0x1', '1.0', '1e3', '1 1', '\xb2', '1_0'])
      assert.equal(lengthOf(blank + value), null, value);
  }
  assert.equal(lengthOf(' 1', ' 1'), null);
  assert.equal(lengthOf(' 1', ' x'), null);
  assert.equal(lengthOf(' x', ' 1'), null);
  assert.equal(withFields('X: y').bodyLength, NO_BODY);
  assert.equal(withFields('Content-Length: 0').hasBody, false);
});

test('Transfer-Encoding must be chunked alone, in HTTP/1.1 and without a length', () => {
  for (const value of ['chunked', 'CHUNKED', ' chunked ']) {
    const head = withFields(`Transfer-Encoding:${value}`);
    assert.deepEqual([head.hasBadFraming, head.bodyLength, head.lines], [false, CHUNKED_BODY, '']);
  }
  for (const value of ['', 'gzip', 'gzip, chunked', 'chunked, chunked', 'chunked,', 'xchunked', 'identity'])
    assert.equal(withFields(`Transfer-Encoding: ${value}`).hasBadFraming, true, value);
  const coding = 'Transfer-Encoding: chunked';
  assert.equal(withFields(coding, coding).hasBadFraming, true);
  assert.equal(withFields(coding, 'Content-Length: 1').hasBadFraming, true);
  assert.equal(withFields('Content-Length: 0', coding).hasBadFraming, true);
  assert.equal(headOf(`GET / HTTP/1.0\r\n${coding}\r\n\r\n`).hasBadFraming, true);
  // Names with an underscore have no effect on framing.
  assert.equal(withFields('Content_Length: 1', 'Transfer_Encoding: x').hasBody, false);
});

test('Connection tokens, in any case and in lists, set persistence and the fields to remove', () => {
  const tokens = (...values: string[]) => withFields(...values.map((value) => `Connection: ${value}`));
  for (const value of ['close', 'Close', 'x, CLOSE', ',close,', 'close\t,x'])
    assert.equal(tokens(value).closes, true, value);
  for (const value of ['closed', 'clo se', '"close"', '', ',', 'x-close', 'close;a'])
    assert.equal(tokens(value).closes, false, value);
  const both = tokens('keep-alive', 'close');
  assert.deepEqual([both.keepsAlive, both.closes, both.persistent], [true, true, false]);
  const old = (line: string) => headOf(`GET / HTTP/1.0\r\n${line}\r\n`).persistent;
  assert.deepEqual([old(''), old('Connection: Keep-Alive\r\n')], [false, true]);
  for (const name of ['Host', 'content-length', 'X-A, Transfer-Encoding'])
    assert.equal(tokens(name).namesFraming, true, name);
  assert.deepEqual([...(tokens('X-A, x-b', 'X-C').named ?? [])], ['x-a', 'x-b', 'x-c']);
  for (const name of ['Authorization', 'cookie', 'X-Forwarded-For', 'Via', 'x_a', 'x y', '', 'upgrade'])
    assert.equal(tokens(name).named, null, name);
  assert.equal(withFields('Proxy-Connection: Close').closes, true);
});

test('Expect, TE and Upgrade are parsed and not among the lines to forward', () => {
  const expected = withFields('Expect: 100-Continue');
  assert.deepEqual([expected.expectsContinue, expected.hasUnknownExpectation], [true, false]);
  for (const value of ['200-ok', '', '100-continue, x'])
    assert.equal(withFields(`Expect: ${value}`).hasUnknownExpectation, true, value);
  assert.equal(headOf('GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n').expectsContinue, false);
  for (const [value, wants] of [
    ['trailers', true],
    ['deflate;q=0.5, Trailers', true],
    ['trailers;q=1', true],
    ['xtrailers', false],
    ['trailersx', false],
    ['', false],
  ] as const)
    assert.equal(withFields(`TE: ${value}`).wantsTrailers, wants, value);
  const head = withFields(
    'TE: trailers',
    'Upgrade: h2c',
    'Expect: 100-continue',
    'HTTP2-Settings: A',
    'X: y',
  );
  assert.deepEqual([head.wantsUpgrade, head.lines], [true, 'X: y\r\n']);
});

test('forwarding and tracing fields are kept apart from the lines to forward', () => {
  const head = withFields(
    'X-Forwarded-For: 1.1.1.1',
    'x-forwarded-for:  2.2.2.2, 3.3.3.3 ',
    'X-Forwarded-Proto:',
    'X-Forwarded-Proto: https',
    'X-Forwarded-Proto: http',
    'X-Forwarded-Host: a',
    'X-Forwarded-Port: 443',
    'Forwarded: for=x',
    'X-Real-IP: 1.1.1.1',
    'X-Request-Id: not one',
    'X-Request-Id: a.b-c_d',
    'X-Request-Id: later',
    'traceparent: a',
    'Traceparent: b',
    'tracestate: x=1',
    'tracestate: y=2',
    'User-Agent: me',
    'X: y',
  );
  assert.equal(head.lines, 'User-Agent: me\r\nX: y\r\n');
  assert.equal(head.forwardedFor, '1.1.1.1, 2.2.2.2, 3.3.3.3');
  assert.deepEqual([head.forwardedProto, head.forwardedHost], ['https', 'a']);
  assert.equal(head.forwardedLines, 'X-Forwarded-Port: 443\r\nForwarded: for=x\r\n');
  assert.deepEqual([head.requestId, head.traceparentCount, head.traceparent], ['a.b-c_d', 2, 'b']);
  assert.equal(head.tracestateLines, 'tracestate: x=1\r\ntracestate: y=2\r\n');
  assert.deepEqual([head.userAgent, head.lineCount], ['me', 18]);
});

test('names with an underscore are dropped, blanks around values normalized, all else passes byte for byte', () => {
  const head = withFields(
    'A:b',
    'C_D: e',
    'E:  f\t',
    'G:',
    'H: ',
    'I: j  k',
    "!#$%&'*+-.^`|~9: \xe9",
    'Keep-Alive: 1',
  );
  assert.equal(head.lines, "A: b\r\nE: f\r\nG: \r\nH: \r\nI: j  k\r\n!#$%&'*+-.^`|~9: \xe9\r\n");
  assert.equal(head.lineCount, 8);
  assert.equal(withFields('X: y').headerBytes, 'X: y\r\n'.length);
  assert.equal(headOf('GET / HTTP/1.1\r\n\r\n').headerBytes, 0);
});

test('a head at an offset, longer than what is decoded first, is read correctly', () => {
  const reader = new RequestHeadReader();
  const first = 'GET /first HTTP/1.1\r\nX: 1\r\n\r\n';
  const long = `GET /long HTTP/1.1\r\nHost: a\r\nX: ${'x'.repeat(19_000)}\r\nY:  z\r\n\r\n`;
  const last = 'GET /last HTTP/1.1\r\nX: 3\r\n\r\n';
  const buffer = Buffer.from(first + long + last, 'latin1');
  let at = 0;
  for (const [text, lines] of [
    [first, 'X: 1\r\n'],
    [long, `X: ${'x'.repeat(19_000)}\r\nY: z\r\n`],
    [last, 'X: 3\r\n'],
  ] as const) {
    at += text.length;
    assert.equal(reader.read(buffer, at - text.length, buffer.length, LIMITS), at);
    assert.equal(reader.head.lines, lines);
  }
  // Bytes beyond the limits are not read.
  const low = readHead(long, { targetBytes: 0, headerBytes: 19_000 - 1_024 - 2 });
  assert.deepEqual([low.end, low.reader.problemStatus], [HEAD_MALFORMED, 431]);
  // After forget the same memory may be reused.
  reader.forget();
  buffer.write('GET /other', 0, 'latin1');
  assert.equal(reader.read(buffer, 0, first.length, LIMITS), first.length);
  assert.equal(reader.head.target, '/other');
});
