/** The text of docs/metrics.md, made from the table of metrics; written and checked by config-docs.ts. */
import { METRICS, type MetricName } from '../src/contract/metrics.ts';

const INTRODUCTION = `<!-- Made by \`node scripts/config-docs.ts\`; edit src/contract/metrics.ts instead. -->
# Metrics

\`GET /metrics\` on the admin port answers in the Prometheus text format. Workers send their numbers to the primary once a second, and the primary adds them up: a scrape
costs no worker anything, waits for none, and is at most one second old. A counter never falls when a worker is replaced, except for \`sluice_worker_*{worker}\`, which are the numbers of
one process (\`rate()\` and \`increase()\` know what to do). Label values come from the configuration or from closed sets, never from a client, a path or a host; after a reload the
series of routes, pools, backends and policies that it removed go away, once the last request of the old configuration has ended.

\`process_*\` and \`nodejs_*\` describe the primary process alone, which serves no request: memory and CPU time of the workers are in \`sluice_worker_resident_memory_bytes\` and
\`sluice_worker_cpu_seconds_total\`. How loaded a worker is, \`sluice_worker_busy_ratio\` says best: the delay of its event loop is a maximum, and one slow turn makes it.

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

/** metricsPage is the whole page. */
export function metricsPage(): string {
  const names = Object.keys(METRICS) as MetricName[];
  const alerts = names.flatMap((name) => {
    const { alert } = METRICS[name];
    return alert === undefined ? [] : [alert];
  });
  return [
    INTRODUCTION,
    '| name | type | labels | unit | meaning |',
    '| --- | --- | --- | --- | --- |',
    ...names.map(rowOf),
    '\n## Conditions worth an alert\n',
    'Starting points in PromQL: the thresholds are yours to choose.\n',
    ...alerts.map((alert) => `- \`${alert}\``),
    '',
  ].join('\n');
}

function rowOf(name: MetricName): string {
  const { kind, labels, help } = METRICS[name];
  const unit = UNITS.find(([suffix]) => name.endsWith(suffix))?.[1] ?? '';
  const cells = [`\`${name}\``, kind, labels.map((label) => `\`${label}\``).join(', '), unit, help];
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
}
