/**
 * Byte-level requests that proxies get wrong (RFC 9112, HTTP Garden, http1mustdie.com). Each is sent on a connection of
 * its own; checked are the status, what the backend saw (nothing, or exactly one canonical request), whether the
 * client's connection stays, and that the next good request, on it or on the connection to the backend, gets its own
 * answer.
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
  /** Given: exactly one request reached the backend, and this holds of it. Absent: not one byte did. */
  sees?: (request: CapturedRequest) => void;
  /** The client's connection goes on; default: it does when the request was forwarded. */
  open?: boolean;
}

const H = 'Host: a\r\n';
const get = (lines: string, target = '/') => `GET ${target} HTTP/1.1\r\n${lines}\r\n`;
const post = (lines: string, body = '') => `POST / HTTP/1.1\r\n${H}${lines}\r\n${body}`;
const chunked = (body: string) => post('Transfer-Encoding: chunked\r\n', body);
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

const VECTORS: Vector[] = [
  refused('1 bare LF everywhere', 'GET / HTTP/1.1\nHost: a\n\n'),
  refused('2 a header line ended by a bare LF', 'GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n'),
  refused('3 a head ended by CRLF LF', 'GET / HTTP/1.1\r\nHost: a\r\n\n'),
  refused('4 a bare CR in a value', 'GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n'),
  refused('5 CRLF CR X as head end', 'GET / HTTP/1.1\r\nHost: a\r\n\rX\r\n\r\n'),
  refused('6 NUL in a value', get(`${H}X: a\0b\r\n`)),
  refused('6 0x01 in a value', get(`${H}X: a\x01b\r\n`)),
  refused('6 0x7f in a value', get(`${H}X: a\x7fb\r\n`)),
  passed('7 obs-text in a value is passed byte for byte', get(`${H}X: caf\xe9\xff\r\n`), (request) =>
    assert.equal(request.header('x'), 'caf\xe9\xff'),
  ),
  refused('8 0xa0 in a name', get(`${H}X\xa0: y\r\n`)),
  refused('8 0x82 in a name', get(`${H}\x82X: y\r\n`)),
  refused('9 space before the colon', post('Content-Length : 1\r\n', 'x')),
  refused('10 space before the first header', 'GET / HTTP/1.1\r\n Host: a\r\n\r\n'),
  refused('10 tab before a header', get(`\tContent-Length: 1\r\n${H}`)),
  refused('11 obs-fold', get(`${H}X: y\r\n z\r\n`)),
  refused('11 obs-fold in Transfer-Encoding', post('Transfer-Encoding:\r\n chunked\r\n', '0\r\n\r\n')),
  refused('11 obs-fold in Content-Length', post('Content-Length:\r\n 1\r\n', 'x')),
  refused('12 a line without colon', get(`${H}X\r\n`)),
  refused('12 an empty name', get(`${H}: x\r\n`)),
  ...['+1', '-1', '0x1', '1_0', '1Z', '1 1', ''].map((length) =>
    refused(`13 Content-Length ${JSON.stringify(length)}`, post(`Content-Length: ${length}\r\n`, 'x')),
  ),
  refused('14 Content-Length 1, 1', post('Content-Length: 1, 1\r\n', 'x')),
  refused('14 Content-Length twice, same', post('Content-Length: 1\r\nContent-Length: 1\r\n', 'x')),
  refused('14 Content-Length twice, different', post('Content-Length: 1\r\nContent-Length: 2\r\n', 'xx')),
  refused('14 Content-Length empty, then 1', post('Content-Length: \r\nContent-Length: 1\r\n', 'x')),
  refused('15 Content-Length 2^64+1', post('Content-Length: 18446744073709551617\r\n', 'x')),
  refused('15 Content-Length 2^53', post('Content-Length: 9007199254740992\r\n', 'x')),
  passed('16 Content-Length 001 is sent on as 1', post('Content-Length: 001\r\n', 'x'), (request) => {
    assert.deepEqual(request.all('content-length'), ['1']);
    assert.equal(request.body, 'x');
  }),
  passed('17 Content-Length in tabs', post('Content-Length:\t1\t\r\n', 'x'), (request) =>
    assert.match(request.raw, /\r\nContent-Length: 1\r\n/),
  ),
  refused(
    '18 Content-Length, then Transfer-Encoding',
    post('Content-Length: 1\r\nTransfer-Encoding: chunked\r\n', '0\r\n\r\n'),
  ),
  refused(
    '18 Transfer-Encoding, then Content-Length',
    post('Transfer-Encoding: chunked\r\nContent-Length: 1\r\n', '0\r\n\r\n'),
  ),
  ...['identity', 'xchunked', '"chunked"', 'chunked;q=1', '\xa0chunked', 'x chunked'].map((coding) =>
    refused(
      `19 Transfer-Encoding ${JSON.stringify(coding)}`,
      post(`Transfer-Encoding: ${coding}\r\n`, '0\r\n\r\n'),
    ),
  ),
  ...['', 'chunked,', 'chunked, chunked', 'chunked, cow'].map((coding) =>
    refused(
      `20 Transfer-Encoding ${JSON.stringify(coding)}`,
      post(`Transfer-Encoding: ${coding}\r\n`, '0\r\n\r\n'),
    ),
  ),
  refused(
    '20 Transfer-Encoding twice',
    post('Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n', '0\r\n\r\n'),
  ),
  refused('21 Transfer-Encoding ,chunked', post('Transfer-Encoding: ,chunked\r\n', '0\r\n\r\n')),
  refused('22 Transfer-Encoding gzip, chunked', post('Transfer-Encoding: gzip, chunked\r\n', '0\r\n\r\n')),
  refused('22 Transfer-Encoding cow, chunked', post('Transfer-Encoding: cow, chunked\r\n', '0\r\n\r\n')),
  passed(
    '23 Transfer-Encoding cHuNkEd',
    post('Transfer-Encoding: cHuNkEd\r\n', '1\r\nZ\r\n0\r\n\r\n'),
    (request) => {
      assert.equal(request.header('transfer-encoding'), 'chunked');
      assert.equal(request.body, 'Z');
    },
  ),
  refused('24 Transfer-Encoding with a vertical tab', post('Transfer-Encoding:\x0bchunked\r\n', '0\r\n\r\n')),
  passed(
    '25 Transfer_Encoding beside Content-Length is dropped',
    post('Transfer_Encoding: chunked\r\nContent-Length: 1\r\n', 'x'),
    (request) => {
      lacks('transfer_encoding', 'transfer-encoding')(request);
      assert.equal(request.body, 'x');
    },
  ),
  passed(
    '26 Content_Length is dropped',
    get(`${H}Content_Length: 1\r\n`),
    lacks('content_length', 'content-length'),
  ),
  refused(
    '27 Transfer-Encoding on HTTP/1.0',
    `POST / HTTP/1.0\r\n${H}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
  ),
  ...['0x0', '+1', '0_1', '', ' 1', '1 '].map((size) =>
    refused(`28 chunk size ${JSON.stringify(size)}`, chunked(`${size}\r\nZ\r\n0\r\n\r\n`)),
  ),
  passed('29 chunk size 000001, last 000', chunked('000001\r\nZ\r\n000\r\n\r\n'), hasBody('Z')),
  refused('30 chunk size 2^64+1', chunked('10000000000000001\r\nZ\r\n0\r\n\r\n')),
  ...['1;a\nx\r\nZ\r\n0\r\n\r\n', '1;a=b\r\rZ\r\n0\r\n\r\n', '1\nZ\r\n0\r\n\r\n', '1;\r\nZ\r\n0\r\n\r\n'].map(
    (body) => refused(`31 chunk line ${JSON.stringify(body)}`, chunked(body)),
  ),
  passed('32 a chunk extension is dropped', chunked('1;a=b\r\nZ\r\n0\r\n\r\n'), (request) => {
    assert.equal(request.body, 'Z');
    assert.doesNotMatch(request.raw, /a=b/);
  }),
  refused('33 chunk data ended by LF', chunked('1\r\nZ\n0\r\n\r\n')),
  refused('33 chunk data longer than its size', chunked('1\r\nZXX0\r\n\r\n')),
  refused('33 chunk data that spills', chunked('1\r\nZZ\r\n0\r\n\r\n')),
  refused('34 last chunk with bare LF', chunked('0\n\n')),
  passed(
    '35 a trailer that looks like a request stays a trailer',
    chunked('0\r\nX:POST / HTTP/1.1\r\n\r\n'),
    (request) => assert.equal(request.trailers, 'X: POST / HTTP/1.1'),
  ),
  refused('36 trailer Content-Length', chunked('0\r\nContent-Length: 1\r\n\r\n')),
  refused('36 trailer Transfer-Encoding', chunked('0\r\nTransfer-Encoding: chunked\r\n\r\n')),
  passed(
    '37 routing and authentication trailers are dropped',
    chunked('0\r\nHost: evil\r\nAuthorization: x\r\nX-Sum: 1\r\n\r\n'),
    (request) => assert.equal(request.trailers, 'X-Sum: 1'),
  ),
  refused('38 obs-fold in a trailer', chunked('0\r\nX: y\r\n z\r\n\r\n')),
  refused('38 trailers over the cap', chunked(`0\r\nX: ${'y'.repeat(40_000)}\r\n\r\n`), 431),
  refused('39 no Host', get('')),
  refused('40 two Hosts', get('Host: a\r\nHost: b\r\n')),
  refused('40 the same Host twice', get('Host: a\r\nHost: a\r\n')),
  refused('41 an empty Host', get('Host:\r\n')),
  ...['a@evil', 'a b/c', 'a, b', 'a:80x', 'a%00b', 'a/b', '[::1', 'a:'].map((host) =>
    refused(`42 Host ${JSON.stringify(host)}`, get(`Host: ${host}\r\n`)),
  ),
  passed('42 Host with an IPv6 literal and port', get('Host: [::1]:80\r\n'), (request) =>
    assert.deepEqual(request.all('host'), ['[::1]:80']),
  ),
  refused('43 absolute-form for another host', get(H, 'http://evil/x')),
  passed('43 absolute-form for the same host becomes origin-form', get(H, 'http://A/x?y'), hasTarget('/x?y')),
  passed('43 absolute-form without path', get(H, 'http://a'), hasTarget('/')),
  refused('44 absolute-form with ftp', get(H, 'ftp://a/x')),
  refused('45 absolute-form and two Hosts', get('Host: b\r\nHost: c\r\n', 'http://a/')),
  ...['foo', '@evil/x', 'a:80'].map((target) => refused(`46 target ${target}`, get(H, target))),
  passed('47 target //evil/x is a path', get(H, '//evil/x'), hasTarget('//evil/x')),
  refused('48 a fragment in the target', get(H, '/a#b')),
  refused('48 a fragment behind the query', get(H, '/a?b#c')),
  refused('49 a backslash in the path', get(H, '/a\\b')),
  passed('49 other odd visible bytes are passed', get(H, '/"<>{}|^`'), hasTarget('/"<>{}|^`')),
  ...['\x80', '\x01', '\t', '\xff'].map((byte) =>
    refused(`50 ${JSON.stringify(byte)} in the target`, get(H, `/a${byte}b`)),
  ),
  passed('51 encoded CRLF is forwarded as it came', get(H, '/%0d%0aX:%20y'), hasTarget('/%0d%0aX:%20y')),
  refused('51 encoded NUL', get(H, '/a%00b')),
  passed('52 dot segments are forwarded as they came', get(H, '/../../etc'), hasTarget('/../../etc')),
  passed('53 OPTIONS * is forwarded', `OPTIONS * HTTP/1.1\r\n${H}\r\n`, (request) => {
    assert.equal(request.method, 'OPTIONS');
    assert.equal(request.target, '*');
  }),
  refused('54 GET *', get(H, '*')),
  refused('55 CONNECT', `CONNECT a:80 HTTP/1.1\r\n${H}\r\n`, 501),
  passed('56 TRACE goes on like any method', `TRACE / HTTP/1.1\r\n${H}\r\n`, (request) =>
    assert.equal(request.method, 'TRACE'),
  ),
  refused('57 an unknown method', `FOO / HTTP/1.1\r\n${H}\r\n`),
  refused('57 a method in lower case', `get / HTTP/1.1\r\n${H}\r\n`),
  passed('58 WebDAV', `PROPFIND / HTTP/1.1\r\n${H}\r\n`, (request) =>
    assert.equal(request.method, 'PROPFIND'),
  ),
  refused('59 the HTTP/2 preface', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
  refused('60 HTTP/2.0', `GET / HTTP/2.0\r\n${H}\r\n`, 505),
  refused('61 HTTP/0.9 without version', 'GET /\r\n\r\n', 505),
  refused('61 HTTP/0.9', `GET / HTTP/0.9\r\n${H}\r\n`, 505),
  // llhttp takes it for HTTP/1.0, and does not say that it was not.
  dataPath.engine === 'node'
    ? { ...passed('62 RTSP/1.0 is taken for HTTP/1.0', `OPTIONS * RTSP/1.0\r\n${H}\r\n`), open: false }
    : refused('62 RTSP/1.0', `OPTIONS * RTSP/1.0\r\n${H}\r\n`),
  refused('63 HTTP/1.2', `GET / HTTP/1.2\r\n${H}\r\n`, 505),
  refused('63 HTTP/3.0', `GET / HTTP/3.0\r\n${H}\r\n`, 505),
  refused('63 HTTP/01.1', `GET / HTTP/01.1\r\n${H}\r\n`),
  refused('63 http/1.1', `GET / http/1.1\r\n${H}\r\n`),
  refused('63 a space behind the version', `GET / HTTP/1.1 \r\n${H}\r\n`),
  refused('63 tabs in the request line', `GET\t/\tHTTP/1.1\r\n${H}\r\n`),
  passed('64 two spaces in the request line are made one', `GET  / HTTP/1.1\r\n${H}\r\n`, (request) =>
    assert.match(request.raw, /^GET \/ HTTP\/1\.1\r\n/),
  ),
  passed('64 empty lines before the request', `\r\n\r\nGET / HTTP/1.1\r\n${H}\r\n`),
  ...['Content-Length', 'Transfer-Encoding', 'Host', 'close, hOsT'].map((tokens) =>
    refused(`65 Connection: ${tokens}`, get(`${H}Connection: ${tokens}\r\n`)),
  ),
  passed(
    '65 Connection cannot take protected fields away',
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
  refused('66 Expect: y 100-continue', post('Expect: y 100-continue\r\nContent-Length: 1\r\n', 'x'), 417),
  refused('66 Expect: 200-ok', post('Expect: 200-ok\r\nContent-Length: 1\r\n', 'x'), 417),
  {
    ...passed(
      '69 Upgrade with a body',
      post('Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n', 'x'),
      (request) => {
        lacks('upgrade', 'connection')(request);
        assert.equal(request.body, 'x');
      },
    ),
    open: false,
  },
  {
    ...passed(
      '70 Upgrade: h2c',
      get(`${H}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n`),
      lacks('upgrade', 'connection', 'http2-settings'),
    ),
    open: false,
  },
  {
    ...passed('70 Upgrade without Connection', get(`${H}Upgrade: h2c\r\n`), lacks('upgrade')),
    open: false,
  },
  refused('71 101 header lines', get(H + 'X: y\r\n'.repeat(100)), 431),
  refused('71 1001 header lines', get(H + 'X: y\r\n'.repeat(1000)), 431),
  passed('71 100 header lines', get(H + 'X: y\r\n'.repeat(99)), (request) =>
    assert.equal(request.all('x').length, 99),
  ),
  refused('72 a head over the cap', get(`${H}X: ${'y'.repeat(17_000)}\r\n`), 431),
  refused('72 a head over the parser’s cap', get(`${H}X: ${'y'.repeat(40_000)}\r\n`), 431),
  refused('72 a target over the cap', get(H, `/${'a'.repeat(8_200)}`), 414),
  refused('72 a target over the parser’s cap', get(H, `/${'a'.repeat(40_000)}`), 414),
  passed('75 GET with a body', get(`${H}Content-Length: 1\r\n`).concat('x'), hasBody('x')),
  passed(
    '75 GET with a chunked body',
    get(`${H}Transfer-Encoding: chunked\r\n`).concat('1\r\nx\r\n0\r\n\r\n'),
    hasBody('x'),
  ),
  passed(
    '75 DELETE with a chunked body',
    `DELETE / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n`,
    hasBody('x'),
  ),
  passed('__proto__ is a name like any other', get(`${H}__proto__: x\r\nconstructor: y\r\n`), (request) =>
    assert.equal(request.header('constructor'), 'y'),
  ),
];

for (const vector of VECTORS) {
  const behaviour =
    vector.sees === undefined ? `gets ${vector.status}` : 'is forwarded as one canonical request';
  test(`${behaviourOf(vector)}: request vector ${vector.title} ${behaviour}`, (t) => run(t, vector));
}

/** The behaviour that a vector belongs to, by its number; most are about what cannot be framed or read in one way. */
function behaviourOf({ title }: Vector): string {
  const number = Number.parseInt(title, 10);
  if ([19, 20, 21, 22, 27, 40, 43, 44, 45, 65].includes(number)) return 'B22';
  if ([16, 17, 23, 29, 32, 73, 75].includes(number)) return 'B23';
  if ([25, 26].includes(number)) return 'B25';
  if (number >= 47 && number <= 54) return 'B27';
  return 'B21';
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

/** One Host, one framing, our own Via; nothing of the connection before it. */
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
    assert.equal(rest.toString('latin1'), '', 'more than one answer came');
  }
  const other = await proxy.connect();
  other.write('GET /other HTTP/1.1\r\nHost: a\r\n\r\n');
  assert.equal((await other.readResponse()).body.toString(), 'GET /other');
  assert.equal(backend.requests.at(-1)?.target, '/other');
  assert.ok(
    backend.requests.every(({ method }) => method !== '?'),
    'the backend was sent something that is no request',
  );
}
