/**
 * The one table of metrics: workers count into plain numbers by these names, the primary adds them up and renders them.
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
  bucketsSec?: readonly number[];
  /** A PromQL condition worth an alert, for the documentation. */
  alert?: string;
}

const REQUEST_BUCKETS_SEC = [
  0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60,
] as const;
const STORE_BUCKETS_SEC = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1] as const;

interface Facts {
  labels?: readonly string[];
  bucketsSec?: readonly number[];
  alert?: string;
}

const counter = (help: string, facts: Facts = {}): MetricDefinition => ({
  kind: 'counter',
  help,
  labels: [],
  ...facts,
});
const gauge = (help: string, facts: Facts = {}): MetricDefinition => ({
  ...counter(help, facts),
  kind: 'gauge',
});
const histogram = (help: string, facts: Facts & { bucketsSec: readonly number[] }): MetricDefinition => ({
  ...counter(help, facts),
  kind: 'histogram',
});

export const METRICS = {
  sluice_requests_total: counter('Requests that ended, answered or aborted. Code 499: the client gave up.', {
    labels: ['route', 'method', 'code'],
    alert: 'sum(rate(sluice_requests_total{code=~"5.."}[5m])) / sum(rate(sluice_requests_total[5m])) > 0.05',
  }),
  sluice_request_duration_seconds: histogram(
    'Time from the request head to the last byte of the answer or the abort.',
    {
      labels: ['route'],
      bucketsSec: REQUEST_BUCKETS_SEC,
      alert:
        'histogram_quantile(0.99, sum by (le, route) (rate(sluice_request_duration_seconds_bucket[5m]))) > 1',
    },
  ),
  sluice_requests_in_flight: gauge('Requests being served now.'),
  sluice_bytes_total: counter('Body bytes, in from clients and out to them.', { labels: ['direction'] }),
  sluice_upstream_requests_total: counter('Attempts at backends by status; 000 where no status came.', {
    labels: ['pool', 'backend', 'code'],
    alert: 'sum by (pool, backend) (rate(sluice_upstream_requests_total{code=~"000|5.."}[5m])) > 1',
  }),
  sluice_upstream_duration_seconds: histogram(
    'Time from sending a request to a backend to its response head.',
    { labels: ['pool', 'backend'], bucketsSec: REQUEST_BUCKETS_SEC },
  ),
  sluice_upstream_connect_seconds: histogram('Time to open a new connection to a backend.', {
    labels: ['pool', 'backend'],
    bucketsSec: REQUEST_BUCKETS_SEC,
  }),
  sluice_backend_up: gauge(
    '1 while a backend takes new requests. 0: down by its health check, not probed yet, or drained by an operator (GET /api/v1/pools says which).',
    { labels: ['pool', 'backend'], alert: 'sum by (pool) (sluice_backend_up) == 0' },
  ),
  sluice_backend_in_flight: gauge('Requests at a backend now.', { labels: ['pool', 'backend'] }),
  sluice_probes_total: counter('Health checks of backends by result (pass, fail).', {
    labels: ['pool', 'backend', 'result'],
  }),
  sluice_probe_duration_seconds: gauge('How long the last health check of a backend took.', {
    labels: ['pool', 'backend'],
  }),
  sluice_retries_total: counter('Attempts after the first of a request (connect, reused_socket).', {
    labels: ['pool', 'reason'],
  }),
  sluice_ratelimit_decisions_total: counter('Decisions of the limiter.', {
    labels: ['policy', 'result', 'source'],
  }),
  sluice_ratelimit_store_calls_total: counter(
    'Batches sent to the bucket store; skipped: decided without it while its breaker was open.',
    {
      labels: ['result'],
      alert: 'rate(sluice_ratelimit_store_calls_total{result=~"timeout|error"}[5m]) > 0.1',
    },
  ),
  sluice_ratelimit_store_seconds: histogram('Time from queueing a take to the reply of the bucket store.', {
    bucketsSec: STORE_BUCKETS_SEC,
  }),
  sluice_ratelimit_breaker_open: gauge(
    'Workers that decide alone because the bucket store does not answer.',
    {
      alert: 'sluice_ratelimit_breaker_open > 0',
    },
  ),
  sluice_api_key_requests_total: counter(
    'Requests with an API key: valid, or counted by address because it is unknown or malformed.',
    { labels: ['result'] },
  ),
  sluice_connections_open: gauge('Client connections open now.'),
  sluice_connections_accepted_total: counter('Client connections accepted, those closed at once included.'),
  sluice_shed_total: counter('Connections and requests turned away to protect the worker.', {
    labels: ['reason'],
    alert: 'rate(sluice_shed_total[5m]) > 0',
  }),
  sluice_access_log_dropped_lines_total: counter(
    'Access lines lost because the output took none: its reader stalled or went away, or the disk is full.',
    { alert: 'rate(sluice_access_log_dropped_lines_total[5m]) > 0' },
  ),
  sluice_application_log_dropped_lines_total: counter(
    'Application log lines lost, of the primary and the workers, for the same reasons.',
    { alert: 'rate(sluice_application_log_dropped_lines_total[5m]) > 0' },
  ),
  sluice_event_loop_delay_seconds: gauge(
    "The longest turn of a worker's event loop in the last second: every event that arrived meanwhile waited. It is a maximum; 1 ms is the cost of the report that an idle worker makes.",
    { labels: ['worker'], alert: 'min_over_time(sluice_event_loop_delay_seconds[1m]) > 0.1' },
  ),
  sluice_worker_busy_ratio: gauge(
    'Part of the last second (0 to 1) that the event loop of a worker did not wait for events.',
    { labels: ['worker'], alert: 'avg_over_time(sluice_worker_busy_ratio[5m]) > 0.9' },
  ),
  sluice_worker_cpu_seconds_total: counter(
    'CPU time of a worker process, user and system; starts anew with its replacement.',
    { labels: ['worker'] },
  ),
  sluice_worker_resident_memory_bytes: gauge('Resident memory of a worker process.', { labels: ['worker'] }),
  sluice_worker_requests_total: counter(
    'Requests that a worker has begun; starts anew with its replacement.',
    { labels: ['worker'] },
  ),
  sluice_worker_connections: gauge('Client connections of a worker.', { labels: ['worker'] }),
  sluice_workers: gauge('Worker processes by state (starting, serving, draining).', {
    labels: ['state'],
    alert: 'sluice_workers{state="serving"} < 1',
  }),
  sluice_worker_restarts_total: counter('Workers that died and were replaced.', {
    alert: 'increase(sluice_worker_restarts_total[10m]) > 2',
  }),
  sluice_admin_requests_total: counter(
    'Answers of the admin port; route is the pattern of the path, _none where none matched.',
    { labels: ['route', 'code'] },
  ),
  sluice_config_last_reload_success: gauge('1 when the last load of the configuration succeeded.', {
    alert: 'sluice_config_last_reload_success == 0',
  }),
  sluice_config_last_reload_timestamp_seconds: gauge(
    'Unix time of the last load of the configuration that succeeded, the start included.',
  ),
  sluice_config_last_reload_duration_seconds: gauge(
    'How long the last reload took, accepted or refused, until every worker had it; 0 before the first.',
  ),
  sluice_config_revision_info: gauge('The revision of the configuration in force.', { labels: ['revision'] }),
  sluice_build_info: gauge(
    'Version of Sluice and of Node.js, and what connections of clients are built on (handle, socket, node).',
    { labels: ['version', 'node', 'fast_path'] },
  ),
} as const satisfies Record<string, MetricDefinition>;

export type MetricName = keyof typeof METRICS;

/**
 * liveSeries tells which series a configuration can still count: those of routes, pools, backends and policies that it has.
 * Called after a reload by workers and the primary, which drop the others.
 */
export function liveSeries({
  routes,
  pools,
  rateLimit,
}: Pick<Settings, 'routes' | 'pools' | 'rateLimit'>): IsLive {
  const known: Record<string, ReadonlySet<string>> = {
    route: new Set([...routes.map(({ name }) => name), UNMATCHED_ROUTE]),
    pool: new Set(pools.map(({ name }) => name)),
    backend: new Set(pools.flatMap(({ name, backends }) => backends.map(({ id }) => `${name} ${id}`))),
    policy: new Set(rateLimit.policies.map(({ name }) => name)),
  };
  return (name, values) =>
    // Its routes are not the configuration's.
    name === 'sluice_admin_requests_total' ||
    METRICS[name].labels.every((label, i) => {
      const value = label === 'backend' ? `${values[i - 1]} ${values[i]}` : `${values[i]}`;
      return known[label]?.has(value) ?? true;
    });
}

/** @param values of the labels, in the order of the table */
export type IsLive = (name: MetricName, values: readonly string[]) => boolean;

/** Values of the label `method`; anything else is `_other`. */
export const STANDARD_METHODS = 'GET HEAD POST PUT PATCH DELETE OPTIONS CONNECT TRACE'.split(' ');
export const OTHER_METHOD = '_other';

/** cellCount is how many numbers a series takes: a histogram one per bucket (not cumulative), then +Inf, count and sum. */
export function cellCount({ kind, bucketsSec = [] }: MetricDefinition): number {
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
