/** Makes the text of docs/metrics.md from the table of metrics; config-docs.ts writes and checks the page. */
import { METRICS, type MetricDefinition } from '../src/contract/metrics.ts';

const INTRODUCTION = `<!-- Made by \`node_modules/.bin/node scripts/config-docs.ts\`; edit src/contract/metrics.ts instead. -->
# Metrics

\`GET /metrics\` on the admin port answers in the Prometheus text format, or in that of OpenMetrics if it is asked for (\`Accept: application/openmetrics-text\`), with [exemplars](tracing.md#exemplars). Workers send their numbers to the primary once a second, and the primary adds them up: a scrape
costs no worker anything, waits for none, and is at most one second old. A counter never falls when a worker is replaced, except for \`sluice_worker_*{worker}\`, which are the numbers of
one process (\`rate()\` and \`increase()\` know what to do). Label values come from the configuration or from closed sets, never from a client, a path or a host; after a reload the
series of routes, pools, backends and policies that it removed go away, once the last request of the old configuration has ended.

\`process_*\` and \`nodejs_*\` describe the primary process alone, which serves no request: those of the workers are in \`sluice_worker_*\`
(memory, CPU time, garbage collection, descriptors). \`sluice_worker_busy_ratio\` shows a worker's load best; \`sluice_event_loop_delay_seconds\` is a maximum, which one slow turn raises.

Alerts and recording rules for Prometheus are in [config/prometheus](../config/prometheus/), with [a runbook](runbook.md) that says what to do, and a dashboard for Grafana is [config/grafana/sluice.json](../config/grafana/sluice.json).

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

/** metricsPage returns the whole page. */
export function metricsPage(): string {
  return [
    INTRODUCTION,
    '| name | type | labels | unit | meaning |',
    '| --- | --- | --- | --- | --- |',
    ...Object.entries(METRICS).map(rowOf),
    '',
  ].join('\n');
}

function rowOf([name, { kind, labels, help }]: [string, MetricDefinition]): string {
  const unit = UNITS.find(([suffix]) => name.endsWith(suffix))?.[1] ?? '';
  const cells = [`\`${name}\``, kind, labels.map((label) => `\`${label}\``).join(', '), unit, help];
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
}
