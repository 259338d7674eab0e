/**
 * The one table of metrics: the worker counts into plain numbers by these names, the primary renders them.
 * Labels come only from the configuration or from closed sets, never from a client, a path or a free host.
 */
export type MetricKind = 'counter' | 'gauge' | 'histogram';

export interface MetricDefinition {
  kind: MetricKind;
  help: string;
  labels: readonly string[];
  /** Upper bounds in seconds of a histogram's buckets, ascending, without +Inf. */
  bucketsSec?: readonly number[];
}

const REQUEST_BUCKETS_SEC = [
  0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60,
] as const;
const STORE_BUCKETS_SEC = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1] as const;

const counter = (help: string, ...labels: string[]): MetricDefinition => ({ kind: 'counter', help, labels });
const gauge = (help: string, ...labels: string[]): MetricDefinition => ({ kind: 'gauge', help, labels });

export const METRICS = {
  sluice_requests_total: counter('Requests answered or aborted, by route.', 'route', 'method', 'code'),
  sluice_request_duration_seconds: {
    kind: 'histogram',
    help: 'Time from the request head to the last byte of the answer or the abort.',
    labels: ['route'],
    bucketsSec: REQUEST_BUCKETS_SEC,
  },
  sluice_requests_in_flight: gauge('Requests being served now.'),
  sluice_bytes_total: counter('Body bytes, in from clients and out to them.', 'direction'),
  sluice_upstream_requests_total: counter(
    'Attempts at backends by status, or 000 where none came.',
    'pool',
    'backend',
    'code',
  ),
  sluice_upstream_duration_seconds: {
    kind: 'histogram',
    help: 'Time from sending a request to a backend to its response head.',
    labels: ['pool', 'backend'],
    bucketsSec: REQUEST_BUCKETS_SEC,
  },
  sluice_backend_up: gauge('1 while a backend takes new requests.', 'pool', 'backend'),
  sluice_backend_in_flight: gauge('Requests at a backend now.', 'pool', 'backend'),
  sluice_retries_total: counter('Attempts after the first of a request.', 'pool', 'reason'),
  sluice_ejections_total: counter('Backends taken out because of live traffic.', 'pool', 'backend'),
  sluice_panic: gauge('1 while a pool ignores health because too few backends are healthy.', 'pool'),
  sluice_ratelimit_decisions_total: counter('Decisions of the limiter.', 'policy', 'result', 'source'),
  sluice_ratelimit_store_calls_total: counter('Batches sent to the bucket store.', 'result'),
  sluice_ratelimit_store_seconds: {
    kind: 'histogram',
    help: 'Time from enqueuing a take to the reply of the bucket store.',
    labels: [],
    bucketsSec: STORE_BUCKETS_SEC,
  },
  sluice_ratelimit_breaker_open: gauge('Workers whose breaker towards the bucket store is open.'),
  sluice_api_key_requests_total: counter(
    'Requests with an API key: valid, or counted by address because it is unknown or malformed.',
    'result',
  ),
  sluice_connections_open: gauge('Client connections open now.'),
  sluice_shed_total: counter('Connections and requests turned away to protect the worker.', 'reason'),
  sluice_access_log_dropped_lines_total: counter(
    'Access lines lost because the output took none: its reader stalled or went away, or the disk is full.',
  ),
  sluice_application_log_dropped_lines_total: counter(
    'Application log lines lost, of the primary and the workers, for the same reasons.',
  ),
  sluice_event_loop_delay_seconds: gauge(
    '99th percentile of the event loop delay over the last second.',
    'worker',
  ),
  sluice_workers: gauge('Worker processes by state.', 'state'),
  sluice_worker_restarts_total: counter('Workers that died and were replaced.'),
  sluice_admin_requests_total: counter(
    'Answers of the admin port, by path pattern; _none where no route matched.',
    'route',
    'code',
  ),
  sluice_config_last_reload_success: gauge('1 when the last load of the configuration succeeded.'),
  sluice_config_revision_info: gauge('The revision of the configuration in force.', 'revision'),
  sluice_tls_certificate_expiry_seconds: gauge('Unix time at which a certificate expires.', 'name'),
  sluice_build_info: gauge(
    'Version of Sluice and of Node.js, and what connections of clients are built on (handle, socket, node).',
    'version',
    'node',
    'fast_path',
  ),
} as const satisfies Record<string, MetricDefinition>;

export type MetricName = keyof typeof METRICS;

/** definitionOf widens a row of the table to its general shape. */
export function definitionOf(name: MetricName): MetricDefinition {
  return METRICS[name];
}

/** isMetricName tells a name of this version from any other text. */
export function isMetricName(name: string): name is MetricName {
  return Object.hasOwn(METRICS, name);
}

/** Values of the label `method`; anything else is `_other`. */
export const STANDARD_METHODS = [
  'GET',
  'HEAD',
  'POST',
  'PUT',
  'PATCH',
  'DELETE',
  'OPTIONS',
  'CONNECT',
  'TRACE',
] as const;
export const OTHER_METHOD = '_other';

/**
 * MetricsDelta is what a worker sends: `series` names the cells it uses for the first time, `cells` is a flat list of
 * index, value: the growth since the last message for counters and histograms, the value itself for gauges.
 * A histogram takes bucketsSec.length + 3 cells from its index on: one per bucket (not cumulative), +Inf, count, sum.
 */
export interface MetricsDelta {
  series: { index: number; name: MetricName; labels: string[] }[];
  cells: number[];
}
