/** The trace to which a request belongs (W3C Trace Context, B34). */
import type { RequestHead } from '../contract/request-head.ts';
import type { RequestIds } from './request-id.ts';

/** What a trace is made of; an Admission has it. */
export interface TraceOrigin {
  readonly head: RequestHead;
  readonly peer: { readonly isTrusted: boolean };
}

/** Trace is that of one request. */
export interface Trace {
  traceId: string;
  /** The value for the backend. */
  traceparent: string;
  /** false: the trace begins here, and the request's tracestate belongs to another one. */
  continued: boolean;
  /** Whether its spans are recorded. */
  isSampled: boolean;
}

const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;
const NO_TRACE = '0'.repeat(32);
const NO_SPAN = '0'.repeat(16);
const VERSION = '00';
const SAMPLED = '01';
const NOT_SAMPLED = '00';
const SAMPLED_BIT = 1;

/**
 * traceOf continues a valid traceparent under a new parent id, or begins a trace (W3C Trace Context §3.2, §4.3).
 * Spans cost more than a request without them: only a trusted peer decides whether they are recorded (§7.2).
 *
 * @param tracing null: Sluice records no spans, and every trace that begins here is sampled: of one that is not, no backend that follows
 *   its parent would record anything
 */
export function traceOf(
  { head: { traceparent: incoming, traceparentCount }, peer }: TraceOrigin,
  ids: RequestIds,
  tracing: { sample: number } | null,
): Trace {
  // Of several values nobody knows which one is valid.
  const match = traceparentCount === 1 ? TRACEPARENT.exec(incoming) : null;
  if (match === null || !isValid(match)) {
    const spanId = ids.nextSpanId();
    const traceId = ids.traceIdAround(spanId);
    const isSampled = tracing === null || Math.random() < tracing.sample;
    const traceparent = `${VERSION}-${traceId}-${spanId}-${isSampled ? SAMPLED : NOT_SAMPLED}`;
    return { traceId, traceparent, continued: false, isSampled };
  }
  const [, version, traceId = '', , flags = ''] = match;
  const given = Number.parseInt(flags, 16);
  const isSampled =
    tracing === null || peer.isTrusted ? (given & SAMPLED_BIT) === 1 : Math.random() < tracing.sample;
  // Of a later version only the sampled bit is known.
  const others = version === VERSION ? given & ~SAMPLED_BIT : 0;
  const traceparent = `${VERSION}-${traceId}-${ids.nextSpanId()}-${flagsOf(others, isSampled)}`;
  return { traceId, traceparent, continued: true, isSampled };
}

function flagsOf(others: number, isSampled: boolean): string {
  if (others === 0) return isSampled ? SAMPLED : NOT_SAMPLED;
  return (others | (isSampled ? SAMPLED_BIT : 0)).toString(16).padStart(2, '0');
}

function isValid([, version, traceId, spanId, , more]: RegExpExecArray): boolean {
  if (version === 'ff' || traceId === NO_TRACE || spanId === NO_SPAN) return false;
  return version !== VERSION || more === undefined;
}
