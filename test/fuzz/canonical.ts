/**
 * A parser that accepts only what Sluice may send to a backend (RFC 9112, one spelling for everything); all else is a
 * fault. It shares no code with the product.
 */
export interface CanonicalRequest {
  method: string;
  target: string;
  headers: [name: string, value: string][];
  body: string;
  trailers: [name: string, value: string][];
  /** false: the bytes end inside it. */
  complete: boolean;
}

const TOKEN = "[!#$%&'*+\\-.^_`|~0-9A-Za-z]+";
const REQUEST_LINE = /^([A-Z-]+) ([\x21\x22\x24-\x7e]+) HTTP\/1\.1$/;
const FIELD = new RegExp(`^(${TOKEN}): ((?:[^\\x00-\\x08\\x0a-\\x1f\\x7f]*[^\\x00-\\x20\\x7f])?)$`);
const NEVER =
  /^(?:connection|keep-alive|proxy-connection|proxy-authorization|upgrade|expect|trailer|http2-settings|x-forwarded-server)$/i;

/** takeRequest reads the request at `at`; null: its head is not complete yet. It throws if the request is not canonical. */
export function takeRequest(text: string, at: number): { request: CanonicalRequest; end: number } | null {
  const headEnd = text.indexOf('\r\n\r\n', at);
  if (headEnd < 0) return null;
  const [line = '', ...fields] = text.slice(at, headEnd).split('\r\n');
  const found = REQUEST_LINE.exec(line);
  if (found === null) throw new Error(`no canonical request line: ${JSON.stringify(line)}`);
  const [, method = '', target = ''] = found;
  if (!(target.startsWith('/') || (target === '*' && method === 'OPTIONS')))
    throw new Error(`target ${JSON.stringify(target)}`);
  const headers = fields.map(fieldOf);
  checkHead(headers);
  const body = bodyOf(text, headEnd + 4, headers);
  return { request: { method, target, headers, ...body.parts }, end: body.end };
}

function fieldOf(line: string): [string, string] {
  const found = FIELD.exec(line);
  if (found === null) throw new Error(`no canonical field: ${JSON.stringify(line)}`);
  return [found[1] ?? '', found[2] ?? ''];
}

function checkHead(headers: readonly [string, string][]): void {
  const count = (name: string) => headers.filter(([key]) => key.toLowerCase() === name).length;
  if (headers.findIndex(([name]) => name === 'Host') !== 0 || count('host') !== 1)
    throw new Error('not one Host, in front');
  if (count('content-length') + count('transfer-encoding') > 1) throw new Error('framed twice');
  for (const once of ['x-forwarded-for', 'x-forwarded-proto', 'x-real-ip', 'x-request-id', 'traceparent']) {
    if (count(once) !== 1) throw new Error(`${count(once)} of ${once}`);
  }
  const wrong = headers.find(([name]) => NEVER.test(name) || name.includes('_'));
  if (wrong !== undefined) throw new Error(`field ${wrong[0]} was passed on`);
}

type Parts = Pick<CanonicalRequest, 'body' | 'trailers' | 'complete'>;

function bodyOf(
  text: string,
  from: number,
  headers: readonly [string, string][],
): { parts: Parts; end: number } {
  const framing = headers.find(([name]) => /^(?:content-length|transfer-encoding)$/i.test(name));
  if (framing === undefined) return { parts: { body: '', trailers: [], complete: true }, end: from };
  const [name, value] = framing;
  if (name === 'Transfer-Encoding' && value === 'chunked') return chunkedBodyOf(text, from);
  if (name !== 'Content-Length' || !/^(?:0|[1-9]\d{0,15})$/.test(value))
    throw new Error(`framing ${name}: ${value}`);
  const end = from + Number(value);
  return {
    parts: { body: text.slice(from, end), trailers: [], complete: text.length >= end },
    end: Math.min(end, text.length),
  };
}

function chunkedBodyOf(text: string, from: number): { parts: Parts; end: number } {
  const parts: Parts = { body: '', trailers: [], complete: false };
  const unfinished = { parts, end: text.length };
  for (let at = from; ; ) {
    const lineEnd = text.indexOf('\r\n', at);
    if (lineEnd < 0) return unfinished;
    const line = text.slice(at, lineEnd);
    if (!/^(?:0|[1-9a-f][0-9a-f]*)$/.test(line)) throw new Error(`chunk size ${JSON.stringify(line)}`);
    const size = Number.parseInt(line, 16);
    at = lineEnd + 2;
    if (size === 0) return trailersOf(text, at, parts);
    parts.body += text.slice(at, at + size);
    at += size;
    if (text.length < at + 2) return unfinished;
    if (!text.startsWith('\r\n', at)) throw new Error('chunk longer than its size');
    at += 2;
  }
}

function trailersOf(text: string, from: number, parts: Parts): { parts: Parts; end: number } {
  for (let at = from; ; ) {
    const lineEnd = text.indexOf('\r\n', at);
    if (lineEnd < 0) return { parts, end: text.length };
    if (lineEnd === at) return { parts: { ...parts, complete: true }, end: at + 2 };
    parts.trailers.push(fieldOf(text.slice(at, lineEnd)));
    at = lineEnd + 2;
  }
}
