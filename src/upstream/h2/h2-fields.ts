/** Fields of HTTP/2 from and to the lines that the proxy works with. */
import { HEADERS_MAX_COUNT, pushFields } from '../../http1/field-lines.ts';
import { BAD_VALUE, lengthOfText } from '../../http1/head-bytes.ts';
import * as names from '../../http1/header-names.ts';
import { http } from '../../infra/node-http.ts';
import { ResponseHead, type UpstreamRequest } from '../exchange.ts';

/** RFC 9113 §8.2.1: a token in lower case. */
const NAME = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/;
const STATUS = /^[1-5]\d\d$/;
const HOST_LINE = 'Host: ';

/** requestFields lists name, value, name, value…, pseudo fields first, as node:http2 wants them; it makes the names lower case. */
export function requestFields(request: UpstreamRequest, scheme: string): string[] {
  const { method, target, headerLines: lines, bodyLength } = request;
  const fields = [':method', method, ':scheme', scheme, ':path', target];
  let at = 0;
  if (lines.startsWith(HOST_LINE)) {
    at = lines.indexOf('\n') + 1;
    fields.push(':authority', lines.slice(HOST_LINE.length, at - 2));
  }
  pushFields(fields, lines, at);
  if (bodyLength >= 0) fields.push('content-length', String(bodyLength));
  return fields;
}

/**
 * readHead makes the head of an answer from fields as node:http2 gives them, or says why they are none. nghttp2 has refused most of
 * what is malformed; nothing that could become another field or another message passes here, whatever it lets through.
 *
 * @param isLast whether no body follows
 */
export function readHead(raw: readonly string[], method: string, isLast: boolean): ResponseHead | string {
  const status = raw[1] ?? '';
  if (raw[0] !== ':status' || !STATUS.test(status)) return 'bad :status';
  if (raw.length > 2 * (HEADERS_MAX_COUNT + 1)) return 'too many fields';
  const head = new ResponseHead();
  head.status = Number(status);
  head.reason = http.STATUS_CODES[status] ?? '';
  let lines = '';
  for (let i = 2; i < raw.length; i += 2) {
    const name = raw[i]!;
    const value = raw[i + 1]!;
    if (!NAME.test(name) || BAD_VALUE.test(value)) return 'bad field';
    const kept = takeField(head, name, value);
    if (typeof kept === 'string') return kept;
    if (kept) lines += `${name}: ${value}\r\n`;
  }
  head.lines = lines;
  const isBodiless = head.status < 200 || head.status === 204;
  if (isBodiless) head.contentLength = -1;
  const mayHaveBody = !isBodiless && head.status !== 304 && method !== 'HEAD';
  head.hasBody = mayHaveBody && !isLast && head.contentLength !== 0;
  if (mayHaveBody && isLast) {
    if (head.contentLength > 0) return 'body shorter than announced';
    head.contentLength = 0;
  }
  return head;
}

/** @returns whether the field passes on; a text says why the answer is invalid */
function takeField(head: ResponseHead, name: string, value: string): boolean | string {
  const kind = names.CLASSES.get(name);
  switch (kind) {
    case undefined:
      return true;
    case names.DATE:
      head.hasDate = true;
      return true;
    case names.X_REQUEST_ID:
      head.hasRequestId = true;
      return true;
    case names.CONTENT_LENGTH:
      if (head.contentLength >= 0) return 'bad content-length';
      head.contentLength = lengthOfText(value);
      return head.contentLength >= 0 ? false : 'bad content-length';
    case names.HOP_BY_HOP:
    case names.TE:
    case names.TRAILER:
      return false;
    default:
      return names.isOfConnection(kind) ? `forbidden field ${name}` : true;
  }
}

/** readTrailers lists name and value of the trailers that may pass on. Names with `_` do, as in heads of answers. */
export function readTrailers(raw: readonly string[], isGrpc: boolean): string[] {
  const trailers: string[] = [];
  for (let i = 0; i + 1 < raw.length && i < 2 * HEADERS_MAX_COUNT; i += 2) {
    const name = raw[i]!;
    const value = raw[i + 1]!;
    if (!NAME.test(name) || BAD_VALUE.test(value)) continue;
    const mayPass = isGrpc
      ? names.isMetadata(name)
      : names.isTrailerAllowed(name) || names.classOf(name) === names.UNDERSCORE;
    if (mayPass) trailers.push(name, value);
  }
  return trailers;
}
