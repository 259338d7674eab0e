import assert from 'node:assert/strict';
import { test } from 'node:test';
import { frameAnswer, headText } from '../../src/http1/answer-head.ts';
import { headOf } from './read-head.ts';

const ANSWER = { reason: 'R', lines: 'X: y\r\n', closing: false };
const request = (method: string, version = '1.1') => headOf(`${method} / HTTP/${version}\r\nHost: a\r\n\r\n`);

test('an answer that could have a body but has none says Content-Length: 0', () => {
  for (const [method, status, told] of [
    ['GET', 200, true],
    ['GET', 404, true],
    ['POST', 205, true],
    ['HEAD', 200, false],
    ['GET', 204, false],
    ['GET', 304, false],
  ] as const) {
    const framed = frameAnswer(
      { ...ANSWER, status, hasBody: false, contentLength: -1 },
      request(method),
      false,
    );
    assert.equal(framed.lines, told ? 'X: y\r\nContent-Length: 0\r\n' : 'X: y\r\n', `${method} ${status}`);
    assert.deepEqual([framed.chunked, framed.closing, framed.closeDelimited], [false, false, false]);
  }
});

test('a known length is sent even when no body follows', () => {
  for (const [method, status] of [
    ['HEAD', 200],
    ['GET', 304],
  ] as const) {
    const framed = frameAnswer(
      { ...ANSWER, status, hasBody: false, contentLength: 7 },
      request(method),
      false,
    );
    assert.equal(framed.lines, 'X: y\r\nContent-Length: 7\r\n');
  }
});

test('a body of unknown length is chunked, and for HTTP/1.0 it ends with the connection', () => {
  const answer = { ...ANSWER, status: 200, hasBody: true, contentLength: -1 };
  const chunked = frameAnswer(answer, request('GET'), false);
  assert.deepEqual([chunked.chunked, chunked.closing, chunked.closeDelimited], [true, false, false]);
  assert.equal(headText(chunked), 'HTTP/1.1 200 R\r\nX: y\r\nTransfer-Encoding: chunked\r\n\r\n');
  const until = frameAnswer(answer, request('GET', '1.0'), false);
  assert.deepEqual([until.chunked, until.closing, until.closeDelimited], [false, true, true]);
  assert.equal(headText(until), 'HTTP/1.1 200 R\r\nX: y\r\nConnection: close\r\n\r\n');
});
