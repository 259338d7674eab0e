/** What the backend is told about where a request came from (B26, B34). */
import { UNIX_PEER } from '../contract/addresses.ts';
import type { RequestHead } from '../contract/request-head.ts';
import type { Admission } from './admission.ts';
import type { RequestIds } from './request-id.ts';

/** Our name in Via, both ways (RFC 9110 §7.6.3). */
export const VIA = '1.1 sluice';

/** backendLines makes UpstreamRequest.headerLines of an admitted request, with the fields that Sluice adds. @param certSubject see ClientFacts */
export function backendLines(
  { head, host, headerLines, peer, scheme, caller }: Admission,
  certSubject: string | null,
  requestId: string,
  trace: Trace,
): string {
  const { address, isTrusted } = peer;
  const hops = isTrusted && head.forwardedFor !== '' ? hopsBehind(head.forwardedFor, address) : address;
  const forwardedHost = (isTrusted && head.forwardedHost) || host;
  const added =
    `X-Forwarded-For: ${hops}\r\nX-Forwarded-Proto: ${scheme}\r\n` +
    (forwardedHost === '' ? '' : `X-Forwarded-Host: ${forwardedHost}\r\n`) +
    `X-Real-IP: ${caller?.clientIp ?? address}\r\nX-Request-Id: ${requestId}\r\nVia: ${VIA}\r\n` +
    `traceparent: ${trace.traceparent}\r\n` +
    (trace.continued ? head.tracestateLines : '') +
    (certSubject === null ? '' : `X-Client-Cert-Subject: ${certSubject}\r\n`);
  return (host === '' ? '' : `Host: ${host}\r\n`) + (headerLines + added);
}

function hopsBehind(forwardedFor: string, address: string): string {
  // `unix:` is not an address: the next proxy would stop reading there.
  return address === UNIX_PEER ? forwardedFor : `${forwardedFor}, ${address}`;
}

export interface Trace {
  traceId: string;
  /** The value for the backend. */
  traceparent: string;
  /** false: the trace begins here, and the request's tracestate belongs to another one. */
  continued: boolean;
}

const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;
const NO_TRACE = '0'.repeat(32);
const NO_SPAN = '0'.repeat(16);
const VERSION = '00';
/** A trace that begins here is sampled: with `00` no backend that follows its parent would record anything. */
const SAMPLED = '01';

/** traceOf continues a valid traceparent under a new parent id, or begins a trace (W3C Trace Context §3.2, §4.3). */
export function traceOf({ traceparent: incoming, traceparentCount }: RequestHead, ids: RequestIds): Trace {
  // Of several values nobody knows which one is valid.
  const match = traceparentCount === 1 ? TRACEPARENT.exec(incoming) : null;
  if (match === null || !isValid(match)) {
    const spanId = ids.nextSpanId();
    const traceId = ids.traceIdAround(spanId);
    const traceparent = `${VERSION}-${traceId}-${spanId}-${SAMPLED}`;
    return { traceId, traceparent, continued: false };
  }
  const [, version, traceId = '', , flags = ''] = match;
  // Of a later version only the sampled bit is known.
  const known = version === VERSION ? flags : `0${Number.parseInt(flags, 16) & 1}`;
  return { traceId, traceparent: `${VERSION}-${traceId}-${ids.nextSpanId()}-${known}`, continued: true };
}

function isValid([, version, traceId, spanId, , more]: RegExpExecArray): boolean {
  if (version === 'ff' || traceId === NO_TRACE || spanId === NO_SPAN) return false;
  return version !== VERSION || more === undefined;
}
