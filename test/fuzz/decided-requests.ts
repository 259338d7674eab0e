/**
 * The rules by which Sluice refuses requests that node's server accepts. A request that no rule refuses must have reached the
 * backend. Rules that search the bytes cannot distinguish two requests with the same method and target, so they do not apply
 * without the bytes.
 */
import { tokensOf } from './passing-fields.ts';
import type { ReadRequest } from './request-reader.ts';

interface Refusal {
  name: string;
  why: string;
  /** What the rule refuses: the head alone, the body after a valid head; default: the request as a whole. */
  part?: 'head' | 'body';
  /** @param text the whole pipeline, latin1; '' if the request was read */
  applies(request: ReadRequest, values: (name: string) => string[], text: string): boolean;
}

const HEADERS_MAX = 100;
const HEADER_MAX_BYTES = 16_384;
const HOST = /^(?:[\w.-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?$/i;

const LONE_CR = /\r(?!\n)/;
const LONG_SIZE = /\r\n[0-9a-f]{17,}[;\r]/i;

const REFUSALS: readonly Refusal[] = [
  {
    name: 'version other than 1.0 and 1.1',
    why: 'RFC 9112 §2.3: framing is known of these only',
    part: 'head',
    applies: ({ version }) => version !== '1.1' && version !== '1.0',
  },
  {
    name: 'protocol other than HTTP',
    why: 'RFC 9112 §2.3; llhttp takes RTSP/1.0 and ICE/1.0 for HTTP/1.0, and node does not tell',
    part: 'head',
    applies: ({ target }, _values, text) =>
      ['RTSP', 'ICE'].some((protocol) => text.replaceAll(/ +/g, ' ').includes(` ${target} ${protocol}/`)),
  },
  {
    name: 'CR without LF before a request line',
    why: 'RFC 9112 §2.2: what may be ignored are empty lines; llhttp skips any CR and LF',
    part: 'head',
    applies: (request, _values, text) => LONE_CR.test(bytesBefore(request, text)),
  },
  {
    name: 'tab after Transfer-Encoding',
    why: 'llhttp reads the head and never finds the end of the body',
    part: 'head',
    applies: (_request, values, text) =>
      values('transfer-encoding').length > 0 && /transfer-encoding:[ \t]*[^ \t\r\n][^\r\n]*\t/i.test(text),
  },
  {
    name: 'chunk size of more than 16 digits',
    why: 'more than 64 bits, or zeros that nobody needs; the same bound as for responses',
    part: 'body',
    applies: (_request, values, text) => values('transfer-encoding').length > 0 && LONG_SIZE.test(text),
  },
  {
    name: 'not exactly one sound Host',
    why: 'RFC 9112 §3.2; HTTP/1.0 may leave it out',
    applies: ({ version }, values) => {
      const hosts = values('host');
      return hosts.length === 0 ? version === '1.1' : hosts.length > 1 || !HOST.test(hosts[0] ?? '');
    },
  },
  {
    name: 'target with a byte that is not visible ASCII, or a fragment',
    why: 'RFC 9112 §3.2; backends differ in what they make of it',
    applies: ({ target }) => !/^[\x21\x22\x24-\x7e]+$/.test(target),
  },
  {
    name: 'target that is no path of this host',
    why: 'RFC 9112 §3.2.2: authority and Host must be one; * is for OPTIONS',
    applies: ({ target, method }, values) => {
      if (target.startsWith('/')) return false;
      if (target === '*') return method !== 'OPTIONS';
      const authority = /^https?:\/\/([^/?]*)/i.exec(target)?.[1]?.toLowerCase();
      return authority === undefined || (values('host')[0] ?? authority).toLowerCase() !== authority;
    },
  },
  {
    name: 'backslash or encoded NUL in the path',
    why: 'file-like backends take the first for a slash and the second for the end',
    applies: ({ target }) => /^[^?]*(?:\\|%00)/.test(target),
  },
  {
    name: 'Content-Length that is no single safe number',
    why: 'RFC 9112 §6.3',
    applies: (_request, values) => {
      const all = values('content-length');
      return (
        all.length > 1 || all.some((value) => !/^\d+$/.test(value) || !Number.isSafeInteger(Number(value)))
      );
    },
  },
  {
    name: 'Transfer-Encoding other than sole chunked, beside Content-Length or in HTTP/1.0',
    why: 'RFC 9112 §6.1, §6.3: two readers could find two ends',
    applies: ({ version }, values) => {
      const all = values('transfer-encoding');
      if (all.length === 0) return false;
      return (
        all.length > 1 ||
        all[0]?.toLowerCase() !== 'chunked' ||
        version === '1.0' ||
        values('content-length').length > 0
      );
    },
  },
  {
    name: 'unknown expectation',
    why: 'RFC 9110 §10.1.1',
    applies: ({ version }, values) =>
      version === '1.1' && values('expect').some((value) => value.toLowerCase() !== '100-continue'),
  },
  {
    name: 'Connection that names a framing field',
    why: 'whoever removes such a field on the way reads another message',
    applies: (_request, values) =>
      values('connection').some((value) =>
        value
          .split(',')
          .some((token) => /^[ \t]*(?:content-length|transfer-encoding|host)[ \t]*$/i.test(token)),
      ),
  },
  {
    name: 'head over the limits',
    why: 'bounds of memory',
    part: 'head',
    applies: ({ headers }) =>
      headers.length / 2 > HEADERS_MAX || headers.join('').length + headers.length * 2 > HEADER_MAX_BYTES,
  },
];

/** refusalOf names the rule that refuses a request; null: it must be forwarded. */
export function refusalOf(request: ReadRequest, text: string): string | null {
  return refusalAmong(REFUSALS, request, text);
}

/** partRefusalOf names the rule by which our parser refuses this part. */
export function partRefusalOf(part: 'head' | 'body', request: ReadRequest, text: string): string | null {
  const rules = REFUSALS.filter((rule) => rule.part === part);
  return refusalAmong(rules, request, text);
}

function refusalAmong(rules: readonly Refusal[], request: ReadRequest, text: string): string | null {
  const values = (name: string) => valuesOf(request, name);
  return rules.find(({ applies }) => applies(request, values, text))?.name ?? null;
}

/** The CRs and LFs before each request line that may be this request's. */
function bytesBefore({ method, target }: ReadRequest, text: string): string {
  let found = '';
  for (let at = text.indexOf(`${method} `); at >= 0; at = text.indexOf(`${method} `, at + 1)) {
    const rest = text.slice(at + method.length).replace(/^ +/, '');
    if (!rest.startsWith(`${target} `)) continue;
    let from = at;
    while (from > 0 && '\r\n'.includes(text[from - 1] ?? 'x')) from--;
    found += `${text.slice(from, at)}|`;
  }
  return found;
}

/** endsConnection tells whether the answer to this request ends the connection. */
export function endsConnection(request: ReadRequest): boolean {
  const tokens = valuesOf(request, 'connection').flatMap(tokensOf);
  if (tokens.includes('close') || valuesOf(request, 'upgrade').length > 0) return true;
  // node:http closes the connection after an expectation without a 100, and a request without a body gets no 100.
  const isNodeEngine = process.env.SLUICE_ENGINE === 'node';
  const isBodiless =
    valuesOf(request, 'transfer-encoding').length === 0 &&
    Number(valuesOf(request, 'content-length')[0] ?? 0) === 0;
  if (isNodeEngine && request.version === '1.1' && valuesOf(request, 'expect').length > 0 && isBodiless)
    return true;
  return request.version !== '1.1' && !tokens.includes('keep-alive');
}

/** valuesOf lists the values of a field in any case. */
export function valuesOf({ headers }: ReadRequest, name: string): string[] {
  return headers.filter((_, i) => i % 2 === 1 && headers[i - 1]?.toLowerCase() === name);
}
