/** The trace to which a request belongs (W3C Trace Context, B34). */
import type { RequestHead } from '../contract/request-head.ts';
import type { RequestIds } from './request-id.ts';

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

/**
 * traceOf continues a valid traceparent under a new parent id, or begins a trace (W3C Trace Context §3.2, §4.3).
 * @param tracing null: Sluice records no spans, and every trace that begins here is sampled: of one that is not, no backend that follows
 *   its parent would record anything
 */
export function traceOf(
  { traceparent: incoming, traceparentCount }: RequestHead,
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
  const isSampled = (Number.parseInt(flags, 16) & 1) === 1;
  // Of a later version only the sampled bit is known.
  const known = version === VERSION ? flags : isSampled ? SAMPLED : NOT_SAMPLED;
  const traceparent = `${VERSION}-${traceId}-${ids.nextSpanId()}-${known}`;
  return { traceId, traceparent, continued: true, isSampled };
}

function isValid([, version, traceId, spanId, , more]: RegExpExecArray): boolean {
  if (version === 'ff' || traceId === NO_TRACE || spanId === NO_SPAN) return false;
  return version !== VERSION || more === undefined;
}
