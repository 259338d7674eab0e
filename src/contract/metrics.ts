/**
 * The one table of metrics. Workers count into plain numbers by these names; the primary adds them up and renders them.
 * Label values come only from the configuration or from closed sets, never from a client, a path or a free host.
 * docs/metrics.md is made from it.
 */
import { type Settings, UNMATCHED_ROUTE } from './settings.ts';
import type { Fitting, Typed } from './shape.ts';

export interface MetricDefinition {
  kind: 'counter' | 'gauge' | 'histogram';
  help: string;
  /** `backend` stands right behind its `pool`. */
  labels: readonly string[];
  /** Upper bounds in seconds of a histogram's buckets, ascending, without +Inf. */
  bucketsSec: readonly number[];
}

const REQUEST_BUCKETS_SEC = [
  0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60,
];
const STORE_BUCKETS_SEC = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1];

function metric(kind: MetricDefinition['kind']) {
  return (labels: string[], help: string, bucketsSec: number[] = []): MetricDefinition => ({
    kind,
    labels,
    help,
    bucketsSec,
  });
}
const counter = metric('counter');
const gauge = metric('gauge');
const histogram = metric('histogram');

/** Names that later versions fill keep their HELP and TYPE, so that dashboards and rules can name them. */
export const METRICS = {
  sluice_requests_total: counter(
    ['route', 'method', 'code'],
    'Requests that ended, answered or aborted. Code 499: the client gave up.',
  ),
  sluice_request_duration_seconds: histogram(
    ['route'],
    'Time from the request head to the last byte of the answer or the abort.',
    REQUEST_BUCKETS_SEC,
  ),
  sluice_requests_in_flight: gauge([], 'Requests being served now.'),
  sluice_bytes_total: counter(['direction'], 'Body bytes, in from clients and out to them.'),
  sluice_upstream_requests_total: counter(
    ['pool', 'backend', 'code'],
    'Attempts at backends by status; 000 where no status came.',
  ),
  sluice_upstream_duration_seconds: histogram(
    ['pool', 'backend'],
    'Time from sending a request to a backend to its response head.',
    REQUEST_BUCKETS_SEC,
  ),
  sluice_upstream_connect_seconds: histogram(['pool', 'backend'], 'Time to open a connection to a backend.'),
  sluice_backend_up: gauge(
    ['pool', 'backend'],
    '1 while a backend takes new requests. 0: down by its health check, not probed yet, or drained by an operator (GET /api/v1/pools says which).',
  ),
  sluice_backend_in_flight: gauge(['pool', 'backend'], 'Requests at a backend now.'),
  sluice_probes_total: counter(['pool', 'backend', 'result'], 'Health checks by result (pass, fail).'),
  sluice_probe_duration_seconds: gauge(['pool', 'backend'], 'Duration of the last health check.'),
  sluice_retries_total: counter(
    ['pool', 'reason'],
    'Second and later attempts of requests (connect, reused_socket).',
  ),
  sluice_ejections_total: counter(
    ['pool', 'backend'],
    'Backends taken out because of failing traffic. No series in this version.',
  ),
  sluice_panic: gauge(
    ['pool'],
    '1 while a pool has no healthy backend and tries those that are down. No series in this version.',
  ),
  sluice_ratelimit_decisions_total: counter(['policy', 'result', 'source'], 'Decisions of the limiter.'),
  sluice_ratelimit_store_calls_total: counter(
    ['result'],
    'Batches sent to the bucket store; skipped: decided without it while its breaker was open.',
  ),
  sluice_ratelimit_store_seconds: histogram(
    [],
    'Time from queueing a take to the reply of the bucket store.',
    STORE_BUCKETS_SEC,
  ),
  sluice_ratelimit_breaker_open: gauge([], 'Workers that decide alone: the bucket store does not answer.'),
  sluice_api_key_requests_total: counter(
    ['result'],
    'Requests with an API key: valid, or counted by address because it is unknown or malformed.',
  ),
  sluice_connections_open: gauge([], 'Client connections open now.'),
  sluice_connections_accepted_total: counter([], 'Client connections accepted, also those closed at once.'),
  sluice_tls_handshakes_total: counter(
    ['result', 'version', 'resumed'],
    'TLS handshakes of clients by result. No series in this version.',
  ),
  sluice_tls_certificate_expiry_seconds: gauge(
    ['name'],
    'Unix time at which a certificate expires. No series in this version.',
  ),
  sluice_tunnels_open: gauge(
    [],
    'Connections that carry another protocol after an upgrade. No series in this version.',
  ),
  sluice_shed_total: counter(['reason'], 'Connections and requests turned away to protect the worker.'),
  sluice_access_log_dropped_lines_total: counter(
    [],
    'Access lines lost because the output took none: its reader stalled or went away, or the disk is full.',
  ),
  sluice_application_log_dropped_lines_total: counter(
    [],
    'Application log lines lost, of the primary and the workers, for the same reasons.',
  ),
  sluice_event_loop_delay_seconds: gauge(
    ['worker'],
    "The longest turn of a worker's event loop in the last second: every event that arrived meanwhile waited. It is a maximum; 1 ms is the cost of the report that an idle worker makes.",
  ),
  sluice_worker_busy_ratio: gauge(
    ['worker'],
    'Part of the last second (0 to 1) that the event loop of a worker did not wait for events.',
  ),
  sluice_worker_cpu_seconds_total: counter(
    ['worker'],
    'CPU time of a worker process; its replacement begins at 0.',
  ),
  sluice_worker_resident_memory_bytes: gauge(['worker'], 'Resident memory of a worker process.'),
  sluice_worker_requests_total: counter(
    ['worker'],
    'Requests that a worker has begun; its replacement begins at 0.',
  ),
  sluice_worker_connections: gauge(['worker'], 'Client connections of a worker.'),
  sluice_workers: gauge(['state'], 'Worker processes by state (starting, serving, draining).'),
  sluice_worker_restarts_total: counter([], 'Workers that died and were replaced.'),
  sluice_admin_requests_total: counter(
    ['route', 'code'],
    'Answers of the admin port; route is the pattern of the path, _none where none matched.',
  ),
  sluice_config_last_reload_success: gauge([], '1 when the last load of the configuration succeeded.'),
  sluice_config_last_reload_timestamp_seconds: gauge(
    [],
    'When the configuration was last loaded with success, the start included.',
  ),
  sluice_config_last_reload_duration_seconds: gauge(
    [],
    'How long the last reload took, accepted or refused, until every worker had it; 0 before the first.',
  ),
  sluice_config_revision_info: gauge(['revision'], 'The revision of the configuration in force.'),
  sluice_build_info: gauge(
    ['version', 'node', 'fast_path'],
    'Version of Sluice and of Node.js, and what connections of clients are built on (handle, socket, node).',
  ),
} satisfies Record<string, MetricDefinition>;

export type MetricName = keyof typeof METRICS;

/**
 * liveSeries tells which series a configuration can still count: those of routes, pools, backends and policies that it has.
 * Called after a reload by workers and the primary, which drop the others.
 */
export function liveSeries(settings: Pick<Settings, 'routes' | 'pools' | 'rateLimit'>): IsLive {
  const { routes, pools, rateLimit } = settings;
  const known: Record<string, ReadonlySet<string>> = {
    route: new Set([...routes.map(({ name }) => name), UNMATCHED_ROUTE]),
    pool: new Set(pools.map(({ name }) => name)),
    backend: new Set(pools.flatMap(({ name, backends }) => backends.map(({ id }) => `${name} ${id}`))),
    policy: new Set(rateLimit.policies.map(({ name }) => name)),
  };
  return (name, values) =>
    // Its routes are those of the admin port.
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
    /** index, value, index, value, …: of counters and histograms the growth since the last message, of gauges the value. */
    cells: { listOf: 'number' },
  },
} as const;
