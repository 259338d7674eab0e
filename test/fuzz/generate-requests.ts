/** Generates pipelines of valid and malformed requests. */
import { BAD_FIELD_LINES, CHUNK_ENDS, lines } from './generate-responses.ts';
import { edited, type Random } from './random.ts';

const METHODS = [
  'GET',
  'GET',
  'GET',
  'POST',
  'POST',
  'PUT',
  'DELETE',
  'PATCH',
  'HEAD',
  'OPTIONS',
  'TRACE',
  'PROPFIND',
  'QUERY',
];
const ODD_METHODS = ['get', 'FOO', 'CONNECT', 'PRI', 'G T', '', 'GET\t', 'M-SEARCH', 'SOURCE', 'POS'];
const ODD_TARGETS = [
  '*',
  'http://a/x',
  'http://A/x?y',
  'http://b/',
  'https://a',
  '//evil/x',
  '/a#b',
  '/a\\b',
  '/a%00b',
  '/a%2e%2e/b',
  '/../x',
  '/a b',
  'a:80',
  '',
  '/\x01',
  '/\xff',
  '/"<>{}|^`',
  '/?',
  '@x',
];
const ODD_VERSIONS = [
  'HTTP/1.0',
  'HTTP/1.0',
  'HTTP/1.2',
  'HTTP/2.0',
  'HTTP/0.9',
  'http/1.1',
  'HTTP/1.1 ',
  'HTTP/01.1',
  'RTSP/1.0',
  'ICE/1.0',
  '',
];
const ODD_HOSTS = ['', 'b', 'a:80', '[::1]:80', 'a@b', 'a, b', 'a b', 'a/b', 'a:x', '\ta\t', 'A'];
const NAMES = [
  'X-A',
  'x-b',
  'Accept',
  'Cookie',
  'User-Agent',
  'Authorization',
  "!#$%&'*+-.^`|~9",
  'X-Forwarded-Proto-Not',
  'Content-Type',
  'Referer',
];
const VALUES = ['', 'a', 'a b', '"q, r"', '\xe9', 'a:b', '\ta\t', ',', 'x'.repeat(70), 'GET / HTTP/1.1'];
const ODD_FIELDS = [
  'Connection: \xa0keep-alive',
  'Transfer-Encoding: chunked\t',
  ...[
    '0',
    '1',
    '02',
    '2, 2',
    '',
    '+2',
    '-1',
    '0x2',
    '2 2',
    '9007199254740992',
    '18446744073709551617',
    '00000000000000002',
    '\t0',
    '2\x0b',
  ].map((value) => `Content-Length: ${value}`),
  ...[
    'chunked',
    'gzip',
    'gzip, chunked',
    'chunked, gzip',
    'xchunked',
    'CHUNKED',
    ' chunked ',
    'chunked,',
    ',chunked',
    'identity',
    '',
    '"chunked"',
    'chunked;q=1',
    '\x0bchunked',
  ].map((value) => `Transfer-Encoding: ${value}`),
  ...[
    'close',
    'keep-alive',
    'Close, X-A',
    'X-A',
    'x-b, keep-alive',
    'Cookie',
    'upgrade',
    ', ,',
    'Host',
    'content-length',
    'TE',
    'te, close;a',
    'Transfer-Encoding',
  ].map((value) => `Connection: ${value}`),
  ...['100-continue', '100-Continue', '200-ok', ''].map((value) => `Expect: ${value}`),
  ...[
    'Trailer: X-T',
    'Upgrade: h2c',
    'TE: trailers',
    'TE: chunked',
    'Proxy-Connection: close',
    'Proxy-Authorization: x',
    'Keep-Alive: timeout=1',
    'HTTP2-Settings: AAA',
  ],
  ...[
    'X-Forwarded-For: 1.2.3.4',
    'X-Forwarded-Host: evil',
    'X-Real-IP: 1.1.1.1',
    'Forwarded: for=x',
    'X-Request-Id: mine',
    'Via: 1.0 x',
    'Date: now',
    'traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
    'tracestate: a=b',
  ],
  ...BAD_FIELD_LINES,
  ...['Host: a', 'Host: b', 'Host : a'],
  ...[
    'Content-Length : 2',
    'Content_Length: 2',
    'Content-Length\0: 2',
    'Transfer-Encoding : chunked',
    'Transfer_Encoding: chunked',
    'Transfer-Encoding:\r\n chunked',
    'X_A: 1',
    '__proto__: x',
    'constructor: y',
  ],
];
const EXTENSIONS = [
  ';a',
  ';a=b',
  ';a="b c"',
  ';',
  '; a',
  ' ',
  ' ;a',
  ';a b',
  ';"',
  ';a\n',
  '\t',
  ';a=b;c',
  ';\xe9',
];
const TRAILERS = [
  'Host: a',
  'Content-Length: 3',
  'X-T : 1',
  'foo',
  ' x: 1',
  'Transfer-Encoding: chunked',
  'Authorization: a',
  'X-T: a\x01',
  'X-T: 1',
  'X_T: 1',
  'X-Sum: 2',
  'X:POST / HTTP/1.1',
];
const SIZES = [
  '',
  '0x2',
  '+2',
  '-2',
  ' 2',
  '2 ',
  'ffffffffffffffff',
  '10000000000000002',
  '00000000000000002',
  'g',
  '2\n',
];
const BETWEEN = ['\r\n', '\n', '\r\n\r\n', ' ', '\0', 'X'];

/** The last request of a pipeline closes the connection. A proxy answers it if it has understood everything before. */
export const LAST_TARGET = '/last';
const LAST = `GET ${LAST_TARGET} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`;

/** pipelineCase makes all bytes of one connection, including the closing request. */
export function pipelineCase(random: Random): string {
  const count = 1 + random.below(5);
  let text = '';
  for (let i = 0; i < count; i++) {
    text += requestText(random, i);
    if (random.oneIn(15)) text += random.pick(BETWEEN);
  }
  if (random.oneIn(5)) text = edited(random, text);
  if (random.oneIn(25)) text = text.slice(0, random.below(text.length));
  return text + LAST;
}

function requestText(random: Random, index: number): string {
  const method = random.oneIn(40) ? random.pick(ODD_METHODS) : random.pick(METHODS);
  const target = random.oneIn(12)
    ? random.pick(ODD_TARGETS)
    : `/r${index}${random.pick(['', '?q=1', '/a/b', '/%7e', '//x'])}`;
  const version = random.oneIn(25) ? random.pick(ODD_VERSIONS) : 'HTTP/1.1';
  const host = random.oneIn(25) ? random.pick(ODD_HOSTS) : 'a';
  const framed = framedOf(random, method);
  const odd = random.oneIn(4) ? [random.pick(ODD_FIELDS)] : [];
  const fields = [...random.some(3, () => field(random)), ...odd, ...(random.oneIn(30) ? [] : framed.fields)];
  if (random.oneIn(400)) fields.push(...Array.from({ length: 95 + random.below(10) }, () => 'X-Many: 1'));
  const hosted = random.oneIn(60) ? fields : [`Host: ${host}`, ...fields];
  const at = random.oneIn(3) ? random.below(hosted.length + 1) : 0;
  const turned = [...hosted.slice(at), ...hosted.slice(0, at)];
  return `${method} ${target} ${version}\r\n${lines(turned)}\r\n${framed.body}`;
}

function field(random: Random): string {
  return `${random.pick(NAMES)}${random.pick([': ', ':', ':\t', ':  '])}${random.pick(VALUES)}${random.pick(['', '', ' ', '\t'])}`;
}

function framedOf(random: Random, method: string): { fields: string[]; body: string } {
  const mayCarry = method !== 'GET' && method !== 'HEAD';
  if (!mayCarry && !random.oneIn(8)) return { fields: [], body: '' };
  const size = random.oneIn(60) ? 9000 : 40;
  if (random.oneIn(2)) {
    const body = random.text(size);
    return { fields: [`Content-Length: ${body.length}`], body };
  }
  if (random.oneIn(6)) return { fields: [], body: '' };
  return { fields: ['Transfer-Encoding: chunked'], body: chunkedBody(random) };
}

function chunkedBody(random: Random): string {
  const chunks = random.some(4, () => {
    const data = `x${random.text(random.oneIn(40) ? 5000 : 30)}`;
    const size = random.oneIn(80)
      ? random.pick(SIZES)
      : (random.oneIn(6) ? '00' : '') + data.length.toString(16);
    return `${size}${extension(random)}\r\n${data}${random.oneIn(60) ? random.pick(CHUNK_ENDS) : '\r\n'}`;
  });
  const trailers = random.oneIn(4)
    ? random.some(2, () => (random.oneIn(3) ? random.pick(TRAILERS) : field(random)))
    : [];
  return `${chunks.join('')}${random.oneIn(8) ? '000' : '0'}${extension(random)}\r\n${lines(trailers)}\r\n`;
}

function extension(random: Random): string {
  return random.oneIn(25) ? random.pick(EXTENSIONS) : '';
}
