/**
 * The one table of metrics. Workers count by these names; the primary adds up and renders. Values of labels come only from the
 * configuration or from closed sets, never from a client, a path or a free host. docs/metrics.md is made from the table.
 */
import { type Settings, UNMATCHED_ROUTE } from './settings.ts';
import type { Fitting, Typed } from './shape.ts';

export interface MetricDefinition {
  kind: Kind;
  help: string;
  /** `backend` comes right after its `pool`. */
  labels: readonly string[];
  /** Upper bounds in seconds of a histogram's buckets, ascending, without +Inf. */
  bucketsSec: readonly number[];
}

type Kind = 'counter' | 'gauge' | 'histogram';

/** Kind, name and labels of each metric, and its help. */
const ROWS = {
  'counter sluice_requests_total route method code':
    'Requests that ended, answered or aborted. Code 499: the client gave up; grpc_0 to grpc_16, grpc_other: the status of a gRPC call.',
  'counter sluice_request_failures_total route reason':
    'Those of them that Sluice or a backend has failed, by the reason in the access log; answered: the backend itself answered 5xx, or the like of gRPC. Not those that their client is to blame for, whatever the code.',
  'histogram sluice_request_duration_seconds route':
    'Time from the request head to the last byte of the answer or the abort; bytes that never became a request have none.',
  'gauge sluice_requests_in_flight': 'Requests being served now.',
  'counter sluice_bytes_total direction': 'Body bytes, in from clients and out to them.',
  'counter sluice_upstream_requests_total pool backend code':
    'Attempts at backends by status; 000 where no status came.',
  'histogram sluice_upstream_duration_seconds pool backend':
    'Time from sending a request to a backend to its response head.',
  'histogram sluice_upstream_connect_seconds pool backend':
    'Time to open a connection to a backend, the TLS handshake included.',
  'gauge sluice_backend_up pool backend':
    '1 while a backend takes new requests. 0: down by its health check, ejected, not probed yet, or drained (sluice_backend_state says which).',
  'gauge sluice_backend_state pool backend state':
    '1 for the state that a backend is in, 0 for the others: up, down, ejected, draining, unknown (not probed yet).',
  'gauge sluice_backend_in_flight pool backend': 'Requests at a backend now.',
  'counter sluice_probes_total pool backend result':
    'Health checks by result: pass, fail; inconclusive: this machine lacked descriptors or memory, or the name has never resolved.',
  'gauge sluice_probe_duration_seconds pool backend': 'Duration of the last health check.',
  'counter sluice_retries_total pool reason':
    'Second and later attempts of requests, by what went before: connect (no backend has processed it), reused_socket and reset (the connection was lost, one that had served before or another), timeout, status (of retry.onStatus).',
  'counter sluice_ejections_total pool backend': 'Ejections of backends because of failing traffic.',
  'gauge sluice_panic pool':
    '1 while so few backends of a pool are healthy (panicThresholdPercent) that those that are down are used too.',
  'counter sluice_ratelimit_decisions_total policy result source': 'Decisions of the limiter.',
  'counter sluice_ratelimit_store_calls_total result':
    'Batches sent to the bucket store; skipped: decided without it while its breaker was open.',
  'histogram sluice_ratelimit_store_seconds': 'Time from queueing a take to the reply of the bucket store.',
  'gauge sluice_ratelimit_breaker_open': 'Workers that decide alone: the bucket store does not answer.',
  'counter sluice_api_key_requests_total result':
    'Requests with an API key: valid, or counted by address because it is unknown or malformed.',
  'gauge sluice_connections_open protocol':
    'Client connections open now, by protocol: http1, h2, pending (the first bytes or the handshake have not come).',
  'counter sluice_http2_floods_total kind':
    'HTTP/2 connections that were ended because their frames cost more than they carried.',
  'counter sluice_connections_accepted_total': 'Client connections accepted, also those closed at once.',
  'counter sluice_proxy_protocol_errors_total reason':
    'Connections closed because they did not begin with a valid PROXY header (stranger, malformed, too_long, checksum, truncated, timeout).',
  'counter sluice_tls_handshakes_total result version resumed':
    'TLS handshakes of clients by result (ok, failed, timeout, aborted, plaintext, shed).',
  'gauge sluice_tls_certificate_expiry_seconds name':
    'Seconds until a certificate of a listener expires, below 0 once it has; name is its first one.',
  'gauge sluice_tls_certificate_lifetime_seconds name':
    'For how long it is valid, from its first to its last second.',
  'gauge sluice_tls_certificates_current':
    '1 while the certificate files as they are now are in force; 0 after a change that cannot be used.',
  'gauge sluice_pool_certificate_expiry_seconds pool':
    'Seconds until the certificate in pools.*.tls.cert expires, below 0 once it has.',
  'gauge sluice_pool_certificate_lifetime_seconds pool': 'For how long that one is valid.',
  'gauge sluice_acme_certificates_due':
    'Names in tls.acme that have no certificate of the authority, or one that is due for renewal.',
  'counter sluice_acme_orders_total result':
    'Orders of certificates at an ACME authority by result (ok, failed).',
  'gauge sluice_tunnels_open':
    'Connections, or streams of HTTP/2, that carry another protocol after an upgrade.',
  'counter sluice_shed_total reason':
    'Connections and requests turned away, by reason: connections and connections_per_ip (the caps in limits), overload (of the worker), queue (the backends of a pool and its queue are full).',
  'counter sluice_queue_refusals_total pool':
    'Requests refused because the backends of a pool are full, and so is its queue, or the wait there was too long (sluice_shed_total counts them as queue, of all pools).',
  'counter sluice_access_log_dropped_lines_total':
    'Access lines lost because the output took none: its reader stalled or went away, or the disk is full.',
  'counter sluice_application_log_dropped_lines_total':
    'Application log lines lost, of the primary and the workers, for the same reasons.',
  'gauge sluice_event_loop_delay_seconds worker':
    "The longest turn of a worker's event loop in the last second: every event that arrived meanwhile waited. It is a maximum; 1 ms is the cost of the report that an idle worker makes.",
  'gauge sluice_overload_level worker':
    'How overloaded a worker is: 0 not at all; 1 softened, keep-alive ends; 2 shedding, new requests are refused.',
  'gauge sluice_worker_busy_ratio worker':
    'Part of the last second (0 to 1) that the event loop of a worker did not wait for events.',
  'counter sluice_worker_cpu_seconds_total worker':
    'CPU time of a worker process; its replacement begins at 0.',
  'gauge sluice_worker_resident_memory_bytes worker': 'Resident memory of a worker process.',
  'gauge sluice_worker_heap_used_bytes worker':
    "Objects in a worker's heap, those that nobody needs any more included.",
  'gauge sluice_worker_heap_limit_bytes worker': "V8's limit of that heap; a worker that needs more dies.",
  'counter sluice_worker_gc_seconds_total worker kind':
    'Time for which the collection of garbage stopped a worker, by kind (minor, major, incremental, weak); its replacement begins at 0.',
  'gauge sluice_worker_open_fds worker': 'File descriptors that a worker has open, connections included.',
  'gauge sluice_worker_max_fds worker': 'The most that it may have open.',
  'counter sluice_worker_requests_total worker':
    'Requests that a worker has begun; its replacement begins at 0.',
  'gauge sluice_worker_connections worker': 'Client connections of a worker.',
  'counter sluice_trace_spans_total result':
    'Spans of traces: exported; dropped, because the collector did not take them, rejected them, or too many waited.',
  'gauge sluice_workers state': 'Worker processes by state (starting, serving, draining).',
  'counter sluice_worker_restarts_total': 'Workers that died and were replaced.',
  'gauge sluice_database_up':
    '1 while clients and API keys follow the database; 0 before they were read first, and while it is away or has another schema: those that were read last stay.',
  'counter sluice_audit_dropped_rows_total kind':
    'Events, and requests (kind `request`), that are missing in the audit: the database was away or too slow for too long, or refused them, or a worker had more than 1,000 limited requests in a second.',
  'counter sluice_admin_requests_total route code':
    'Answers of the admin port; route is the pattern of the path, _none where none matched.',
  'gauge sluice_config_last_reload_success': '1 when the last load of the configuration succeeded.',
  'gauge sluice_config_last_reload_timestamp_seconds':
    'When the configuration was last loaded with success, the start included.',
  'gauge sluice_config_last_reload_duration_seconds':
    'How long the last reload took, accepted or refused, until every worker had it; 0 before the first.',
  'gauge sluice_config_revision_info revision': 'The revision of the configuration in force.',
  'gauge sluice_build_info version node fast_path':
    'Version of Sluice and of Node.js, and what connections of clients are built on (handle, socket, node).',
} satisfies Record<`${Kind} sluice_${string}`, string>;

type NameOf<Row> = Row extends `${Kind} ${infer Name} ${string}`
  ? Name
  : Row extends `${Kind} ${infer Name}`
    ? Name
    : never;

export type MetricName = NameOf<keyof typeof ROWS>;

const REQUEST_BUCKETS_SEC = [
  0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60,
];
const BUCKETS_SEC: Readonly<Record<string, readonly number[]>> = {
  sluice_request_duration_seconds: REQUEST_BUCKETS_SEC,
  sluice_upstream_duration_seconds: REQUEST_BUCKETS_SEC,
  sluice_upstream_connect_seconds: REQUEST_BUCKETS_SEC,
  sluice_ratelimit_store_seconds: [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1],
};

export const METRICS = Object.fromEntries<MetricDefinition>(
  Object.entries(ROWS).map(([row, help]) => {
    const [kind, name = '', ...labels] = row.split(' ');
    return [name, { kind: kind as Kind, help, labels, bucketsSec: BUCKETS_SEC[name] ?? [] }];
  }),
) as Readonly<Record<MetricName, MetricDefinition>>;

/** liveSeries tells which series the settings can still count. After a reload, workers and the primary drop the others. */
export function liveSeries(settings: Pick<Settings, 'routes' | 'pools' | 'rateLimit'>): IsLive {
  const { routes, pools, rateLimit } = settings;
  const known: Record<string, ReadonlySet<string>> = {
    route: new Set([...routes.map(({ name }) => name), UNMATCHED_ROUTE]),
    pool: new Set(pools.map(({ name }) => name)),
    backend: new Set(pools.flatMap(({ name, backends }) => backends.map(({ id }) => `${name} ${id}`))),
    policy: new Set(rateLimit.policies.map(({ name }) => name)),
  };
  return (name, values) =>
    // Its label `route` is about the admin port.
    name === 'sluice_admin_requests_total' ||
    METRICS[name].labels.every((label, i) => {
      const value = label === 'backend' ? `${values[i - 1]} ${values[i]}` : `${values[i]}`;
      return known[label]?.has(value) ?? true;
    });
}

/** @param values of the labels, in the order of the table */
export type IsLive = (name: MetricName, values: readonly string[]) => boolean;

/** Values of the label `method`; any other method counts as OTHER_METHOD. */
export const STANDARD_METHODS = 'GET HEAD POST PUT PATCH DELETE OPTIONS CONNECT TRACE'.split(' ');
export const OTHER_METHOD = '_other';

/** cellCount is how many numbers a series takes: a histogram one per bucket (not cumulative), then +Inf, count and sum. */
export function cellCount({ kind, bucketsSec }: MetricDefinition): number {
  return kind === 'histogram' ? bucketsSec.length + 3 : 1;
}

/** MetricsDelta is what a worker sends. */
export type MetricsDelta = Fitting<typeof METRICS_DELTA>;

export const METRICS_DELTA = {
  fields: {
    /** Which cells belong to which series from now on. */
    series: {
      listOf: {
        fields: {
          index: 'number',
          name: 'string' as Typed<'string', MetricName>,
          labels: { listOf: 'string' },
        },
      },
    },
    /** index, growth since the last message, index, growth, …. Workers count no gauges: those are in the rest of the report. */
    cells: { listOf: 'number' },
  },
} as const;

/** Exemplar is a request whose trace a collector has taken, for sluice_request_duration_seconds. */
export type Exemplar = Fitting<typeof EXEMPLAR>;

export const EXEMPLAR = {
  fields: { route: 'string', traceId: 'string', seconds: 'number', /** Wall clock. */ atMs: 'number' },
} as const;

/** bucketOf is the index of the bucket that counts a value; bounds.length: that of +Inf. */
export function bucketOf(bounds: readonly number[], value: number): number {
  const index = bounds.findIndex((bound) => value <= bound);
  return index < 0 ? bounds.length : index;
}
