import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as names from '../../src/http1/header-names.ts';

test('names are classified in any case, also the second time', () => {
  const expected: [string, number][] = [
    ['Accept', names.PLAIN],
    ['Connection', names.CONNECTION],
    ['keep-ALIVE', names.KEEP_ALIVE],
    ['Proxy-Connection', names.PROXY_CONNECTION],
    ['Proxy-Authorization', names.HOP_BY_HOP],
    ['HTTP2-Settings', names.HOP_BY_HOP],
    ['hOST', names.HOST],
    ['Content-Length', names.CONTENT_LENGTH],
    ['Content_Length', names.UNDERSCORE],
    ['X_Forwarded_For', names.UNDERSCORE],
    ['TRANSFER-ENCODING', names.TRANSFER_ENCODING],
    ['TE', names.TE],
    ['Trailer', names.TRAILER],
    ['Upgrade', names.UPGRADE],
    ['Expect', names.EXPECT],
    ['X-Forwarded-For', names.X_FORWARDED_FOR],
    ['X-Forwarded-Proto', names.X_FORWARDED_PROTO],
    ['X-Forwarded-Host', names.X_FORWARDED_HOST],
    ['X-Forwarded-Prefix', names.FORWARDED_OTHER],
    ['Forwarded', names.FORWARDED_OTHER],
    ['X-Real-IP', names.FORWARDED_OTHER],
    ['X-Request-ID', names.X_REQUEST_ID],
    ['Traceparent', names.TRACEPARENT],
    ['tracestate', names.TRACESTATE],
    ['Via', names.VIA],
    ['Date', names.DATE],
    ['__proto__', names.UNDERSCORE],
    ['constructor', names.PLAIN],
  ];
  for (let round = 0; round < 2; round++) {
    for (const [name, wanted] of expected) assert.equal(names.classOf(name), wanted, name);
  }
});

test('a name that is no token is invalid', () => {
  for (const name of [
    '',
    ' ',
    'a b',
    'a ',
    ' a',
    'a:',
    'a\r',
    'a\n',
    'a\0',
    'a\x7f',
    '\xe9',
    'a"',
    'a(',
    'a/b',
    'a@b',
  ]) {
    assert.equal(names.classOf(name), names.INVALID, JSON.stringify(name));
  }
  for (const name of ["!#$%&'*+-.^`|~09AZaz"]) assert.equal(names.classOf(name), names.PLAIN);
});

test('B24: a Connection token removes a field unless its name is protected', () => {
  for (const name of [
    'authorization',
    'cookie',
    'set-cookie',
    'host',
    'content-length',
    'transfer-encoding',
    'x-forwarded-for',
    'x-forwarded-anything',
    'x-real-ip',
    'forwarded',
    'x-request-id',
    'via',
    'traceparent',
    'tracestate',
    'date',
    'cache-control',
    'ratelimit',
    'ratelimit-policy',
    'retry-after',
  ]) {
    assert.equal(names.isProtected(name), true, name);
  }
  for (const name of ['x-hop', 'keep-alive', 'upgrade', 'te', 'trailer', 'proxy-authorization', 'accept']) {
    assert.equal(names.isProtected(name), false, name);
  }
  assert.deepEqual(names.connectionTokens(' Close , X-Hop,, a b,\tTE'), ['close', 'x-hop', 'te']);
});

test('metadata of gRPC is any name but those of framing, routing and connections', () => {
  for (const name of ['error_code', 'x-request-id', 'date', 'content-type', 'set-cookie', 'user-agent']) {
    assert.equal(names.isMetadata(name), true, name);
  }
  for (const name of [
    'content-length',
    'trailer',
    'te',
    'host',
    'connection',
    'proxy-connection',
    'upgrade',
  ]) {
    assert.equal(names.isMetadata(name), false, name);
  }
});

test('trailers pass, except for framing, routing and authentication names', () => {
  for (const name of ['X-Checksum', 'grpc-status', 'Server-Timing', 'ETag']) {
    assert.equal(names.isTrailerAllowed(name), true, name);
  }
  for (const name of [
    'Content-Length',
    'Transfer-Encoding',
    'Trailer',
    'TE',
    'Connection',
    'Keep-Alive',
    'Upgrade',
    'Host',
    'Authorization',
    'Proxy-Authorization',
    'WWW-Authenticate',
    'Cookie',
    'Set-Cookie',
    'X-Forwarded-For',
    'Forwarded',
    'X-Request-Id',
    'Content-Type',
    'Cache-Control',
    'Expect',
    'X_Under',
    'no token',
  ]) {
    assert.equal(names.isTrailerAllowed(name), false, name);
  }
});
