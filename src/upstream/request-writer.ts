/**
 * The head of a request. Framing is made from what was parsed and from nothing else (RFC 9112 §6): the client's own
 * framing text never reaches a backend (B23).
 */
import { CHUNKED_BODY, NO_BODY } from '../contract/request-head.ts';
import type { UpstreamRequest } from './exchange.ts';

/** requestHead is the whole head as latin1, so that it leaves in one write. */
export function requestHead(request: UpstreamRequest): string {
  return `${request.method} ${request.target} HTTP/1.1\r\n${request.headerLines}${framingLine(request.bodyLength)}\r\n`;
}

function framingLine(bodyLength: number): string {
  if (bodyLength === NO_BODY) return '';
  if (bodyLength === CHUNKED_BODY) return 'Transfer-Encoding: chunked\r\n';
  return `Content-Length: ${bodyLength}\r\n`;
}
