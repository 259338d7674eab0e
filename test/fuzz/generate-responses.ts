/** Generates valid and malformed responses: from a grammar, from the vectors, and by edits of both. */
import { VECTORS } from '../upstream/vectors.ts';
import { edited, type Random } from './random.ts';

export interface ResponseCase {
  text: string;
  method: 'GET' | 'HEAD';
}

/** Lines that are no valid field by RFC 9112 §5; used for requests too. */
export const BAD_FIELD_LINES: readonly string[] = [
  'X-A : 1',
  ' X-A: 1',
  '\tX-A: 1',
  'X A: 1',
  'foo',
  ': x',
  'X\xe9: a',
  'X-A: a\rb',
  'X-A: a\nb',
  'X-A: a\0b',
  'X-A: a\x01b',
  'X-A: a\x7fb',
  'X-A: a\r',
  'X(: 1',
];

const NAMES = [
  'X-A',
  'x-b',
  'Server',
  'Set-Cookie',
  'Date',
  'Vary',
  'ETag',
  'X_Under',
  'Via',
  'Age',
  "!#$%&'*+-.^`|~9",
];
const VALUES = ['', 'a', 'a b', '"q, r"', '\xe9', 'a:b', '\ta\t', ',', 'x'.repeat(70), 'HTTP/1.1 200 OK'];
const ODD_FIELDS = [
  ...['0', '1', '2', '02', '2, 2', '', '+2', '-1', '0x2', '2 2', '9007199254740991', '9007199254740992'].map(
    (value) => `Content-Length: ${value}`,
  ),
  ...['18446744073709551617', '00000000000000002', '\t2', '2\x0b', '2,', '2;'].map(
    (value) => `Content-Length: ${value}`,
  ),
  ...[
    'chunked',
    'gzip',
    'gzip, chunked',
    'chunked, gzip',
    'xchunked',
    'chunkedx',
    'CHUNKED',
    ' chunked ',
    'chunked,',
  ].map((value) => `Transfer-Encoding: ${value}`),
  ...[',chunked', 'identity', '', '"chunked"', 'chunked;q=1', 'chunked, chunked', '\x0bchunked'].map(
    (value) => `Transfer-Encoding: ${value}`,
  ),
  ...[
    'close',
    'keep-alive',
    'Close, X-A',
    'X-A',
    'x-b, keep-alive',
    'Set-Cookie',
    'upgrade',
    ', ,',
    'close close',
    'close;a',
  ].map((value) => `Connection: ${value}`),
  ...['timeout=5', 'timeout=0', 'max=3, timeout = 7', 'x'].map((value) => `Keep-Alive: ${value}`),
  ...['Trailer: X-T', 'Upgrade: h2c', 'TE: trailers', 'Proxy-Connection: close', 'Proxy-Authenticate: Basic'],
  ...BAD_FIELD_LINES,
  ...[
    'Content-Length : 2',
    'Content_Length: 2',
    'Content-Length\0: 2',
    'Transfer-Encoding : chunked',
    'Transfer_Encoding: chunked',
    'Transfer-Encoding:\r\n chunked',
  ],
];
const VERSIONS = [
  'HTTP/1.0',
  'HTTP/2.0',
  'HTTP/0.9',
  'HTTP/1.2',
  'http/1.1',
  'ICY',
  'HTTP/11',
  'HTTP/1.1 ',
  'RTSP/1.0',
  'HTTP/1.10',
  '\tHTTP/1.1',
  'HTTQ/1.1',
];
const PLAIN_STATUS = [
  '200 OK',
  '404 Not Found',
  '503',
  '200',
  '500 ',
  '299 \xe9 x',
  '205 R',
  '599 x',
  '416 a  b',
];
const BODILESS_STATUS = ['204 No Content', '304 Not Modified', '204', '304 '];
const ODD_STATUS = [
  '000 X',
  '99 X',
  '600 X',
  '999 X',
  '2000 X',
  '20x X',
  '20',
  '+20 X',
  '200 a\x01b',
  '200 a\0',
  '200\tOK',
  ' 200 OK',
  '101 Switching',
  '2 00 OK',
  '200OK',
  '200 a\x7f',
];
const INTERIMS = ['100 Continue', '103 Early Hints', '102 Processing', '199 X', '100'];
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
  ';=',
  ';a="',
  ';a=b;c',
  '\t',
  ';a\x01',
  ';a\n',
  ';\xe9',
  '\r',
  ';a="\\""',
  'g',
  ';a=',
];
const TRAILERS = [
  'Host: a',
  'Content-Length: 3',
  'X-T : 1',
  'foo',
  ' x: 1',
  'Transfer-Encoding: chunked',
  'Set-Cookie: a',
  'X-T: a\x01',
  'X-T: 1',
  'X_T: 1',
  ': 1',
  'Connection: close',
  'X-T: a\rb',
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
  '1fffffffffffff',
  '00000000000000002',
  'g',
  '2\n',
  '2\r',
];
const AFTER = [
  'EXTRA',
  '\r\n',
  '\n',
  'HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx',
  '\0',
  '0\r\n\r\n',
  'HTTP/1.1 204 N\r\n\r\n',
];

/** Used instead of the CRLF after a chunk. */
export const CHUNK_ENDS = ['', '\n', '\r', '\r\r\n', ';\n', 'X\r\n', '\r\n\r\n', '\0\n', ' \r\n', '\n\n'];

export const lines = (list: readonly string[]): string => list.map((line) => `${line}\r\n`).join('');

/** responseCase makes the bytes of a backend's response to one request. */
export function responseCase(random: Random): ResponseCase {
  const method = random.oneIn(6) ? 'HEAD' : 'GET';
  let text = random.oneIn(12) ? random.pick(VECTORS).bytes.slice(0, 4000) : grammatical(random);
  if (random.oneIn(3)) text = edited(random, text);
  if (random.oneIn(12)) text = text.slice(0, random.below(text.length));
  return { text, method };
}

/** soundResponse makes a response that every reader must read alike. */
export function soundResponse(random: Random): string {
  const fields = random.some(4, () => field(random));
  const framed = framedOf(random, false);
  return `HTTP/1.1 ${random.pick(PLAIN_STATUS)}\r\n${lines([...fields, ...framed.fields])}\r\n${framed.body}`;
}

function grammatical(random: Random): string {
  const odd = random.oneIn(3)
    ? [random.pick(ODD_FIELDS), ...(random.oneIn(4) ? [random.pick(ODD_FIELDS)] : [])]
    : [];
  const framed = framedOf(random, true);
  const fields = [...random.some(4, () => field(random)), ...odd, ...(random.oneIn(10) ? [] : framed.fields)];
  if (random.oneIn(400)) fields.push(...Array.from({ length: 190 + random.below(20) }, () => 'X-Many: 1'));
  if (random.oneIn(400)) fields.push(`X-Long: ${'y'.repeat(65_000 + random.below(1000))}`);
  const after = random.oneIn(6) ? random.pick(AFTER) : '';
  return `${before(random)}${versionOf(random)} ${statusOf(random)}\r\n${lines(shuffled(random, fields))}\r\n${framed.body}${after}`;
}

function before(random: Random): string {
  if (random.oneIn(25)) return random.pick(['\r\n', '\n', ' ', '\r', '\r\n\r\n']);
  if (!random.oneIn(5)) return '';
  const count = random.oneIn(20) ? 14 + random.below(5) : 1 + random.below(2);
  return Array.from({ length: count }, () => {
    const fields = random.some(2, () => (random.oneIn(10) ? random.pick(ODD_FIELDS) : field(random)));
    return `${random.oneIn(30) ? 'HTTP/1.0' : 'HTTP/1.1'} ${random.pick(INTERIMS)}\r\n${lines(fields)}\r\n`;
  }).join('');
}

function versionOf(random: Random): string {
  if (random.oneIn(9)) return 'HTTP/1.0';
  return random.oneIn(20) ? random.pick(VERSIONS) : 'HTTP/1.1';
}

function statusOf(random: Random): string {
  if (random.oneIn(6)) return random.pick(BODILESS_STATUS);
  return random.oneIn(12) ? random.pick(ODD_STATUS) : random.pick(PLAIN_STATUS);
}

function field(random: Random): string {
  return `${random.pick(NAMES)}${random.pick([': ', ':', ':\t', ':  '])}${random.pick(VALUES)}${random.pick(['', '', '', '', '', '', ' ', '\t'])}`;
}

function shuffled(random: Random, list: string[]): string[] {
  if (list.length < 2 || random.oneIn(2)) return list;
  const at = random.below(list.length);
  return [...list.slice(at), ...list.slice(0, at)];
}

/** Framing fields and a matching body. Odd fields and edits spoil them later. */
function framedOf(random: Random, odd: boolean): { fields: string[]; body: string } {
  const size = random.oneIn(60) ? 9000 : 60;
  switch (random.below(5)) {
    case 0:
    case 1: {
      const body = random.text(size);
      return { fields: [`Content-Length: ${body.length}`], body };
    }
    case 2:
      return { fields: [], body: random.text(size) };
    default:
      return {
        fields: [random.pick(['Transfer-Encoding: chunked', 'transfer-encoding:Chunked'])],
        body: chunkedBody(random, odd),
      };
  }
}

function chunkedBody(random: Random, odd: boolean): string {
  const chunks = random.some(5, () => {
    const data = `x${random.text(random.oneIn(40) ? 5000 : 30)}`;
    const zeros = random.oneIn(6) ? '00' : '';
    const size = random.oneIn(2) ? data.length.toString(16) : data.length.toString(16).toUpperCase();
    return `${odd && random.oneIn(60) ? random.pick(SIZES) : zeros + size}${extension(random, odd)}\r\n${data}${odd && random.oneIn(60) ? random.pick(CHUNK_ENDS) : '\r\n'}`;
  });
  const trailers = random.some(2, () => (odd && random.oneIn(3) ? random.pick(TRAILERS) : field(random)));
  const last = random.oneIn(8) ? '000' : '0';
  return `${chunks.join('')}${last}${extension(random, odd)}\r\n${random.oneIn(2) ? '' : lines(trailers)}\r\n`;
}

function extension(random: Random, odd: boolean): string {
  if (!random.oneIn(8)) return '';
  return odd ? random.pick(EXTENSIONS) : ';a=b';
}
