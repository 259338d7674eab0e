/** Fields of HTTP/2 from and to the lines that the proxy works with. */
import { pushFields } from '../../http1/field-lines.ts';
import { BAD_VALUE, lengthOfText } from '../../http1/head-bytes.ts';
import * as names from '../../http1/header-names.ts';
import { http } from '../../infra/node-http.ts';
import { ResponseHead, type UpstreamRequest } from '../upstream-request.ts';

const STATUS_MAX = '599';
const HOST_LINE = 'Host: ';

/** requestFields lists name, value, name, value…, pseudo fields first. Names are in any case: the encoder makes them lower case. */
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

/** requestTrailers lists the trailers of a request that may pass on. */
export function requestTrailers(raw: readonly string[]): readonly string[] {
  if (raw.length === 0) return raw;
  const trailers: string[] = [];
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = raw[i]!;
    const value = raw[i + 1]!;
    if (names.isTrailerAllowed(name) && !BAD_VALUE.test(value)) trailers.push(name, value);
  }
  return trailers;
}

/**
 * readHead makes the head of an answer from fields that are well-formed in HTTP/2 (field-rules.ts), or says why they are none.
 *
 * @param ends whether no body follows
 */
export function readHead(fields: readonly string[], method: string, ends: boolean): ResponseHead | string {
  const status = fields[1] ?? '';
  if (status > STATUS_MAX) return 'bad :status';
  const head = new ResponseHead();
  head.status = Number(status);
  head.reason = http.STATUS_CODES[status] ?? '';
  let lines = '';
  for (let i = 2; i < fields.length; i += 2) {
    const name = fields[i]!;
    const value = fields[i + 1]!;
    if (takeField(head, name, value)) lines += `${name}: ${value}\r\n`;
  }
  head.lines = lines;
  const isBodiless = head.status < 200 || head.status === 204;
  if (isBodiless) head.contentLength = -1;
  const mayHaveBody = !isBodiless && head.status !== 304 && method !== 'HEAD';
  head.hasBody = mayHaveBody && !ends && head.contentLength !== 0;
  if (mayHaveBody && ends) {
    if (head.contentLength > 0) return 'body shorter than announced';
    head.contentLength = 0;
  }
  return head;
}

/** @returns whether the field passes on */
function takeField(head: ResponseHead, name: string, value: string): boolean {
  switch (names.CLASSES.get(name)) {
    case names.DATE:
      head.hasDate = true;
      return true;
    case names.X_REQUEST_ID:
      head.hasRequestId = true;
      return true;
    case names.CONTENT_LENGTH:
      head.contentLength = lengthOfText(value);
      return false;
    case names.HOP_BY_HOP:
    case names.TE:
    case names.TRAILER:
      return false;
    default:
      return true;
  }
}

/** answerTrailers lists the well-formed trailers of an answer that may pass on. Names with `_` do, as in heads of answers. */
export function answerTrailers(raw: readonly string[], isGrpc: boolean): string[] {
  const trailers: string[] = [];
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = raw[i]!;
    const mayPass = isGrpc
      ? names.isMetadata(name)
      : names.isTrailerAllowed(name) || names.classOf(name) === names.UNDERSCORE;
    if (mayPass) trailers.push(name, raw[i + 1]!);
  }
  return trailers;
}
