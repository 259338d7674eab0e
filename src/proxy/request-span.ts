/**
 * What is noted of a request that is sampled, and of its attempts, until spans are made of it (src/worker/tracing). Other requests
 * have none of this.
 */
import { systemClock } from '../contract/clock.ts';
import { fieldValues } from '../http1/field-lines.ts';
import type { UpstreamRequest } from '../upstream/upstream-request.ts';
import { AccessRecord, keptText, ownText } from './access-record.ts';
import type { PlannedBackend } from './plan-pool.ts';
import type { RequestIds } from './request-id.ts';
import { isSecure } from './scheme.ts';
import { type Trace, type TraceOrigin, traceOf } from './trace.ts';

/** Tracing is where sampled requests go; the worker makes it. */
export interface Tracing {
  /** As TracingSettings. */
  readonly sample: number;
  /** note takes a request that is over; it never waits. */
  note(span: RequestSpan): void;
}

/** Places in a traceparent (W3C Trace Context §3.2). */
const SPAN_ID = [36, 52] as const;
/** Characters of a text. With these bounds a span has 3.5 KB at most, and 0.4 KB per further attempt. */
const PATH_MAX = 1_024;
const TEXT_MAX = 256;
/** A longer one is dropped, as the SDK does: its end may be the middle of a value (W3C Trace Context §3.3.1.5). */
const TRACE_STATE_MAX = 512;

/** What a span needs of the record of its request. */
type SpanRecord = Readonly<
  Pick<
    AccessRecord,
    | 'clientIp'
    | 'grpcStatus'
    | 'host'
    | 'method'
    | 'path'
    | 'protocol'
    | 'reason'
    | 'route'
    | 'status'
    | 'totalMs'
    | 'userAgent'
  >
>;

const NO_RECORD: SpanRecord = new AccessRecord('', null);

/** What a span needs of an Admission. */
interface Origin extends TraceOrigin {
  /** A trusted proxy may say anything. */
  readonly scheme: string;
}

/** beginSpan is the span of a request that is sampled, else null; called by the transaction of a request that it forwards. */
export function beginSpan(
  trace: Trace,
  tracing: Tracing | null,
  origin: Origin,
  ids: RequestIds,
): RequestSpan | null {
  return tracing !== null && trace.isSampled ? new RequestSpan(trace, origin, ids) : null;
}

/** noteSpan is called once for each request, when its record is complete. One that was not forwarded has no trace yet. */
export function noteSpan(
  { span }: { readonly span: RequestSpan | null },
  tracing: Tracing,
  origin: Origin,
  record: AccessRecord,
  ids: RequestIds,
): void {
  let noted = span;
  if (record.traceId === null) {
    const trace = traceOf(origin, ids, tracing);
    record.traceId = trace.traceId;
    noted = beginSpan(trace, tracing, origin, ids);
  }
  if (noted !== null) tracing.note(noted.end(record));
}

export class RequestSpan {
  readonly traceId: string;
  readonly spanId: string;
  /** The span of the caller; null: the trace begins here. */
  readonly parentId: string | null;
  /** Values of `tracestate`, of a trace that began elsewhere. */
  readonly traceState: string;
  readonly scheme: 'http' | 'https';
  readonly attempts: AttemptSpan[] = [];
  /** As it was at the end of the request: a tunnel goes on to change its own. */
  record = NO_RECORD;
  /** Monotonic, as all times. */
  endMs = 0;
  /** Adds to a time of the monotonic clock to make it one of the wall clock. */
  wallOffsetMs = 0;
  readonly #traceparent: string;
  readonly #ids: RequestIds;

  constructor(trace: Trace, { head, scheme }: Omit<Origin, 'peer'>, ids: RequestIds) {
    // Spans wait for the collector: none of their texts may keep a whole head in memory.
    this.traceId = ownText(trace.traceId);
    this.spanId = ids.nextSpanId();
    this.parentId = trace.continued ? ownText(head.traceparent.slice(...SPAN_ID)) : null;
    const state = trace.continued ? fieldValues(head.tracestateLines, 'tracestate').join(',') : '';
    this.traceState = state.length > TRACE_STATE_MAX ? '' : ownText(state);
    this.scheme = isSecure(scheme) ? 'https' : 'http';
    this.#traceparent = ownText(trace.traceparent);
    this.#ids = ids;
  }

  /** attempt is called before each attempt. The first one has the parent id that is in the request. */
  attempt(target: PlannedBackend): AttemptSpan {
    const [start, end] = SPAN_ID;
    const own = this.#traceparent;
    const spanId = this.attempts.length === 0 ? own.slice(start, end) : this.#ids.nextSpanId();
    const traceparent = `${own.slice(0, start)}${spanId}${own.slice(end)}`;
    const span = new AttemptSpan(target, spanId, { before: own, now: traceparent });
    this.attempts.push(span);
    return span;
  }

  /** end is called once. @param record complete */
  end(record: AccessRecord): this {
    const { grpcStatus, protocol, reason, route, status, totalMs } = record;
    this.record = {
      ...{ grpcStatus, protocol, reason, route, status, totalMs },
      clientIp: ownText(record.clientIp),
      host: keptText(record.host, TEXT_MAX),
      method: keptText(record.method, TEXT_MAX),
      path: keptText(record.path, PATH_MAX),
      userAgent: keptText(record.userAgent, TEXT_MAX),
    };
    this.endMs = systemClock.monotonicMs();
    this.wallOffsetMs = systemClock.wallMs() - this.endMs;
    for (const attempt of this.attempts) attempt.end();
    return this;
  }
}

export class AttemptSpan {
  readonly target: PlannedBackend;
  readonly spanId: string;
  readonly startMs = systemClock.monotonicMs();
  /** 0: no head came. */
  status = 0;
  /** Code of the failure; null: none. */
  error: string | null = null;
  endMs = 0;
  readonly #traceparent: { before: string; now: string };

  constructor(target: PlannedBackend, spanId: string, traceparent: { before: string; now: string }) {
    this.target = target;
    this.spanId = spanId;
    this.#traceparent = traceparent;
  }

  /** continuedBy makes the request whose trace goes on with this attempt. */
  continuedBy(request: UpstreamRequest): UpstreamRequest {
    const { before, now } = this.#traceparent;
    if (before === now) return request;
    return { ...request, headerLines: request.headerLines.replace(before, now) };
  }

  /** end may come again, which changes nothing. */
  end(): void {
    if (this.endMs === 0) this.endMs = systemClock.monotonicMs();
  }
}
