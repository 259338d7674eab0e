/**
 * Requests, byte for byte, that proxies get wrong (RFC 9112, HTTP Garden, http1mustdie.com). Each is sent on its own
 * connection. The test checks the status, what the backend got (nothing, or exactly one canonical request), whether the
 * client's connection stays open, and that the next request of this and of another client gets its own answer.
 */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { RawClient } from '../../support/raw-http.ts';
import { type CapturedRequest, type CapturingBackend, startCapturingBackend } from '../capturing-backend.ts';
import { dataPath, startProxy, type TestProxy } from '../support.ts';

interface Vector {
  title: string;
  bytes: string;
  status: number;
  /** Checks the one request that reached the backend. Absent: no request may reach it. */
  sees?: (request: CapturedRequest) => void;
  /** Whether the client's connection stays open; default: when the request was forwarded. */
  open?: boolean;
}

const H = 'Host: a\r\n';
const get = (lines: string, target = '/') => `GET ${target} HTTP/1.1\r\n${lines}\r\n`;
const post = (lines: string, body = '') => `POST / HTTP/1.1\r\n${H}${lines}\r\n${body}`;
const chunked = (body: string) => post('Transfer-Encoding: chunked\r\n', body);
const upgradingPost = (lines: string, body: string) =>
  post(`Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n${lines}`, body);
const anything = (request: CapturedRequest) => assert.notEqual(request.method, '?');
const refused = (title: string, bytes: string, status = 400): Vector => ({ title, bytes, status });
const passed = (
  title: string,
  bytes: string,
  sees: (request: CapturedRequest) => void = anything,
): Vector => ({
  title,
  bytes,
  status: 200,
  sees,
});
const hasBody = (body: string) => (request: CapturedRequest) => assert.equal(request.body, body);
const hasTarget = (target: string) => (request: CapturedRequest) => assert.equal(request.target, target);
const lacks =
  (...names: string[]) =>
  (request: CapturedRequest) => {
    for (const name of names) assert.equal(request.header(name), null, `${name} was passed on`);
  };

/** By the number of the behaviour in docs/behaviours.md. */
const VECTORS: [behaviour: string, vectors: Vector[]][] = [
  [
    'B21',
    [
      refused('bare LF everywhere', 'GET / HTTP/1.1\nHost: a\n\n'),
      refused('a header line ended by a bare LF', 'GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n'),
      refused('a head ended by CRLF LF', 'GET / HTTP/1.1\r\nHost: a\r\n\n'),
      refused('a bare CR in a value', 'GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n'),
      refused('a head ended by CRLF CR X', 'GET / HTTP/1.1\r\nHost: a\r\n\rX\r\n\r\n'),
      refused('NUL in a value', get(`${H}X: a\0b\r\n`)),
      refused('0x01 in a value', get(`${H}X: a\x01b\r\n`)),
      refused('0x7f in a value', get(`${H}X: a\x7fb\r\n`)),
      passed('obs-text in a value is passed byte for byte', get(`${H}X: caf\xe9\xff\r\n`), (request) =>
        assert.equal(request.header('x'), 'caf\xe9\xff'),
      ),
      refused('0xa0 in a name', get(`${H}X\xa0: y\r\n`)),
      refused('0x82 in a name', get(`${H}\x82X: y\r\n`)),
      refused('space before the colon', post('Content-Length : 1\r\n', 'x')),
      refused('space before the first header', 'GET / HTTP/1.1\r\n Host: a\r\n\r\n'),
      refused('tab before a header', get(`\tContent-Length: 1\r\n${H}`)),
      refused('obs-fold', get(`${H}X: y\r\n z\r\n`)),
      refused('obs-fold in Transfer-Encoding', post('Transfer-Encoding:\r\n chunked\r\n', '0\r\n\r\n')),
      refused('obs-fold in Content-Length', post('Content-Length:\r\n 1\r\n', 'x')),
      refused('a line without colon', get(`${H}X\r\n`)),
      refused('an empty name', get(`${H}: x\r\n`)),
      ...['+1', '-1', '0x1', '1_0', '1Z', '1 1', ''].map((length) =>
        refused(`Content-Length ${JSON.stringify(length)}`, post(`Content-Length: ${length}\r\n`, 'x')),
      ),
      refused('Content-Length 1, 1', post('Content-Length: 1, 1\r\n', 'x')),
      refused('Content-Length twice, same', post('Content-Length: 1\r\nContent-Length: 1\r\n', 'x')),
      refused('Content-Length twice, different', post('Content-Length: 1\r\nContent-Length: 2\r\n', 'xx')),
      refused('Content-Length empty, then 1', post('Content-Length: \r\nContent-Length: 1\r\n', 'x')),
      refused('Content-Length 2^64+1', post('Content-Length: 18446744073709551617\r\n', 'x')),
      refused('Content-Length 2^53', post('Content-Length: 9007199254740992\r\n', 'x')),
      refused(
        'Content-Length, then Transfer-Encoding',
        post('Content-Length: 1\r\nTransfer-Encoding: chunked\r\n', '0\r\n\r\n'),
      ),
      refused(
        'Transfer-Encoding, then Content-Length',
        post('Transfer-Encoding: chunked\r\nContent-Length: 1\r\n', '0\r\n\r\n'),
      ),
      refused(
        'Transfer-Encoding with a vertical tab',
        post('Transfer-Encoding:\x0bchunked\r\n', '0\r\n\r\n'),
      ),
      ...['0x0', '+1', '0_1', '', ' 1', '1 '].map((size) =>
        refused(`chunk size ${JSON.stringify(size)}`, chunked(`${size}\r\nZ\r\n0\r\n\r\n`)),
      ),
      refused('chunk size 2^64+1', chunked('10000000000000001\r\nZ\r\n0\r\n\r\n')),
      ...[
        '1;a\nx\r\nZ\r\n0\r\n\r\n',
        '1;a=b\r\rZ\r\n0\r\n\r\n',
        '1\nZ\r\n0\r\n\r\n',
        '1;\r\nZ\r\n0\r\n\r\n',
      ].map((body) => refused(`chunk line ${JSON.stringify(body)}`, chunked(body))),
      refused('chunk data ended by LF', chunked('1\r\nZ\n0\r\n\r\n')),
      refused('chunk data longer than its size', chunked('1\r\nZXX0\r\n\r\n')),
      refused('chunk data one byte too long', chunked('1\r\nZZ\r\n0\r\n\r\n')),
      refused('last chunk with bare LF', chunked('0\n\n')),
      passed(
        'a trailer that looks like a request stays a trailer',
        chunked('0\r\nX:POST / HTTP/1.1\r\n\r\n'),
        (request) => assert.equal(request.trailers, 'X: POST / HTTP/1.1'),
      ),
      refused('trailer Content-Length', chunked('0\r\nContent-Length: 1\r\n\r\n')),
      refused('trailer Transfer-Encoding', chunked('0\r\nTransfer-Encoding: chunked\r\n\r\n')),
      passed(
        'routing and authentication trailers are dropped',
        chunked('0\r\nHost: evil\r\nAuthorization: x\r\nX-Sum: 1\r\n\r\n'),
        (request) => assert.equal(request.trailers, 'X-Sum: 1'),
      ),
      refused('obs-fold in a trailer', chunked('0\r\nX: y\r\n z\r\n\r\n')),
      refused('trailers over the cap', chunked(`0\r\nX: ${'y'.repeat(40_000)}\r\n\r\n`), 431),
      refused('no Host', get('')),
      refused('an empty Host', get('Host:\r\n')),
      ...['a@evil', 'a b/c', 'a, b', 'a:80x', 'a%00b', 'a/b', '[::1', 'a:'].map((host) =>
        refused(`Host ${JSON.stringify(host)}`, get(`Host: ${host}\r\n`)),
      ),
      passed('Host with an IPv6 literal and port', get('Host: [::1]:80\r\n'), (request) =>
        assert.deepEqual(request.all('host'), ['[::1]:80']),
      ),
      ...['foo', '@evil/x', 'a:80'].map((target) => refused(`target ${target}`, get(H, target))),
      refused('CONNECT', `CONNECT a:80 HTTP/1.1\r\n${H}\r\n`, 501),
      passed('TRACE is forwarded like any method', `TRACE / HTTP/1.1\r\n${H}\r\n`, (request) =>
        assert.equal(request.method, 'TRACE'),
      ),
      refused('an unknown method', `FOO / HTTP/1.1\r\n${H}\r\n`),
      refused('a method in lower case', `get / HTTP/1.1\r\n${H}\r\n`),
      passed('WebDAV', `PROPFIND / HTTP/1.1\r\n${H}\r\n`, (request) =>
        assert.equal(request.method, 'PROPFIND'),
      ),
      refused('the HTTP/2 preface', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
      refused('HTTP/2.0', `GET / HTTP/2.0\r\n${H}\r\n`, 505),
      refused('HTTP/0.9 without version', 'GET /\r\n\r\n', 505),
      refused('HTTP/0.9', `GET / HTTP/0.9\r\n${H}\r\n`, 505),
      // llhttp reports it as HTTP/1.0.
      dataPath.engine === 'node'
        ? { ...passed('RTSP/1.0 is taken for HTTP/1.0', `OPTIONS * RTSP/1.0\r\n${H}\r\n`), open: false }
        : refused('RTSP/1.0', `OPTIONS * RTSP/1.0\r\n${H}\r\n`),
      refused('HTTP/1.2', `GET / HTTP/1.2\r\n${H}\r\n`, 505),
      refused('HTTP/3.0', `GET / HTTP/3.0\r\n${H}\r\n`, 505),
      refused('HTTP/01.1', `GET / HTTP/01.1\r\n${H}\r\n`),
      refused('http/1.1', `GET / http/1.1\r\n${H}\r\n`),
      refused('a space after the version', `GET / HTTP/1.1 \r\n${H}\r\n`),
      refused('tabs in the request line', `GET\t/\tHTTP/1.1\r\n${H}\r\n`),
      passed('two spaces in the request line become one', `GET  / HTTP/1.1\r\n${H}\r\n`, (request) =>
        assert.match(request.raw, /^GET \/ HTTP\/1\.1\r\n/),
      ),
      passed('empty lines before the request', `\r\n\r\nGET / HTTP/1.1\r\n${H}\r\n`),
      refused('Expect: y 100-continue', post('Expect: y 100-continue\r\nContent-Length: 1\r\n', 'x'), 417),
      refused('Expect: 200-ok', post('Expect: 200-ok\r\nContent-Length: 1\r\n', 'x'), 417),
      refused(
        'Upgrade with a body',
        post('Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n', 'x'),
      ),
      {
        ...passed(
          'Upgrade: h2c',
          get(`${H}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n`),
          lacks('upgrade', 'connection', 'http2-settings'),
        ),
        open: false,
      },
      ...[
        ['with a body', 'Content-Length: 5\r\n', 'hello'],
        ['with a body in chunks', 'Transfer-Encoding: chunked\r\n', '5\r\nhello\r\n0\r\n\r\n'],
      ].map(([title = '', lines = '', body = '']) => ({
        ...passed(`Upgrade: h2c ${title}`, upgradingPost(lines, body), hasBody('hello')),
        open: false,
      })),
      {
        ...passed('Upgrade without Connection', get(`${H}Upgrade: h2c\r\n`), lacks('upgrade')),
        open: false,
      },
      refused('101 header lines', get(H + 'X: y\r\n'.repeat(100)), 431),
      refused('1001 header lines', get(H + 'X: y\r\n'.repeat(1000)), 431),
      passed('100 header lines', get(H + 'X: y\r\n'.repeat(99)), (request) =>
        assert.equal(request.all('x').length, 99),
      ),
      refused('a head over the cap', get(`${H}X: ${'y'.repeat(17_000)}\r\n`), 431),
      refused('a head over the parser’s cap', get(`${H}X: ${'y'.repeat(40_000)}\r\n`), 431),
      refused('a target over the cap', get(H, `/${'a'.repeat(8_200)}`), 414),
      refused('a target over the parser’s cap', get(H, `/${'a'.repeat(40_000)}`), 414),
      passed('__proto__ is a name like any other', get(`${H}__proto__: x\r\nconstructor: y\r\n`), (request) =>
        assert.equal(request.header('constructor'), 'y'),
      ),
    ],
  ],
  [
    'B22',
    [
      ...['identity', 'xchunked', '"chunked"', 'chunked;q=1', '\xa0chunked', 'x chunked'].map((coding) =>
        refused(
          `Transfer-Encoding ${JSON.stringify(coding)}`,
          post(`Transfer-Encoding: ${coding}\r\n`, '0\r\n\r\n'),
        ),
      ),
      ...['', 'chunked,', 'chunked, chunked', 'chunked, cow'].map((coding) =>
        refused(
          `Transfer-Encoding ${JSON.stringify(coding)}`,
          post(`Transfer-Encoding: ${coding}\r\n`, '0\r\n\r\n'),
        ),
      ),
      refused(
        'Transfer-Encoding twice',
        post('Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n', '0\r\n\r\n'),
      ),
      refused('Transfer-Encoding ,chunked', post('Transfer-Encoding: ,chunked\r\n', '0\r\n\r\n')),
      refused('Transfer-Encoding gzip, chunked', post('Transfer-Encoding: gzip, chunked\r\n', '0\r\n\r\n')),
      refused('Transfer-Encoding cow, chunked', post('Transfer-Encoding: cow, chunked\r\n', '0\r\n\r\n')),
      refused(
        'Transfer-Encoding on HTTP/1.0',
        `POST / HTTP/1.0\r\n${H}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
      ),
      refused('two Hosts', get('Host: a\r\nHost: b\r\n')),
      refused('the same Host twice', get('Host: a\r\nHost: a\r\n')),
      refused('absolute-form for another host', get(H, 'http://evil/x')),
      passed(
        'absolute-form for the same host becomes origin-form',
        get(H, 'http://A/x?y'),
        hasTarget('/x?y'),
      ),
      passed('absolute-form without path', get(H, 'http://a'), hasTarget('/')),
      refused('absolute-form with ftp', get(H, 'ftp://a/x')),
      refused('absolute-form and two Hosts', get('Host: b\r\nHost: c\r\n', 'http://a/')),
      ...['Content-Length', 'Transfer-Encoding', 'Host', 'close, hOsT'].map((tokens) =>
        refused(`Connection: ${tokens}`, get(`${H}Connection: ${tokens}\r\n`)),
      ),
      passed(
        'Connection cannot remove protected fields',
        get(
          `${H}Connection: Authorization, Cookie, X-Forwarded-For, X-Request-Id\r\nAuthorization: s\r\nCookie: c\r\n`,
        ),
        (request) => {
          assert.equal(request.header('authorization'), 's');
          assert.equal(request.header('cookie'), 'c');
          assert.equal(request.header('x-forwarded-for'), '127.0.0.1');
          assert.notEqual(request.header('x-request-id'), null);
        },
      ),
    ],
  ],
  [
    'B23',
    [
      passed('Content-Length 001 is forwarded as 1', post('Content-Length: 001\r\n', 'x'), (request) => {
        assert.deepEqual(request.all('content-length'), ['1']);
        assert.equal(request.body, 'x');
      }),
      passed('Content-Length in tabs', post('Content-Length:\t1\t\r\n', 'x'), (request) =>
        assert.match(request.raw, /\r\nContent-Length: 1\r\n/),
      ),
      passed(
        'Transfer-Encoding cHuNkEd',
        post('Transfer-Encoding: cHuNkEd\r\n', '1\r\nZ\r\n0\r\n\r\n'),
        (request) => {
          assert.equal(request.header('transfer-encoding'), 'chunked');
          assert.equal(request.body, 'Z');
        },
      ),
      passed('chunk size 000001, last 000', chunked('000001\r\nZ\r\n000\r\n\r\n'), hasBody('Z')),
      passed('a chunk extension is dropped', chunked('1;a=b\r\nZ\r\n0\r\n\r\n'), (request) => {
        assert.equal(request.body, 'Z');
        assert.doesNotMatch(request.raw, /a=b/);
      }),
      passed('GET with a body', get(`${H}Content-Length: 1\r\n`).concat('x'), hasBody('x')),
      passed(
        'GET with a chunked body',
        get(`${H}Transfer-Encoding: chunked\r\n`).concat('1\r\nx\r\n0\r\n\r\n'),
        hasBody('x'),
      ),
      passed(
        'DELETE with a chunked body',
        `DELETE / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n`,
        hasBody('x'),
      ),
    ],
  ],
  [
    'B25',
    [
      passed(
        'Transfer_Encoding beside Content-Length is dropped',
        post('Transfer_Encoding: chunked\r\nContent-Length: 1\r\n', 'x'),
        (request) => {
          lacks('transfer_encoding', 'transfer-encoding')(request);
          assert.equal(request.body, 'x');
        },
      ),
      passed(
        'Content_Length is dropped',
        get(`${H}Content_Length: 1\r\n`),
        lacks('content_length', 'content-length'),
      ),
    ],
  ],
  [
    'B27',
    [
      passed('target //evil/x is a path', get(H, '//evil/x'), hasTarget('//evil/x')),
      refused('a fragment in the target', get(H, '/a#b')),
      refused('a fragment after the query', get(H, '/a?b#c')),
      refused('a backslash in the path', get(H, '/a\\b')),
      passed('other unusual visible bytes in the path', get(H, '/"<>{}|^`'), hasTarget('/"<>{}|^`')),
      ...['\x80', '\x01', '\t', '\xff'].map((byte) =>
        refused(`${JSON.stringify(byte)} in the target`, get(H, `/a${byte}b`)),
      ),
      passed('encoded CRLF is forwarded as it came', get(H, '/%0d%0aX:%20y'), hasTarget('/%0d%0aX:%20y')),
      refused('encoded NUL', get(H, '/a%00b')),
      passed('dot segments are forwarded as they came', get(H, '/../../etc'), hasTarget('/../../etc')),
      passed('OPTIONS * is forwarded', `OPTIONS * HTTP/1.1\r\n${H}\r\n`, (request) => {
        assert.equal(request.method, 'OPTIONS');
        assert.equal(request.target, '*');
      }),
      refused('GET *', get(H, '*')),
    ],
  ],
];

for (const [behaviour, vectors] of VECTORS) {
  for (const vector of vectors) {
    const outcome =
      vector.sees === undefined ? `gets ${vector.status}` : 'is forwarded as one canonical request';
    test(`${behaviour}: ${vector.title}: ${outcome}`, (t) => run(t, vector));
  }
}

async function run(t: TestContext, { bytes, status, sees, open }: Vector): Promise<void> {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend] });
  const client = await proxy.connect();
  client.write(bytes);
  const answer = await client.readResponse();
  assert.equal(answer.status, status, answer.body.toString());
  assert.match(answer.header('x-request-id') ?? '', /^[\w.-]+$/);
  if (sees === undefined) {
    assert.equal(answer.header('content-type'), 'application/problem+json');
    assert.equal(JSON.parse(answer.body.toString()).status, status);
    assert.equal(backend.requests.length, 0, `the backend saw ${backend.received.join()}`);
  } else {
    const seen = backend.requests;
    assert.equal(seen.length, 1);
    assertCanonical(seen[0]);
    sees(seen[0] as CapturedRequest);
  }
  await checkNext({ client, proxy, backend, open: open ?? sees !== undefined });
}

/** One Host, one framing, our own Via, and no hop-by-hop fields. */
function assertCanonical(request: CapturedRequest | undefined): void {
  assert.ok(request);
  assert.match(request.raw, /^[A-Z]+ \S+ HTTP\/1\.1\r\nHost: [^\r\n]+\r\n/);
  assert.equal(request.all('host').length, 1);
  assert.ok(request.all('content-length').length + request.all('transfer-encoding').length <= 1);
  lacks('connection', 'keep-alive', 'upgrade', 'expect', 'trailer', 'proxy-connection')(request);
  assert.equal(request.all('via').at(-1), '1.1 sluice');
}

async function checkNext(given: {
  client: RawClient;
  proxy: TestProxy;
  backend: CapturingBackend;
  open: boolean;
}) {
  const { client, proxy, backend, open } = given;
  const seenBefore = backend.requests.length;
  if (open) {
    client.write('GET /next HTTP/1.1\r\nHost: a\r\n\r\n');
    const next = await client.readResponse();
    assert.equal(next.body.toString(), 'GET /next');
    assert.equal(backend.requests.length, seenBefore + 1);
  } else {
    const rest = await client.waitForClose();
    assert.equal(rest.toString('latin1'), '', 'bytes came after the answer');
  }
  const other = await proxy.connect();
  other.write('GET /other HTTP/1.1\r\nHost: a\r\n\r\n');
  assert.equal((await other.readResponse()).body.toString(), 'GET /other');
  assert.equal(backend.requests.at(-1)?.target, '/other');
  assert.ok(
    backend.requests.every(({ method }) => method !== '?'),
    'the backend got something that is no request',
  );
}
