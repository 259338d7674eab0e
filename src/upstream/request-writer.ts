/**
 * Bytes of a request. Framing is made here from what was parsed and from nothing else (RFC 9112 §6): the client's own
 * framing text never reaches a backend (B23).
 */
import { CHUNKED_BODY, NO_BODY, type UpstreamRequest } from './exchange.ts';
import { classOf, INVALID, isTrailerAllowed } from './header-names.ts';

export const LAST_CHUNK = '0\r\n';
export const CRLF = '\r\n';

const BAD_VALUE = /[\x00-\x08\x0a-\x1f\x7f]/;

/** requestHead is the whole head as latin1, so that it leaves in one write. */
export function requestHead(request: UpstreamRequest): string {
  return `${request.method} ${request.target} HTTP/1.1\r\n${request.headerLines}${framingLine(request.bodyLength)}\r\n`;
}

function framingLine(bodyLength: number): string {
  if (bodyLength === NO_BODY) return '';
  if (bodyLength === CHUNKED_BODY) return 'Transfer-Encoding: chunked\r\n';
  return `Content-Length: ${bodyLength}\r\n`;
}

/** chunkHead opens a chunk of `bytes` bytes, 1 or more: 0 would end the body. */
export function chunkHead(bytes: number): string {
  return `${bytes.toString(16)}\r\n`;
}

/** trailerLines writes the pairs that may pass behind a body; those with names or values that may not are left out. */
export function trailerLines(rawTrailers: readonly string[]): string {
  let lines = '';
  for (let i = 0; i + 1 < rawTrailers.length; i += 2) {
    const name = rawTrailers[i] ?? '';
    const value = rawTrailers[i + 1] ?? '';
    if (classOf(name) === INVALID || !isTrailerAllowed(name) || BAD_VALUE.test(value)) continue;
    lines += `${name}: ${value}\r\n`;
  }
  return lines;
}
