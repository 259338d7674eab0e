import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { requestProblem } from '../../src/http2/field-rules.ts';
import { block, type Fields, request } from '../support/h2-frames.ts';
import { Agreement } from './agreement.ts';

const withoutField = (name: string) => request().filter(([field]) => field !== name);
const connectTo = (authority: string): Fields => [
  [':method', 'CONNECT'],
  [':authority', authority],
];
const webSocket: Fields = [[':protocol', 'websocket'], ...request([], { method: 'CONNECT' })];
const withScheme = (scheme: string, path: string): Fields => [
  [':method', 'GET'],
  [':scheme', scheme],
  [':authority', 'a'],
  [':path', path],
];

const MALFORMED: Record<string, Fields> = {
  nothing: [],
  'a field connection': request([['connection', 'close']]),
  'a field keep-alive': request([['keep-alive', 'x']]),
  'a field proxy-connection': request([['proxy-connection', 'x']]),
  'a field transfer-encoding': request([['transfer-encoding', 'chunked']]),
  'a field upgrade': request([['upgrade', 'x']]),
  'te with more than trailers': request([['te', 'trailers, gzip']]),
  'a pseudo-header field after others': [...withoutField(':path'), ['x', '1'], [':path', '/']],
  'a pseudo-header field twice': [...request(), [':path', '/']],
  'an unknown pseudo-header field': [[':foo', '1'], ...request()],
  'a :status': [[':status', '200'], ...request()],
  'no :method': withoutField(':method'),
  'no :scheme': withoutField(':scheme'),
  'no :path': withoutField(':path'),
  'neither :authority nor host': withoutField(':authority'),
  'two host fields': request([
    ['host', 'a'],
    ['host', 'a'],
  ]),
  'an empty host': [...withoutField(':authority'), ['host', '']],
  'an empty :method': request([], { method: '' }),
  'an empty :path': request([], { path: '' }),
  'an empty :authority': request([], { authority: '' }),
  'a :path without a slash': request([], { path: 'foo' }),
  'a :path in absolute form': request([], { path: 'http://x/' }),
  'a :path * with GET': request([], { path: '*' }),
  'a :path that begins with *': request([], { path: '*a', method: 'OPTIONS' }),
  'a :path with a blank': request([], { path: '/a b' }),
  'a :path with a tab': request([], { path: '/a\tb' }),
  'a :method with a blank': request([], { method: 'GET /' }),
  'a :method with a slash': request([], { method: 'A/B' }),
  'a :scheme with a blank': withScheme('ht tp', '/'),
  'a :scheme that begins with a digit': withScheme('1a', '/'),
  'a plain CONNECT with :scheme and :path': request([], { method: 'CONNECT' }),
  'a plain CONNECT without :authority': [
    [':method', 'CONNECT'],
    ['host', 'a'],
  ],
  'a :protocol without CONNECT': [[':protocol', 'websocket'], ...request()],
  'a :protocol without :path': webSocket.filter(([name]) => name !== ':path'),
  'a :protocol with host in place of :authority': [
    ...webSocket.filter(([name]) => name !== ':authority'),
    ['host', 'a'],
  ],
  'an :authority with a user': request([], { authority: 'u@a' }),
  'an :authority with a path': request([], { authority: 'a/b' }),
  'an :authority with a query': request([], { authority: 'a?b' }),
  'two content-lengths': request([
    ['content-length', '5'],
    ['content-length', '5'],
  ]),
  'a content-length with a letter': request([['content-length', '5x']]),
  'a content-length with a sign': request([['content-length', '+5']]),
  'a content-length that is a list': request([['content-length', '5, 5']]),
  'an empty content-length': request([['content-length', '']]),
};

const GOOD: Record<string, Fields> = {
  'four pseudo-header fields in any order': [...request()].reverse(),
  'host beside :authority': request([['host', 'b']]),
  'host alone': [...withoutField(':authority'), ['host', 'b']],
  'te: trailers': request([['te', 'Trailers']]),
  'OPTIONS *': request([], { method: 'OPTIONS', path: '*' }),
  'an unknown method': request([], { method: 'foo' }),
  'a :path with bytes above ASCII': request([], { path: '/a\xff#"' }),
  'another scheme with any path': withScheme('x+1-.', 'foo'),
  CONNECT: connectTo('a:80'),
  'extended CONNECT': webSocket,
  'a content-length of 0': request([['content-length', '000']]),
  'an IPv6 address': request([], { authority: '[::1]:80' }),
  'all bytes of an authority': request([], { authority: "-!$%&'()*+,.:;=~_09azAZ[]" }),
};

test('malformed requests are refused, and by nghttp2 too', async (t) => {
  const agreement = new Agreement();
  t.after(() => agreement.close());
  for (const [name, fields] of Object.entries(MALFORMED)) {
    assert.notEqual(requestProblem(fields.flat(), false), null, name);
    assert.equal(await agreement.judge(block(fields), false), 'malformed', name);
  }
});

test('requests that are not malformed pass, and pass nghttp2 too', async (t) => {
  const agreement = new Agreement();
  t.after(() => agreement.close());
  for (const [name, fields] of Object.entries(GOOD)) {
    assert.equal(requestProblem(fields.flat(), true), null, name);
    assert.equal(await agreement.judge(block(fields), true), 'accepted', name);
  }
});

test('a content-length needs a body, but for 0 and CONNECT', async (t) => {
  const agreement = new Agreement();
  t.after(() => agreement.close());
  const more: Fields = [['content-length', '5']];
  for (const [fields, outcome] of [
    [request(more), 'malformed'],
    [[...webSocket, ...more], 'malformed'],
    [[...connectTo('a:80'), ...more], 'accepted'],
    [request([['content-length', '0']]), 'accepted'],
  ] as const) {
    assert.equal(await agreement.judge(block(fields), true), outcome);
    assert.equal(await agreement.judge(block(fields), false), 'accepted');
  }
});

test('a host or a content-length that nobody can use makes a request malformed, which nghttp2 drops or takes', () => {
  assert.notEqual(requestProblem(request([['host', 'u@a']]).flat(), false), null);
  assert.notEqual(requestProblem(request([['content-length', String(2 ** 53)]]).flat(), false), null);
  assert.equal(requestProblem(request([['content-length', String(2 ** 53 - 1)]]).flat(), false), null);
});

const WORDS = [
  '',
  ' ',
  'a',
  'a b',
  '/',
  '*',
  '/a?b',
  'GET',
  'OPTIONS',
  'CONNECT',
  'http',
  'https',
  'ftp',
  'u@a',
  'a:80',
  '[::1]',
  '\xff',
  '"',
];
const NAMES = [
  ':method',
  ':scheme',
  ':authority',
  ':path',
  ':protocol',
  ':status',
  ':x',
  'host',
  'te',
  'upgrade',
  'connection',
  'keep-alive',
];
const PLAIN_NAMES = [
  'content-length',
  'x',
  'X',
  '',
  'cookie',
  'proxy-connection',
  'transfer-encoding',
  'priority',
  'a b',
];
const word = fc.oneof(
  fc.constantFrom(...WORDS, 'trailers', '5', '0', '-1'),
  fc.string({ unit: 'binary-ascii', maxLength: 3 }),
);
const odd = fc.tuple(fc.constantFrom(...NAMES, ...PLAIN_NAMES), word);
/** Good requests with up to two changes. */
const edited = fc
  .tuple(
    fc.constantFrom(...Object.values(GOOD)),
    fc.array(fc.tuple(fc.nat(), odd, fc.constantFrom(0, 1)), { maxLength: 2 }),
  )
  .map(([fields, edits]) =>
    edits.reduce(
      (all, [at, field, removed]) => all.toSpliced(at % (all.length + 1), removed, field),
      [...fields],
    ),
  );

test('of made-up requests nghttp2 accepts and refuses the same', async (t) => {
  const agreement = new Agreement();
  t.after(() => agreement.close());
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(edited, edited, fc.array(odd, { maxLength: 6 })),
      fc.boolean(),
      async (fields, ends) => {
        await agreement.judge(block(fields), ends);
      },
    ),
    { numRuns: 4_000 },
  );
  const { accepted, malformed, stricter } = agreement.counts;
  for (const count of [accepted, malformed, 10 * stricter])
    assert.ok(count > 100, JSON.stringify(agreement.counts));
});
