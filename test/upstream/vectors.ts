/** Answers of backends, byte for byte, and what must become of each. Tests split them at every byte and send them over sockets. */

export interface GoodAnswer {
  status: number;
  reason?: string;
  /** Flat, as ResponseHead.headers; unchecked when left out. */
  headers?: string[];
  contentLength?: number;
  body?: string;
  trailers?: string[];
  interims?: number[];
  /** Whether the connection is parked for the next request. */
  reused: boolean;
}

export interface Vector {
  name: string;
  bytes: string;
  method?: string;
  /** Whether the backend ends the connection after these bytes. */
  fin?: boolean;
  /** An answer, or the code of the error. */
  expected: GoodAnswer | 'upstream_invalid' | 'upstream_reset';
}

const head = (...lines: string[]): string => `${['HTTP/1.1 200 OK', ...lines].join('\r\n')}\r\n\r\n`;
const CHUNKED = 'Transfer-Encoding: chunked';
const OK_CHUNKS = '2\r\nok\r\n0\r\n\r\n';
const good = (answer: Partial<GoodAnswer> = {}): GoodAnswer => ({
  status: 200,
  body: 'ok',
  reused: true,
  ...answer,
});
const bad = (name: string, bytes: string, fin = false): Vector => ({
  name,
  bytes,
  fin,
  expected: 'upstream_invalid',
});
const full = (...lines: string[]): string => `${head(...lines, 'Content-Length: 2')}ok`;

const SOUND: Vector[] = [
  {
    name: 'Content-Length',
    bytes: full('X-A: 1', 'x-a:2', 'Set-Cookie: a', 'Set-Cookie: b'),
    expected: good({
      headers: ['X-A', '1', 'x-a', '2', 'Set-Cookie', 'a', 'Set-Cookie', 'b'],
      contentLength: 2,
    }),
  },
  {
    name: 'Content-Length: 0',
    bytes: head('Content-Length: 0'),
    expected: good({ body: '', contentLength: 0 }),
  },
  {
    name: 'Content-Length with zeros and tabs',
    bytes: `${head('Content-Length: \t002\t ')}ok`,
    expected: good(),
  },
  { name: 'blanks around a value', bytes: full('X: \t a b \t'), expected: good({ headers: ['X', 'a b'] }) },
  { name: 'empty value', bytes: full('X:'), expected: good({ headers: ['X', ''] }) },
  { name: 'obs-text in a value', bytes: full('X: \xe9\xff'), expected: good({ headers: ['X', '\xe9\xff'] }) },
  { name: 'chunked', bytes: `${head(CHUNKED)}${OK_CHUNKS}`, expected: good({ contentLength: -1 }) },
  {
    name: 'chunked in any case',
    bytes: `${head('transfer-encoding: cHuNkEd')}${OK_CHUNKS}`,
    expected: good(),
  },
  {
    name: 'many chunks, zeros in sizes',
    bytes: `${head(CHUNKED)}1\r\na\r\n003\r\nbcd\r\n0A\r\n0123456789\r\n000\r\n\r\n`,
    expected: good({ body: 'abcd0123456789' }),
  },
  { name: 'close-delimited', bytes: `${head()}ok`, fin: true, expected: good({ reused: false }) },
  { name: 'close-delimited, empty', bytes: head(), fin: true, expected: good({ reused: false, body: '' }) },
  {
    name: 'HTTP/1.0 close-delimited',
    bytes: 'HTTP/1.0 200 OK\r\n\r\nok',
    fin: true,
    expected: good({ reused: false }),
  },
  {
    name: 'HTTP/1.0 with keep-alive is not reused',
    bytes: 'HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok',
    expected: good({ reused: false }),
  },
  {
    name: 'HEAD without a length',
    bytes: head('X: 1'),
    method: 'HEAD',
    expected: good({ body: '', contentLength: -1, reused: false }),
  },
  {
    name: 'hop-by-hop fields do not pass',
    bytes: full(
      'Connection: keep-alive, X-Hop',
      'Keep-Alive: timeout=5',
      'X-Hop: 1',
      'Proxy-Authenticate: Basic',
      'Proxy-Connection: close',
      'TE: trailers',
      'Upgrade: h2c',
      'X: 1',
    ),
    expected: good({ headers: ['X', '1'] }),
  },
];

const AWKWARD: Vector[] = [
  bad('Content-Length twice, the same', `${head('Content-Length: 2', 'Content-Length: 2')}ok`),
  bad('Content-Length twice, different', `${head('Content-Length: 2', 'Content-Length: 3')}okX`),
  bad('Content-Length: 2, 2', `${head('Content-Length: 2, 2')}ok`),
  bad('Content-Length: +2', `${head('Content-Length: +2')}ok`),
  bad('Content-Length: -2', `${head('Content-Length: -2')}ok`),
  bad('Content-Length: 0x2', `${head('Content-Length: 0x2')}ok`),
  bad('Content-Length: 2 2', `${head('Content-Length: 2 2')}ok`),
  bad('Content-Length empty', `${head('Content-Length:')}ok`, true),
  bad('Content-Length 2^53', `${head('Content-Length: 9007199254740992')}ok`),
  bad('Content-Length of 20 digits', `${head('Content-Length: 18446744073709551617')}ok`),
  bad('TE and CL', `${head(CHUNKED, 'Content-Length: 2')}${OK_CHUNKS}`),
  bad('CL and TE', `${head('Content-Length: 2', CHUNKED)}${OK_CHUNKS}`),
  ...[
    'gzip',
    'xchunked',
    'chunked, identity',
    'gzip, chunked',
    ',chunked',
    'chunked;q=1',
    '"chunked"',
    '',
  ].map((coding) =>
    bad(`Transfer-Encoding: ${coding}`, `${head(`Transfer-Encoding: ${coding}`)}${OK_CHUNKS}`, true),
  ),
  bad('Transfer-Encoding twice', `${head(CHUNKED, CHUNKED)}${OK_CHUNKS}`),
  bad('Transfer-Encoding in HTTP/1.0', `HTTP/1.0 200 OK\r\n${CHUNKED}\r\n\r\n${OK_CHUNKS}`, true),
  {
    name: '204 with Content-Length and a body',
    bytes: 'HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok',
    expected: good({ status: 204, body: '', contentLength: -1, reused: false }),
  },
  {
    name: '204 with Content-Length 2 and no body is not trusted either',
    bytes: 'HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n',
    expected: good({ status: 204, body: '', contentLength: -1, reused: false }),
  },
  {
    name: '204 with Content-Length 0',
    bytes: 'HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n',
    expected: good({ status: 204, body: '', contentLength: -1 }),
  },
  {
    name: '304 with Content-Length',
    bytes: 'HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n',
    expected: good({ status: 304, body: '', contentLength: 2 }),
  },
  {
    name: '304 with Transfer-Encoding',
    bytes: `HTTP/1.1 304 Not Modified\r\n${CHUNKED}\r\n\r\n`,
    expected: good({ status: 304, body: '', contentLength: -1, headers: [] }),
  },
  {
    name: '204 with Transfer-Encoding',
    bytes: `HTTP/1.1 204 No Content\r\n${CHUNKED}\r\n\r\n`,
    expected: good({ status: 204, body: '', headers: [], contentLength: -1, reused: false }),
  },
  {
    name: '205 with a body',
    bytes: 'HTTP/1.1 205 Reset\r\nContent-Length: 2\r\n\r\nok',
    expected: good({ status: 205 }),
  },
  ...['100 Continue', '102 Processing', '103 Early Hints', '199 X'].map((line) => ({
    name: `${line} before the answer`,
    bytes: `HTTP/1.1 ${line}\r\nLink: x\r\n\r\n${full()}`,
    expected: good({ interims: [Number(line.slice(0, 3))] }),
  })),
  {
    name: 'sixteen interim answers',
    bytes: `${'HTTP/1.1 103 E\r\n\r\n'.repeat(16)}${full()}`,
    expected: good({ interims: Array.from({ length: 16 }, () => 103) }),
  },
  bad('seventeen interim answers', `${'HTTP/1.1 103 E\r\n\r\n'.repeat(17)}${full()}`),
  {
    name: '100 with Content-Length',
    bytes: `HTTP/1.1 100 Continue\r\nContent-Length: 2\r\n\r\n${full()}`,
    expected: good({ interims: [100] }),
  },
  bad('unsolicited 101', 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nZZ'),
  bad('bare LF lines', 'HTTP/1.1 200 OK\nContent-Length: 2\n\nok'),
  bad('one bare LF', 'HTTP/1.1 200 OK\r\nX: 1\nContent-Length: 2\r\n\r\nok'),
  bad('bare LF at the end of the head', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\nok\r\n\r\n'),
  bad('bare CR in a value', full('X: a\rb')),
  bad('CR CR LF', full('X: a\r')),
  bad('NUL in a value', full('X: a\0b')),
  bad('0x01 in a value', full('X: a\x01b')),
  bad('DEL in a value', full('X: a\x7fb')),
  bad('obs-fold', full('X: a\r\n b')),
  bad('obs-fold with a tab', full('X: a\r\n\tb: c')),
  bad('obs-fold as first line', head(' X: a', 'Content-Length: 2')),
  bad('space before the colon', `${head('Content-Length : 2')}ok`, true),
  bad('name with a space', full('X Y: a')),
  bad('name with obs-text', full('X\xe9: a')),
  bad('empty name', full(': a')),
  bad('line without a colon', full('foo')),
  {
    name: 'no reason, no space',
    bytes: 'HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok',
    expected: good({ reason: '' }),
  },
  {
    name: 'no reason, a space',
    bytes: 'HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok',
    expected: good({ reason: '' }),
  },
  ...['000', '099', '600', '999', '20', '2000', '2x0', '+20', '٢٠٠'].map((status) =>
    bad(`status ${status}`, `HTTP/1.1 ${status} X\r\nContent-Length: 2\r\n\r\nok`),
  ),
  {
    name: 'an unknown status passes',
    bytes: 'HTTP/1.1 599 Odd\r\nContent-Length: 2\r\n\r\nok',
    expected: good({ status: 599, reason: 'Odd' }),
  },
  {
    name: 'a reason with a control byte is left out',
    bytes: 'HTTP/1.1 200 a\x01b\r\nContent-Length: 2\r\n\r\nok',
    expected: good({ reason: '' }),
  },
  {
    name: 'a custom reason passes',
    bytes: 'HTTP/1.1 200 Tr\xe8s bien\tici\r\nContent-Length: 2\r\n\r\nok',
    expected: good({ reason: 'Tr\xe8s bien\tici' }),
  },
  bad('bare CR in the reason', 'HTTP/1.1 200 a\rb\r\nContent-Length: 2\r\n\r\nok'),
  ...[
    'HTTP/2.0 200 OK',
    'HTTP/0.9 200 OK',
    'HTTP/1.2 200 OK',
    'HTTP/1.10 200',
    'http/1.1 200 OK',
    'ICY 200 OK',
  ].map((line) => bad(`status line ${line}`, `${line}\r\nContent-Length: 2\r\n\r\nok`)),
  bad('two spaces before the status', 'HTTP/1.1  200 OK\r\nContent-Length: 2\r\n\r\nok'),
  bad('a tab before the status', 'HTTP/1.1\t200 OK\r\nContent-Length: 2\r\n\r\nok'),
  bad('another protocol', 'SSH-2.0-OpenSSH_9.2p1\r\n'),
  bad('CRLF before the status line', `\r\n${full()}`),
  { name: 'bytes after the body', bytes: `${full()}EXTRA`, expected: good({ reused: false }) },
  {
    name: 'bytes after the last chunk',
    bytes: `${head(CHUNKED)}${OK_CHUNKS}EXTRA`,
    expected: good({ reused: false }),
  },
  {
    name: 'two answers to one request',
    bytes: `${full()}${head('Content-Length: 4')}evil`,
    expected: good({ reused: false }),
  },
  {
    name: 'FIN before Content-Length is reached',
    bytes: `${head('Content-Length: 5')}ok`,
    fin: true,
    expected: 'upstream_reset',
  },
  { name: 'FIN inside a chunk', bytes: `${head(CHUNKED)}5\r\nok`, fin: true, expected: 'upstream_reset' },
  {
    name: 'FIN before the last chunk',
    bytes: `${head(CHUNKED)}2\r\nok\r\n`,
    fin: true,
    expected: 'upstream_reset',
  },
  {
    name: 'FIN before the end of the trailers',
    bytes: `${head(CHUNKED)}2\r\nok\r\n0\r\nX: 1\r\n`,
    fin: true,
    expected: 'upstream_reset',
  },
  { name: 'FIN inside the head', bytes: 'HTTP/1.1 200 OK\r\nX', fin: true, expected: 'upstream_reset' },
  { name: 'FIN instead of an answer', bytes: '', fin: true, expected: 'upstream_reset' },
  {
    name: 'FIN after an interim answer',
    bytes: 'HTTP/1.1 103 E\r\n\r\n',
    fin: true,
    expected: 'upstream_reset',
  },
  ...[
    ['0x2', '0x2\r\nok\r\n0\r\n\r\n'],
    ['a space after the size', '2 \r\nok\r\n0\r\n\r\n'],
    ['a space before the size', ' 2\r\nok\r\n0\r\n\r\n'],
    ['+2', '+2\r\nok\r\n0\r\n\r\n'],
    ['no size', '\r\nok\r\n0\r\n\r\n'],
    ['LF lines', '2\nok\n0\n\n'],
    ['size ended by CR alone', '2\rok\r\n0\r\n\r\n'],
    ['a size of 17 digits', '00000000000000002\r\nok\r\n0\r\n\r\n'],
    ['a size of 2^64 + 1', '10000000000000001\r\nok\r\n0\r\n\r\n'],
    ['a size of 2^60', '1000000000000000\r\nok\r\n0\r\n\r\n'],
    ['data longer than the size', '2\r\nokk\r\n0\r\n\r\n'],
    ['data shorter than the size', '3\r\nok\r\n0\r\n\r\n'],
    ['data ended by LF', '2\r\nok\n0\r\n\r\n'],
    ['LF in an extension', '2;a\nx\r\nok\r\n0\r\n\r\n'],
    ['CR in an extension', '2;a\rx\r\nok\r\n0\r\n\r\n'],
    ['NUL in an extension', '2;a\0\r\nok\r\n0\r\n\r\n'],
    ['LF after the last chunk', '2\r\nok\r\n0\n\n'],
    ['bare LF in a trailer', '2\r\nok\r\n0\r\nX: 1\n\r\n'],
    ['bare CR in a trailer', '2\r\nok\r\n0\r\nX: 1\rY: 2\r\n\r\n'],
    ['a trailer line without a colon', '2\r\nok\r\n0\r\nfoo\r\n\r\n'],
    ['obs-fold in a trailer', '2\r\nok\r\n0\r\nX: 1\r\n y\r\n\r\n'],
    ['NUL in a trailer', '2\r\nok\r\n0\r\nX: \0\r\n\r\n'],
  ].map(([name, chunks]) => bad(`chunks: ${name}`, `${head(CHUNKED)}${chunks}`)),
  {
    name: 'chunk extensions are dropped',
    bytes: `${head(CHUNKED)}2;a="b";c\r\nok\r\n0;last\r\n\r\n`,
    expected: good(),
  },
  {
    name: 'trailers pass, except for framing, routing and authentication',
    bytes:
      `${head(CHUNKED)}2\r\nok\r\n0\r\nX-T: 1\r\nContent-Length: 9\r\nTransfer-Encoding: x\r\nHost: a\r\n` +
      'Authorization: b\r\nSet-Cookie: c\r\nConnection: d\r\nX-Forwarded-For: e\r\nContent-Type: f\r\ngrpc-status: 0\r\n\r\n',
    expected: good({ trailers: ['X-T', '1', 'grpc-status', '0'] }),
  },
  bad('a head above the cap', full(`X: ${'a'.repeat(70_000)}`)),
  bad('too many headers', full(...Array.from({ length: 201 }, () => 'X: 1'))),
  { name: 'Trailer is stripped', bytes: full('Trailer: x'), expected: good({ headers: [] }) },
  { name: 'Connection: close', bytes: full('Connection: close'), expected: good({ reused: false }) },
  {
    name: 'Connection: x, Close',
    bytes: full('Connection: x, Close'),
    expected: good({ reused: false }),
  },
  {
    name: 'Connection cannot remove protected fields',
    bytes: full('Connection: Set-Cookie, Date, Content-Length', 'Set-Cookie: a', 'Date: b'),
    expected: good({ headers: ['Set-Cookie', 'a', 'Date', 'b'], contentLength: 2 }),
  },
  {
    name: 'a body after the answer to HEAD',
    bytes: full(),
    method: 'HEAD',
    expected: good({ body: '', contentLength: 2, reused: false }),
  },
];

export const VECTORS: readonly Vector[] = [...SOUND, ...AWKWARD];
