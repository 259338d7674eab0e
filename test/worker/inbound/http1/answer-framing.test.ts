import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ResponseStart } from '../../../../src/contract/downstream.ts';
import { ClientRequest } from '../../../../src/worker/inbound/http1/client-request.ts';
import { headOf } from '../../../http1/read-head.ts';
import { MemoryWire } from '../../../support/memory-wire.ts';

const ANSWER = { reason: 'R', lines: 'X: y\r\n', closing: false };

/** Answers a request. `byReset`: how the answer is cut; only that tells an answer that ends with its connection from no answer. */
function framed(
  method: string,
  answer: Pick<ResponseStart, 'status' | 'hasBody' | 'contentLength'>,
  version = '1.1',
): { head: string; closing: boolean; byReset: boolean } {
  const wire = new MemoryWire();
  let byReset = false;
  const owner = {
    client: { address: '', scheme: 'http' as const, certSubject: null, acceptedMs: 0, ends: {} },
    wire,
    body: null,
    restBytes: 0,
    mustClose: () => false,
    advancePending: () => undefined,
    switchTo: () => assert.fail('no tunnel here'),
    onBlocked: () => undefined,
    onSent: () => undefined,
    cut: (options: { byReset: boolean }) => {
      byReset = options.byReset;
    },
  };
  const request = new ClientRequest(headOf(`${method} / HTTP/${version}\r\nHost: a\r\n\r\n`), owner);
  request.start({ ...ANSWER, ...answer });
  request.flushHead();
  request.abort();
  return { head: wire.text, closing: request.closing, byReset };
}

test('an answer that could have a body but has none says Content-Length: 0', () => {
  for (const [method, status, told] of [
    ['GET', 200, true],
    ['GET', 404, true],
    ['POST', 205, true],
    ['HEAD', 200, false],
    ['GET', 204, false],
    ['GET', 304, false],
  ] as const) {
    const lines = told ? 'X: y\r\nContent-Length: 0\r\n' : 'X: y\r\n';
    assert.deepEqual(
      framed(method, { status, hasBody: false, contentLength: -1 }),
      { head: `HTTP/1.1 ${status} R\r\n${lines}\r\n`, closing: false, byReset: false },
      `${method} ${status}`,
    );
  }
});

test('a known length is sent even when no body follows', () => {
  for (const [method, status] of [
    ['HEAD', 200],
    ['GET', 304],
  ] as const) {
    const { head } = framed(method, { status, hasBody: false, contentLength: 7 });
    assert.equal(head, `HTTP/1.1 ${status} R\r\nX: y\r\nContent-Length: 7\r\n\r\n`);
  }
});

test('a body of unknown length is chunked, and for HTTP/1.0 it ends with the connection', () => {
  const answer = { status: 200, hasBody: true, contentLength: -1 };
  assert.deepEqual(framed('GET', answer), {
    head: 'HTTP/1.1 200 R\r\nX: y\r\nTransfer-Encoding: chunked\r\n\r\n',
    closing: false,
    byReset: false,
  });
  assert.deepEqual(framed('GET', answer, '1.0'), {
    head: 'HTTP/1.1 200 R\r\nX: y\r\nConnection: close\r\n\r\n',
    closing: true,
    byReset: true,
  });
});
