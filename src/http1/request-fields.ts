/** What the fields of a request mean to a proxy, whatever protocol brought them. Framing and connection fields are the readers' own. */
import type { RequestHead } from '../contract/request-head.ts';
import * as names from './header-names.ts';

const REQUEST_ID = /^[A-Za-z0-9._-]{1,128}$/;

/**
 * takeRequestField notes a field in the head. It is called for each field that is not PLAIN; of the kinds that only frame or
 * concern a connection it drops what the reader has not handled.
 * @returns whether the line goes on to the backend as it is
 */
export function takeRequestField(head: RequestHead, kind: number, name: string, value: string): boolean {
  switch (kind) {
    case names.PLAIN:
    case names.VIA:
    case names.DATE:
      return true;
    case names.USER_AGENT:
      head.userAgent = value;
      return true;
    case names.HOST:
      head.hostCount += 1;
      head.host = value;
      return false;
    case names.EXPECT:
      // RFC 9110 §10.1.1: 100-continue is the only expectation, and HTTP/1.0 has none.
      if (head.httpVersion < 11) return false;
      if (value.toLowerCase() === '100-continue') head.expectsContinue = true;
      else head.hasUnknownExpectation = true;
      return false;
    case names.TE:
      head.wantsTrailers ||= /(?:^|,)[ \t]*trailers[ \t]*(?:,|;|$)/i.test(value);
      return false;
    default:
      takeForwarding(head, kind, name, value);
      return false;
  }
}

/** Not even a trusted peer may say these. */
const NEVER_KEPT: ReadonlySet<string> = new Set(['x-real-ip', 'x-client-cert-subject']);

/** Fields by which a proxy before Sluice, or a tracer, describes the request. The kinds that are not named here are dropped. */
function takeForwarding(head: RequestHead, kind: number, name: string, value: string): void {
  switch (kind) {
    case names.X_FORWARDED_FOR:
      head.forwardedFor += head.forwardedFor === '' ? value : `, ${value}`;
      break;
    case names.X_FORWARDED_PROTO:
      head.forwardedProto ||= value;
      break;
    case names.X_FORWARDED_HOST:
      head.forwardedHost ||= value;
      break;
    case names.FORWARDED_OTHER:
      if (!NEVER_KEPT.has(name.toLowerCase())) head.forwardedLines += `${name}: ${value}\r\n`;
      break;
    case names.X_REQUEST_ID:
      if (head.requestId === '' && REQUEST_ID.test(value)) head.requestId = value;
      break;
    case names.TRACEPARENT:
      head.traceparentCount += 1;
      head.traceparent = value;
      break;
    case names.TRACESTATE:
      head.tracestateLines += `tracestate: ${value}\r\n`;
      break;
  }
}

/** flattenTexts is for heads of many lines. V8 keeps concatenated text as a tree: thousands of short lines take up to 14 times the bytes. */
export function flattenTexts(head: RequestHead): void {
  head.lines = flat(head.lines);
  head.forwardedFor = flat(head.forwardedFor);
  head.forwardedLines = flat(head.forwardedLines);
  head.tracestateLines = flat(head.tracestateLines);
}

function flat(text: string): string {
  return Buffer.from(text, 'latin1').toString('latin1');
}
