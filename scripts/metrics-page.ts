/** Makes the text of docs/metrics.md from the table of metrics; config-docs.ts writes and checks the page. */
import { METRICS, type MetricDefinition, type MetricName } from '../src/contract/metrics.ts';

const INTRODUCTION = `<!-- Made by \`node_modules/.bin/node scripts/config-docs.ts\`; edit src/contract/metrics.ts instead. -->
# Metrics

\`GET /metrics\` on the admin port answers in the Prometheus text format. Workers send their numbers to the primary once a second, and the primary adds them up: a scrape
costs no worker anything, waits for none, and is at most one second old. A counter never falls when a worker is replaced, except for \`sluice_worker_*{worker}\`, which are the numbers of
one process (\`rate()\` and \`increase()\` know what to do). Label values come from the configuration or from closed sets, never from a client, a path or a host; after a reload the
series of routes, pools, backends and policies that it removed go away, once the last request of the old configuration has ended.

\`process_*\` and \`nodejs_*\` describe the primary process alone, which serves no request: those of the workers are in \`sluice_worker_*\`
(memory, CPU time, garbage collection, descriptors). \`sluice_worker_busy_ratio\` shows a worker's load best; \`sluice_event_loop_delay_seconds\` is a maximum, which one slow turn raises.

Of a histogram there are \`…_bucket\`, \`…_sum\` and \`…_count\`.
`;

const UNITS: readonly [suffix: string, unit: string][] = [
  ['_timestamp_seconds', 'Unix time, s'],
  ['_seconds', 's'],
  ['_seconds_total', 's'],
  ['_bytes', 'bytes'],
  ['_bytes_total', 'bytes'],
  ['_ratio', '0 to 1'],
];

/** PromQL conditions; one per metric is enough for a start. */
const ALERTS: Partial<Record<MetricName, string>> = {
  sluice_requests_total:
    'sum(rate(sluice_requests_total{code=~"5.."}[5m])) / sum(rate(sluice_requests_total[5m])) > 0.05',
  sluice_request_duration_seconds:
    'histogram_quantile(0.99, sum by (le, route) (rate(sluice_request_duration_seconds_bucket[5m]))) > 1',
  sluice_upstream_requests_total:
    'sum by (pool, backend) (rate(sluice_upstream_requests_total{code=~"000|5.."}[5m])) > 1',
  sluice_backend_up: 'sum by (pool) (sluice_backend_up) == 0',
  sluice_ratelimit_store_calls_total:
    'rate(sluice_ratelimit_store_calls_total{result=~"timeout|error"}[5m]) > 0.1',
  sluice_ratelimit_breaker_open: 'sluice_ratelimit_breaker_open > 0',
  sluice_shed_total: 'rate(sluice_shed_total[5m]) > 0',
  sluice_access_log_dropped_lines_total: 'rate(sluice_access_log_dropped_lines_total[5m]) > 0',
  sluice_application_log_dropped_lines_total: 'rate(sluice_application_log_dropped_lines_total[5m]) > 0',
  sluice_event_loop_delay_seconds: 'min_over_time(sluice_event_loop_delay_seconds[1m]) > 0.1',
  sluice_worker_busy_ratio: 'avg_over_time(sluice_worker_busy_ratio[5m]) > 0.9',
  sluice_workers: 'sluice_workers{state="serving"} < 1',
  sluice_worker_restarts_total: 'increase(sluice_worker_restarts_total[10m]) > 2',
  sluice_config_last_reload_success: 'sluice_config_last_reload_success == 0',
  sluice_tls_certificate_expiry_seconds: 'sluice_tls_certificate_expiry_seconds < 14 * 86400',
  sluice_pool_certificate_expiry_seconds: 'sluice_pool_certificate_expiry_seconds < 14 * 86400',
  sluice_tls_certificates_current: 'sluice_tls_certificates_current == 0',
  sluice_acme_certificates_due: 'min_over_time(sluice_acme_certificates_due[6h]) > 0',
};

/** metricsPage returns the whole page. */
export function metricsPage(): string {
  return [
    INTRODUCTION,
    '| name | type | labels | unit | meaning |',
    '| --- | --- | --- | --- | --- |',
    ...Object.entries(METRICS).map(rowOf),
    '\n## Conditions worth an alert\n',
    'Starting points in PromQL: the thresholds are yours to choose.\n',
    ...Object.values(ALERTS).map((alert) => `- \`${alert}\``),
    '',
  ].join('\n');
}

function rowOf([name, { kind, labels, help }]: [string, MetricDefinition]): string {
  const unit = UNITS.find(([suffix]) => name.endsWith(suffix))?.[1] ?? '';
  const cells = [`\`${name}\``, kind, labels.map((label) => `\`${label}\``).join(', '), unit, help];
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
}
