/** What a backend gets of a request, and which bodies are kept or gathered first, without a proxy around it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Backend } from '../../../src/balance/backend.ts';
import { CHUNKED_BODY, NO_BODY, RequestHead } from '../../../src/contract/request-head.ts';
import type { KnownAddress } from '../../../src/limit/caller/identity.ts';
import { AccessRecord } from '../../../src/proxy/access-record.ts';
import { Admission } from '../../../src/proxy/admission.ts';
import { backendRequestOf } from '../../../src/proxy/backend-request.ts';
import { RequestIds } from '../../../src/proxy/request-id.ts';
import { traceOf } from '../../../src/proxy/trace.ts';
import { retrySettings } from '../../support/settings.ts';

const LIMITS = { targetBytes: 100, headerBytes: 1_000, headerCount: 10 };
const PEER: KnownAddress = {
  address: '192.0.2.1',
  grouped: '192.0.2.1',
  isTrusted: false,
  caller: null,
  generation: 0,
  keyed: null,
};
const CLIENT = { address: '::1', scheme: 'http', certSubject: 'CN=a', acceptedMs: 0, ends: {} } as const;

interface Scene {
  head?: Partial<RequestHead>;
  isHere?: boolean;
  isBusy?: boolean;
  mayGiveBack?: boolean;
  nonIdempotent?: boolean;
}

function requestOf({ head, isHere, isBusy, mayGiveBack, nonIdempotent }: Scene) {
  const settings = { id: 'a', host: '127.0.0.1', port: 1, tls: false, weight: 1, backup: false };
  const backend = new Backend(settings, 'up');
  backend.limit = 2;
  if (isBusy) backend.enter();
  const plain = { method: 'GET', target: '/', host: 'a', hostCount: 1 };
  const admission = new Admission(Object.assign(new RequestHead(), plain, head), PEER, 'http');
  assert.equal(admission.guard(LIMITS), null);
  const pool = {
    byBackend: new Map([[backend, null as never]]),
    mayGiveBack: mayGiveBack ?? false,
    retry: retrySettings({ nonIdempotent: nonIdempotent ?? false }),
  };
  const record = new AccessRecord(CLIENT.address, admission.head.method);
  record.requestId = 'id';
  const downstream = { client: CLIENT, bodyIsHere: isHere ?? false };
  const trace = traceOf(admission, new RequestIds(), null);
  return { request: backendRequestOf(admission, pool, downstream, record, trace), record };
}

function fateOf(method: string, bodyLength: number, more: Scene = {}): 'not kept' | 'kept' | 'gathered' {
  const { kept } = requestOf({ head: { method, bodyLength }, ...more }).request;
  if (kept == null) return 'not kept';
  return kept.waits ? 'gathered' : 'kept';
}

test('a body is gathered first where it has a length and has not come, and every backend is busy', () => {
  for (const method of ['POST', 'PUT']) {
    assert.equal(fateOf(method, 5, { isBusy: true }), 'gathered');
    for (const length of [NO_BODY, 0]) assert.equal(fateOf(method, length, { isBusy: true }), 'not kept');
  }
  assert.equal(fateOf('POST', 5), 'not kept');
  assert.equal(fateOf('POST', 5, { isBusy: true, isHere: true }), 'not kept');
  assert.equal(fateOf('POST', CHUNKED_BODY, { isBusy: true }), 'not kept');
  assert.equal(fateOf('PUT', CHUNKED_BODY, { isBusy: true }), 'kept');
});

test('B8: a body is kept where the method, the pool or HTTP/2 allows to send the request again', () => {
  for (const length of [5, CHUNKED_BODY]) {
    assert.equal(fateOf('PUT', length), 'kept');
    assert.equal(fateOf('POST', length), 'not kept');
    assert.equal(fateOf('POST', length, { nonIdempotent: true }), 'kept');
    assert.equal(fateOf('POST', length, { mayGiveBack: true }), 'kept');
  }
  assert.equal(fateOf('PUT', NO_BODY, { mayGiveBack: true, nonIdempotent: true }), 'not kept');
});

test('the backend and the access line are told the same ids; a call of gRPC is marked', () => {
  const { request, record } = requestOf({ head: { lines: 'a: b\r\n' } });
  const { method, target, bodyLength, upgrade, headerLines } = request;
  assert.deepEqual([method, target, bodyLength, upgrade], ['GET', '/', NO_BODY, '']);
  assert.match(headerLines, /^Host: a\r\na: b\r\nX-Forwarded-For: 192\.0\.2\.1\r\n/);
  assert.match(headerLines, /\r\nX-Request-Id: id\r\n.*\r\nX-Client-Cert-Subject: CN=a\r\n$/s);
  assert.match(headerLines, new RegExp(`\r\ntraceparent: 00-${record.traceId}-[0-9a-f]{16}-01\r\n`));
  const call = { method: 'POST', httpVersion: 20, lines: 'content-type: application/grpc\r\n' };
  assert.deepEqual([request.isGrpc, requestOf({ head: call }).request.isGrpc], [false, true]);
});
