/** Malformed frames and fields through the whole proxy. The codes that frames get are in test/http2/session-hostile.test.ts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  block,
  CODES,
  connectFrames,
  data,
  type Fields,
  FLAGS,
  frame,
  headers,
  number32,
  request,
  settings,
  TYPES,
} from '../../support/h2-frames.ts';
import { waitFor } from '../../support/wait.ts';
import { startCapturingBackend } from '../capturing-backend.ts';
import { startProxy } from '../support.ts';

const POST = { method: 'POST' };
const post = (more: Fields = []) => headers(1, request(more, POST), { ends: false });
const withoutField = (name: string) => request().filter(([field]) => field !== name);
const get = (more: Fields) => [headers(1, request(more))];
const BAD_FIELDS: Fields = [
  ['x-crlf', '1\r\nx-evil: 1'],
  ['x-lf', '1\nx-evil: 1'],
  ['x-nul', '1\0'],
  ['x-del', '1\x7f'],
  ['x evil', '1'],
  ['x-evil:', '1'],
  ['x-evil\r\nx', '1'],
  ['', 'evil'],
  ['x-blanks', ' evil '],
];
const asked = (options: { method?: string; path?: string; authority?: string }) => [
  headers(1, request([], options)),
];

/** Each resets its stream with PROTOCOL_ERROR; the session goes on. */
const MALFORMED_REQUESTS: Record<string, Buffer[]> = {
  'a name in upper case': get([['X-Upper', '1']]),
  'a field connection': get([['connection', 'close']]),
  'a field keep-alive': get([['keep-alive', 'x']]),
  'a field proxy-connection': get([['proxy-connection', 'x']]),
  'a field transfer-encoding': get([['transfer-encoding', 'chunked']]),
  'a field upgrade': get([['upgrade', 'x']]),
  'te with more than trailers': get([['te', 'gzip']]),
  'a pseudo-header field after others': [headers(1, [...request([['x', '1']]), [':path', '/x']])],
  'a pseudo-header field twice': [headers(1, [...request(), [':path', '/x']])],
  'an unknown pseudo-header field': [headers(1, [[':foo', '1'], ...request()])],
  'a :status in a request': [headers(1, [[':status', '200'], ...request()])],
  'no :method': [headers(1, withoutField(':method'))],
  'no :scheme': [headers(1, withoutField(':scheme'))],
  'no :path': [headers(1, withoutField(':path'))],
  'neither :authority nor Host': [headers(1, withoutField(':authority'))],
  'two Host fields': get([
    ['host', 'a'],
    ['host', 'a'],
  ]),
  'an empty :path': asked({ path: '' }),
  'a :path without a slash': asked({ path: 'foo' }),
  'a :path in absolute form': asked({ path: 'http://x/' }),
  'a :path * with GET': asked({ path: '*' }),
  'a :path with a blank': asked({ path: '/a b' }),
  'a :path with a line end': asked({ path: '/a\r\nX: y' }),
  'a :method with a request line': asked({ method: 'GET /x HTTP/1.1\r\n' }),
  'CONNECT with a path': asked({ method: 'CONNECT' }),
  'a :protocol without CONNECT': [headers(1, [[':protocol', 'websocket'], ...request()])],
  'an :authority with a user': asked({ authority: 'u@a' }),
  'an :authority with a path': asked({ authority: 'a/b' }),
  'an empty :authority': asked({ authority: '' }),
  'a content-length without a body': [headers(1, request([['content-length', '5']], POST))],
  'two content-lengths': [
    post([
      ['content-length', '5'],
      ['content-length', '5'],
    ]),
    data(1, 'hello', { ends: true }),
  ],
  'a content-length with a letter': [post([['content-length', '5x']]), data(1, 'hello', { ends: true })],
  'a content-length with a line end': [post([['content-length', '5\n']]), data(1, 'hello', { ends: true })],
  'a content-length with a sign': [post([['content-length', '+5']]), data(1, 'hello', { ends: true })],
  'a content-length that is a list': [post([['content-length', '5, 5']]), data(1, 'hello', { ends: true })],
  'a body that is too long': [post([['content-length', '4']]), data(1, 'hello', { ends: true })],
  'a body after content-length 0': [post([['content-length', '0']]), data(1, 'hello', { ends: true })],
  'a body that is too short': [post([['content-length', '6']]), data(1, 'hello', { ends: true })],
  ...Object.fromEntries(BAD_FIELDS.map((field) => [`a field ${JSON.stringify(field)}`, get([field])])),
  ...Object.fromEntries(
    BAD_FIELDS.map((field) => [
      `a trailer ${JSON.stringify(field)}`,
      [post(), data(1, 'x'), headers(1, [field])],
    ]),
  ),
  'trailers that do not end the stream': [post(), data(1, 'x'), headers(1, [['x', '1']], { ends: false })],
  'a pseudo-header field in trailers': [post(), data(1, 'x'), headers(1, [[':path', '/']])],
};

/** Each ends the session. */
const MALFORMED_FRAMES: Record<string, Buffer[]> = {
  'DATA on an idle stream': [data(1, 'x')],
  'DATA on stream 0': [data(0, 'x')],
  'DATA after the end of its stream': [headers(1, request()), data(1, 'x')],
  'DATA with more padding than bytes': [post(), frame(TYPES.data, FLAGS.padded, 1, Buffer.from([9, 1]))],
  'DATA that is larger than a frame may be': [post(), frame(TYPES.data, 0, 1, Buffer.alloc(16_385))],
  'HEADERS on stream 0': [headers(0, request())],
  'HEADERS on an even stream': [headers(2, request())],
  'HEADERS with more padding than bytes': [frame(TYPES.headers, 5 | FLAGS.padded, 1, Buffer.from([9, 1]))],
  'PRIORITY of another size': [frame(TYPES.priority, 0, 1, Buffer.alloc(2))],
  'RST_STREAM on stream 0': [frame(TYPES.reset, 0, 0, number32(8))],
  'RST_STREAM on an idle stream': [frame(TYPES.reset, 0, 1, number32(8))],
  'RST_STREAM of another size': [post(), frame(TYPES.reset, 0, 1, Buffer.alloc(3))],
  'SETTINGS of another size': [frame(TYPES.settings, 0, 0, Buffer.alloc(5))],
  'SETTINGS on a stream': [frame(TYPES.settings, 0, 1)],
  'SETTINGS ACK with a payload': [frame(TYPES.settings, FLAGS.ack, 0, Buffer.alloc(6))],
  'SETTINGS with too large a window': [settings([4, 2 ** 31])],
  'SETTINGS with too small a frame size': [settings([5, 100])],
  'SETTINGS with a bad ENABLE_PUSH': [settings([2, 2])],
  'SETTINGS with too many entries': [settings(...Array.from({ length: 40 }, (): [number, number] => [4, 1]))],
  'PUSH_PROMISE of a client': [frame(TYPES.push, FLAGS.endHeaders, 1, number32(2))],
  'PING of another size': [frame(TYPES.ping, 0, 0, Buffer.alloc(7))],
  'PING on a stream': [frame(TYPES.ping, 0, 1, Buffer.alloc(8))],
  'PING ACK that nobody waits for': [frame(TYPES.ping, FLAGS.ack, 0, Buffer.alloc(8))],
  'GOAWAY of another size': [frame(TYPES.goaway, 0, 0, Buffer.alloc(4))],
  'GOAWAY on a stream': [frame(TYPES.goaway, 0, 1, Buffer.alloc(8))],
  'WINDOW_UPDATE by 0': [frame(TYPES.window, 0, 0, number32(0))],
  'WINDOW_UPDATE by 0 on a stream': [post(), frame(TYPES.window, 0, 1, number32(0))],
  'WINDOW_UPDATE above the largest window': [frame(TYPES.window, 0, 0, number32(2 ** 31 - 1))],
  'WINDOW_UPDATE of another size': [frame(TYPES.window, 0, 0, Buffer.alloc(3))],
  'WINDOW_UPDATE on an idle stream': [frame(TYPES.window, 0, 1, number32(1))],
  'CONTINUATION without HEADERS': [frame(TYPES.continuation, FLAGS.endHeaders, 1, block(request()))],
  'CONTINUATION of another stream': [
    frame(TYPES.headers, FLAGS.endStream, 1, block(request())),
    frame(TYPES.continuation, FLAGS.endHeaders, 3),
  ],
  'another frame between HEADERS and CONTINUATION': [
    frame(TYPES.headers, FLAGS.endStream, 1, block(request())),
    frame(TYPES.ping, 0, 0, Buffer.alloc(8)),
  ],
  'HPACK index 0': [frame(TYPES.headers, 5, 1, Buffer.from([0x80]))],
  'an HPACK index that nobody has': [frame(TYPES.headers, 5, 1, Buffer.from([0xff, 0xff, 0x7f]))],
  'an HPACK field that is cut': [frame(TYPES.headers, 5, 1, Buffer.from([0, 5, 1]))],
  'an HPACK table above the limit': [
    frame(TYPES.headers, 5, 1, Buffer.concat([Buffer.from([0x3f, 0xe1, 0xff, 0x03]), block(request())])),
  ],
};

test('a malformed request resets its stream, no backend sees it, and the connection goes on', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend], h2c: true });
  for (const [name, frames] of Object.entries(MALFORMED_REQUESTS)) {
    const client = await connectFrames(proxy.url);
    t.after(() => client.close());
    client.send(...frames);
    assert.equal(await client.resetCode(1), CODES.PROTOCOL_ERROR, name);
    client.send(headers(3, request([], { path: '/after' })));
    assert.equal(await client.status(3), 200, name);
  }
  assert.deepEqual(new Set(backend.requests.map(({ target }) => target)), new Set(['/after']));
  assert.equal(backend.received.join('').includes('evil'), false);
});

test('a malformed frame ends the connection, and no backend sees a request', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend], h2c: true });
  for (const [name, frames] of Object.entries(MALFORMED_FRAMES)) {
    const client = await connectFrames(proxy.url);
    t.after(() => client.close());
    client.send(...frames);
    assert.notEqual(
      await client.goaway().catch((error: Error) => assert.fail(`${name}: ${error.message}`)),
      0,
      name,
    );
    await client.raw.waitForClose();
  }
  assert.deepEqual(backend.requests, []);
});

test('what can be read and is refused gets a status', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend], h2c: true });
  const many = Array.from({ length: 101 }, (_, i): [string, string] => [`x-${i}`, '1']);
  const large = block(request([['x', 'y'.repeat(16_500)]]));
  const cases: [status: number, Buffer[]][] = [
    [400, get([['host', 'b']])],
    [400, asked({ path: '/a#b' })],
    [400, asked({ path: '/a\xff' })],
    [400, asked({ method: 'FOO' })],
    [400, asked({ method: 'get' })],
    [414, asked({ path: `/${'a'.repeat(9_000)}` })],
    [417, get([['expect', 'x']])],
    [431, get(many)],
    [
      431,
      [
        frame(TYPES.headers, FLAGS.endStream, 1, large.subarray(0, 16_000)),
        frame(TYPES.continuation, FLAGS.endHeaders, 1, large.subarray(16_000)),
      ],
    ],
    [
      501,
      [
        headers(1, [
          [':method', 'CONNECT'],
          [':authority', 'a:80'],
        ]),
      ],
    ],
  ];
  for (const [status, frames] of cases) {
    const client = await connectFrames(proxy.url);
    t.after(() => client.close());
    client.send(...frames);
    assert.equal(await client.status(1), status);
    await client.wait('the problem', ({ type }) => type === TYPES.data);
    assert.match(client.body(1), /^\{"type":"https:/);
  }
  assert.deepEqual(backend.requests, []);
  await waitFor('all lines', () => proxy.lines.length === cases.length);
  assert.deepEqual(
    proxy.lines.map(({ status }) => status),
    cases.map(([status]) => status),
  );
});

test('Host alone, and a Host that equals :authority but for case, are accepted', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend], h2c: true });
  const client = await connectFrames(proxy.url);
  t.after(() => client.close());
  client.send(headers(1, [...withoutField(':authority'), ['host', 'b']]));
  assert.equal(await client.status(1), 200);
  client.send(headers(3, request([['host', 'A']])));
  assert.equal(await client.status(3), 200);
  assert.deepEqual(
    backend.requests.map((seen) => seen.all('host')),
    [['b'], ['a']],
  );
});
