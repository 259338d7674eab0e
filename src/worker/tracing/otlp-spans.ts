/** Spans as OpenTelemetry has them, made of requests. Names are those of its semantic conventions for HTTP. Loaded only where `tracing` is written. */
import { hostname } from 'node:os';
import {
  type Attributes,
  createTraceState,
  type HrTime,
  SpanKind,
  SpanStatusCode,
  TraceFlags,
  type TraceState,
} from '@opentelemetry/api';
import { detectResources, envDetector, resourceFromAttributes } from '@opentelemetry/resources';
import type { ReadableSpan } from '@opentelemetry/sdk-trace';
import { hostPort } from '../../contract/addresses.ts';
import { failureOf } from '../../contract/request-failure.ts';
import { sluiceVersion } from '../../infra/build-info.ts';
import type { AttemptSpan, RequestSpan } from '../../proxy/request-span.ts';

const FIRST_CLIENT_ERROR = 400;
/** As `protocol` of the access log. */
const VERSIONS: Readonly<Record<string, string>> = { 'http/1.0': '1.0', 'http/1.1': '1.1', h2: '2' };
const NAME_AND_PORT = /^(.*?)(?::(\d{1,5}))?$/s;

/** Of RFC 9110, with PATCH and QUERY. The environment's list replaces this one, as the conventions ask for. */
const KNOWN_METHODS: ReadonlySet<string> = new Set(
  (
    process.env.OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS ||
    'CONNECT,DELETE,GET,HEAD,OPTIONS,PATCH,POST,PUT,QUERY,TRACE'
  ).split(/[\s,]+/),
);

/** OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES come last, so that they count. */
const RESOURCE = resourceFromAttributes({
  'service.name': 'sluice',
  'service.version': sluiceVersion(),
  'host.name': hostname(),
  'process.pid': process.pid,
}).merge(detectResources({ detectors: [envDetector] }));
const SCOPE = { name: 'sluice', version: sluiceVersion() };

/** Origin is what all spans of a request share. */
interface Origin {
  request: RequestSpan;
  /** The beginning of their names. */
  title: string;
  methods: Attributes;
  /** null: none. */
  traceState: TraceState | null;
}

/** spansOf makes the span of a request and those of its attempts, for OtlpSender. */
export function spansOf(request: RequestSpan): ReadableSpan[] {
  const { method } = request.record;
  const origin = { request, ...namedBy(method), traceState: traceStateOf(request.traceState) };
  return [
    serverSpan(origin),
    ...request.attempts.map((attempt, index) => clientSpan(origin, attempt, index)),
  ];
}

/** A client may invent methods: they are no names, by which collectors group and count. */
function namedBy(method: string | null): Pick<Origin, 'title' | 'methods'> {
  if (method === null) return { title: 'HTTP', methods: {} };
  if (KNOWN_METHODS.has(method)) return { title: method, methods: { 'http.request.method': method } };
  const methods = { 'http.request.method': '_OTHER', 'http.request.method_original': method };
  return { title: 'HTTP', methods };
}

/** What is valid of it. To parse a long one and to write it costs as much as a whole span, so it is done once per request. */
function traceStateOf(raw: string): TraceState | null {
  if (raw === '') return null;
  const state = createTraceState(raw);
  const text = state.serialize();
  state.serialize = () => text;
  return state;
}

function serverSpan(origin: Origin): ReadableSpan {
  const { request, title, methods } = origin;
  const { record, spanId, parentId, endMs, scheme } = request;
  const { route, path, host, clientIp, protocol, userAgent, status, reason, grpcStatus } = record;
  const [, domain = '', port] = NAME_AND_PORT.exec(host ?? '') ?? [];
  const isError = failureOf(record) === 'server';
  return readableSpan(origin, spanId, {
    name: route === null ? title : `${title} ${route}`,
    kind: SpanKind.SERVER,
    parentId,
    startMs: endMs - record.totalMs,
    endMs,
    isError,
    attributes: {
      ...methods,
      'http.route': route ?? undefined,
      'http.response.status_code': status,
      'url.path': path ?? undefined,
      'url.scheme': scheme,
      'client.address': clientIp,
      'server.address': domain || undefined,
      'server.port': port === undefined ? undefined : Number(port),
      'network.protocol.version': VERSIONS[protocol ?? ''],
      'user_agent.original': userAgent ?? undefined,
      'rpc.grpc.status_code': grpcStatus ?? undefined,
      'error.type': isError || reason === 'client_abort' ? errorType(record) : undefined,
      'sluice.reason': reason,
    },
  });
}

/** @param index 0: the first attempt */
function clientSpan(origin: Origin, attempt: AttemptSpan, index: number): ReadableSpan {
  const { request, title, methods } = origin;
  const { record, spanId: parentId } = request;
  const { target, status, error, startMs, endMs } = attempt;
  const { backend, poolName, transport } = target;
  const { host, port } = backend;
  const scheme = transport.tls === null ? 'http' : 'https';
  const grpcStatus = grpcStatusOf(request, attempt);
  const isError = error !== null || status === 0 || status >= FIRST_CLIENT_ERROR || (grpcStatus ?? 0) !== 0;
  const type = error ?? (status === 0 ? 'cancelled' : errorType({ reason: 'ok', status, grpcStatus }));
  return readableSpan(origin, attempt.spanId, {
    name: title,
    kind: SpanKind.CLIENT,
    parentId,
    startMs,
    endMs,
    isError,
    attributes: {
      ...methods,
      'http.response.status_code': status === 0 ? undefined : status,
      'http.request.resend_count': index === 0 ? undefined : index,
      'url.full': `${scheme}://${hostPort(host, port)}${record.path ?? '/'}`,
      'server.address': host,
      'server.port': port,
      'network.protocol.version': transport.protocol === 'h2' ? '2' : '1.1',
      'rpc.grpc.status_code': grpcStatus ?? undefined,
      'error.type': isError ? type : undefined,
      'sluice.pool': poolName,
      'sluice.backend': backend.id,
    },
  });
}

type Ended = Pick<RequestSpan['record'], 'reason' | 'status' | 'grpcStatus'>;

function errorType({ reason, status, grpcStatus }: Ended): string {
  if (reason !== 'ok') return reason;
  return (grpcStatus ?? 0) === 0 ? String(status) : `grpc_${grpcStatus}`;
}

/** The status of a gRPC call is that of its last attempt, unless it is of our own. */
function grpcStatusOf({ record, attempts }: RequestSpan, attempt: AttemptSpan): number | null {
  return record.reason === 'ok' && attempt === attempts.at(-1) ? record.grpcStatus : null;
}

interface SpanParts {
  name: string;
  kind: SpanKind;
  parentId: string | null;
  startMs: number;
  endMs: number;
  isError: boolean;
  attributes: Attributes;
}

function readableSpan({ request, traceState }: Origin, spanId: string, parts: SpanParts): ReadableSpan {
  const { traceId, wallOffsetMs } = request;
  const { name, kind, parentId, startMs, endMs, isError, attributes } = parts;
  const context = { traceId, spanId, traceFlags: TraceFlags.SAMPLED, ...(traceState && { traceState }) };
  // The parent of a server span is another process.
  const isRemote = kind === SpanKind.SERVER;
  const parent = { traceId, traceFlags: TraceFlags.SAMPLED, isRemote };
  return {
    name,
    kind,
    spanContext: () => context,
    ...(parentId !== null && { parentSpanContext: { ...parent, spanId: parentId } }),
    startTime: hrTime(startMs + wallOffsetMs),
    endTime: hrTime(endMs + wallOffsetMs),
    duration: hrTime(endMs - startMs),
    status: { code: isError ? SpanStatusCode.ERROR : SpanStatusCode.UNSET },
    attributes: given(attributes),
    links: [],
    events: [],
    ended: true,
    resource: RESOURCE,
    instrumentationScope: SCOPE,
    droppedAttributesCount: 0,
    droppedEventsCount: 0,
    droppedLinksCount: 0,
  };
}

function hrTime(ms: number): HrTime {
  const seconds = Math.floor(ms / 1_000);
  return [seconds, Math.floor((ms - seconds * 1_000) * 1e6)];
}

/** The exporter would send what is undefined as a value that is none. */
function given(attributes: Attributes): Attributes {
  for (const name in attributes) if (attributes[name] === undefined) delete attributes[name];
  return attributes;
}
