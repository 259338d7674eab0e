/** Valid traffic with a few bytes changed. */
import type { Random } from './random.ts';

const BYTES = '\r\n\t \0:;,=_"0a\x7f\x80\xff';
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS'];
const FIELDS = [
  'Accept: */*',
  'User-Agent: curl/8.5.0',
  'Cookie: a=b; c=d',
  'Accept-Encoding: gzip, deflate, br',
  'Connection: keep-alive',
  'Connection: Keep-Alive, X-Hop',
  'X-Hop: 1',
  'X-Forwarded-For: 192.0.2.1, 192.0.2.2',
  'X-Forwarded-Proto: https',
  'X-Forwarded-Port: 443',
  'Forwarded: for=192.0.2.1',
  'X-Request-Id: 5c1f',
  'traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
  'tracestate: a=b',
  'TE: trailers, deflate;q=0.5',
  'Authorization: Basic YTpi',
  'X-Empty:',
  'X-Long:   a b\tc  ',
];

/** editedCase makes a few valid requests and changes them in 1–5 places. */
export function editedCase(random: Random): string {
  let text = '';
  for (let left = 1 + random.below(3); left > 0; left--) text += soundRequest(random);
  for (let left = 1 + random.below(5); left > 0; left--) text = edit(random, text);
  return text;
}

function soundRequest(random: Random): string {
  const method = random.pick(METHODS);
  const version = random.oneIn(10) ? '1.0' : '1.1';
  const fields = ['Host: example.org', ...random.some(4, () => random.pick(FIELDS))];
  if (version === '1.0' && random.oneIn(2)) fields.push('Connection: keep-alive');
  const data = random.text(random.oneIn(40) ? 3000 : 20);
  let body = '';
  const kind = method === 'GET' || method === 'HEAD' ? 3 : random.below(3);
  if (kind === 0) {
    fields.push(`Content-Length: ${data.length}`);
    body = data;
    if (data !== '' && version === '1.1' && random.oneIn(4)) fields.push('Expect: 100-continue');
  } else if (kind === 1 && version === '1.1') {
    fields.push('Transfer-Encoding: chunked');
    body = chunked(random, data);
  }
  const lines = fields.map((field) => `${field}\r\n`).join('');
  return `${method} /${random.pick(['', 'a/b?c=d', '%41', 'x'])} HTTP/${version}\r\n${lines}\r\n${body}`;
}

function chunked(random: Random, data: string): string {
  const at = random.below(data.length + 1);
  const pieces = [data.slice(0, at), data.slice(at)].filter((piece) => piece !== '');
  const extension = random.oneIn(4) ? ';a="b";c' : '';
  const chunks = pieces.map((piece) => `${piece.length.toString(16)}${extension}\r\n${piece}\r\n`);
  return `${chunks.join('')}0\r\n${random.oneIn(3) ? 'X-Sum: 1\r\n' : ''}\r\n`;
}

function edit(random: Random, text: string): string {
  const at = random.below(text.length);
  const [before, byte, rest] = [text.slice(0, at), text.charCodeAt(at), text.slice(at + 1)];
  switch (random.below(6)) {
    case 0:
      return before + String.fromCharCode(byte ^ (1 << random.below(8))) + rest;
    case 1: {
      const inserted = random.oneIn(2) ? random.pick([...BYTES]) : String.fromCharCode(random.below(256));
      return before + inserted + text.slice(at);
    }
    case 2:
      return before + text.slice(at + 1 + (random.oneIn(3) ? random.below(8) : 0));
    case 3:
      return before + text.slice(at, at + 1 + random.below(30)) + text.slice(at);
    case 4: {
      // Replaces a CR by an LF, or swaps the two.
      const place = text.indexOf('\r\n', at);
      if (place < 0) return text;
      const ends = random.pick(['\n\r', '\r', '\n', '\r\r', '\n\n', '\r\r\n', '\r\n\n']);
      return text.slice(0, place) + ends + text.slice(place + 2);
    }
    default: {
      // Moves a slice to another place.
      const slice = text.slice(at, at + 1 + random.below(12));
      const without = before + text.slice(at + slice.length);
      const to = random.below(without.length + 1);
      return without.slice(0, to) + slice + without.slice(to);
    }
  }
}
