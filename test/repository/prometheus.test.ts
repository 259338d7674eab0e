/** Rules and dashboard: every metric that they name exists, every alert fires when it should, and the runbook has it. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parse, stringify } from 'yaml';
import { METRICS, type MetricName } from '../../src/contract/metrics.ts';
import { MetricsCollector } from '../../src/primary/metrics/metrics-collector.ts';
import { runToEnd } from '../support/child.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { hasTool } from '../support/tools.ts';
import { ALERT_CASES } from './alert-cases.ts';

interface Rule {
  alert?: string;
  record?: string;
  expr: string;
  labels?: { severity: string };
  annotations?: { summary: string; runbook: string };
}
interface Panel {
  id: number;
  type: string;
  title: string;
  gridPos: { x: number; y: number; w: number; h: number };
  targets?: { expr: string }[];
}
interface Dashboard {
  panels: Panel[];
  templating: { list: { name: string; query: string | { query: string } }[] };
  annotations: { list: { expr: string }[] };
}

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const textOf = (path: string) => readFileSync(join(ROOT, path), 'utf8');
const RULE_FILES = ['config/prometheus/recording.yml', 'config/prometheus/alerts.yml'];
const rulesOf = (path: string) =>
  (parse(textOf(path)) as { groups: { rules: Rule[] }[] }).groups.flatMap(({ rules }) => rules);
const RULES = RULE_FILES.flatMap(rulesOf);
const ALERTS = RULES.filter(({ alert }) => alert !== undefined);
const dashboard = JSON.parse(textOf('config/grafana/sluice.json')) as Dashboard;

/** Labels that Prometheus adds, and that of buckets. */
const FOREIGN_LABELS = ['job', 'instance', 'le'];
const SERIES = /\b((?:sluice|process|nodejs)_[a-z0-9_]+)(?:\{([^}]*)\})?/g;

/** What an expression names that no series of Sluice has. */
function unknownIn(expr: string, others: ReadonlySet<string>): string[] {
  // Names of recorded series have colons.
  const series = expr.replaceAll(/\b\w+:\w+:\w+/g, '');
  return [...series.matchAll(SERIES)].flatMap(([, full = '', matchers = '']) => {
    const name = full.replace(/_(bucket|count|sum)$/, '');
    const metric = METRICS[name as MetricName] ?? METRICS[full as MetricName];
    if (metric === undefined) return others.has(full) ? [] : [full];
    const labels = [...matchers.matchAll(/(\w+)\s*(?:=~|!~|!=|=)/g)].map(([, label = '']) => label);
    const unknown = labels.filter((label) => ![...FOREIGN_LABELS, ...metric.labels].includes(label));
    return unknown.map((label) => `${name}{${label}}`);
  });
}

test('every metric and label in the rules and in the dashboard exists', async () => {
  const text = await new MetricsCollector().text();
  const defaults = new Set([...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name = '']) => name));
  const queries = dashboard.templating.list.map(({ query }) =>
    typeof query === 'string' ? query : query.query,
  );
  const shown = dashboard.panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));
  const asked = [...shown, ...queries, ...dashboard.annotations.list.map(({ expr }) => expr)];
  assert.ok(shown.length > 50);
  for (const expr of [...RULES.map((rule) => rule.expr), ...asked])
    assert.deepEqual(unknownIn(expr, defaults), [], expr);
  const recorded = new Set(RULES.map(({ record }) => record));
  for (const name of [...RULES.map(({ expr }) => expr), ...asked].join(' ').match(/\b\w+:\w+:\w+/g) ?? [])
    assert.ok(recorded.has(name), `${name} is recorded`);
  assert.deepEqual(unknownIn('rate(sluice_shed_total{cause="x"}[5m]) > sluice_nonsense', defaults), [
    'sluice_shed_total{cause}',
    'sluice_nonsense',
  ]);
});

test('rules and dashboard tell failures by whose they are, as the status of an instance does, and not by codes', () => {
  const panels = dashboard.panels.flatMap(({ targets = [] }) => targets);
  for (const { expr } of [...RULES, ...panels]) assert.doesNotMatch(expr, /sluice_requests_total\{[^}]*code/);
});

test('the dashboard has its variables, and panels of their own number and place', () => {
  const names = dashboard.templating.list.map(({ name }) => name);
  assert.deepEqual(names, ['datasource', 'job', 'instance', 'route', 'pool']);
  const { panels } = dashboard;
  assert.equal(new Set(panels.map(({ id }) => id)).size, panels.length);
  for (const [i, { title, gridPos: a }] of panels.entries()) {
    assert.ok(title !== '' && a.x + a.w <= 24, title);
    for (const { title: other, gridPos: b } of panels.slice(i + 1)) {
      const isBeside = a.x + a.w <= b.x || b.x + b.w <= a.x || a.y + a.h <= b.y || b.y + b.h <= a.y;
      assert.ok(isBeside, `${title} and ${other} overlap`);
    }
  }
  const rows = panels.filter(({ type }) => type === 'row').map(({ title }) => title);
  for (const row of ['Traffic', 'Errors', 'Latency by route', 'Limits', 'Backends', 'Workers'])
    assert.ok(rows.includes(row), row);
});

const exprOf = (title: string, type: string) =>
  dashboard.panels.find((panel) => panel.title === title && panel.type === type)?.targets?.[0]?.expr ?? '';

test('panels ask for the chosen job, say 0 where there were no errors, and count a backend of two instances once', async (t) => {
  for (const { title, targets = [] } of dashboard.panels)
    for (const { expr } of targets)
      for (const [, matchers = ''] of expr.matchAll(/\{([^}]*)\}/g))
        assert.match(matchers, /^job=~"\$job",/, title);
  if (!hasTool(t, 'promtool')) return;
  const input_series = ['a', 'b'].flatMap((instance) => [
    {
      series: `sluice_requests_total{job="j",instance="${instance}",route="r",code="200"}`,
      values: '0+60x10',
    },
    { series: `sluice_backend_up{job="j",instance="${instance}",pool="p",backend="1"}`, values: '0x10' },
    { series: `sluice_backend_up{job="j",instance="${instance}",pool="p",backend="2"}`, values: '1x10' },
  ]);
  const asked: [title: string, type: string, labels: string, value: number][] = [
    ['Errors', 'stat', '{}', 0],
    ['Errors by route', 'timeseries', '{route="r"}', 0],
    ['Backends that take no requests', 'stat', '{}', 1],
  ];
  const promql_expr_test = asked.map(([title, type, labels, value]) => ({
    expr: exprOf(title, type)
      .replaceAll('$__rate_interval', '5m')
      .replaceAll(/"\$\w+"/g, '".*"'),
    eval_time: '10m',
    exp_samples: [{ labels, value }],
  }));
  const path = join(tempFolder(t), 'panels.test.yml');
  writeFileSync(path, stringify({ tests: [{ interval: '1m', input_series, promql_expr_test }] }));
  const tested = await runToEnd('promtool', ['test', 'rules', path]);
  assert.equal(tested.code, 0, [...tested.stdout, ...tested.stderr].join('\n'));
});

test('every alert has a severity, a summary, and meaning, check and cure in the runbook', () => {
  const sections = textOf('docs/runbook.md').split(/^## /m).slice(1);
  for (const { alert = '', labels, annotations } of ALERTS) {
    assert.match(labels?.severity ?? '', /^(critical|warning|info)$/, alert);
    const isOfAll = ALERT_CASES[alert]?.isAlone === true;
    assert.equal(/\$labels\.instance/.test(annotations?.summary ?? ''), !isOfAll, alert);
    assert.equal(annotations?.runbook, `docs/runbook.md#${alert.toLowerCase()}`);
    const section = sections.find((text) => text.startsWith(`${alert}\n`)) ?? '';
    for (const word of ['Meaning', 'Check', 'Cure'])
      assert.ok(section.includes(`*${word}.* `), `${alert}: ${word}`);
  }
  assert.deepEqual(
    sections.map((text) => text.split('\n')[0]).sort(),
    ALERTS.map(({ alert }) => alert).sort(),
  );
});

test('promtool accepts the rules; every alert fires when it should, not a minute sooner, and ends with its cause', async (t) => {
  const names = ALERTS.map(({ alert = '' }) => alert);
  assert.deepEqual(Object.keys(ALERT_CASES).sort(), [...names].sort(), 'every alert has a case');
  if (!hasTool(t, 'promtool')) return;
  const files = RULE_FILES.map((path) => join(ROOT, path));
  const checked = await runToEnd('promtool', ['check', 'rules', ...files]);
  assert.equal(checked.code, 0, [...checked.stdout, ...checked.stderr].join('\n'));
  const path = join(tempFolder(t), 'rules.test.yml');
  const isAlone = ({ alert = '' }: Rule) => ALERT_CASES[alert]!.isAlone === true;
  const groups = [ALERTS.filter((rule) => !isAlone(rule)), ...ALERTS.filter(isAlone).map((rule) => [rule])];
  const tests = groups.map((alerts) => ({
    interval: '1m',
    input_series: alerts.flatMap(seriesOf),
    alert_rule_test: alerts.map(ruleTestOf),
    promql_expr_test: alerts.flatMap(timesOf),
  }));
  // Else their order is another one each time.
  const order = ['sluice-recording', 'sluice'];
  const whole = { rule_files: files, evaluation_interval: '1m', group_eval_order: order, tests };
  writeFileSync(path, stringify(whole));
  const tested = await runToEnd('promtool', ['test', 'rules', path]);
  assert.equal(tested.code, 0, [...tested.stdout, ...tested.stderr].join('\n'));
});

/** Each case has an instance of its own, so that one run is enough for all. */
const instanceOf = (alert: string, which: 'fires' | 'quiet') => `${alert}-${which}`;

/** One instance is bad, then well; the other is well. */
function seriesOf({ alert = '' }: Rule): { series: string; values: string }[] {
  const { fires, quiet, isAlone } = ALERT_CASES[alert]!;
  const bad = Object.fromEntries(Object.keys(quiet).map((name) => [name, `_x${minutesOf(fires)}`]));
  const turned = Object.entries({ ...bad, ...fires }).map(([name, values]): [string, string] => [
    name,
    `${values} ${quiet[name] ?? ''}`,
  ]);
  const place = (which: 'fires' | 'quiet', series: [name: string, values: string][]) => {
    const own = `job="sluice",instance="${instanceOf(alert, which)}"`;
    return series.map(([name, values]) => ({
      series: name.endsWith('}') ? name.replace('{', `{${own},`) : `${name}{${own}}`,
      values,
    }));
  };
  return [...place('fires', turned), ...(isAlone ? [] : place('quiet', Object.entries(quiet)))];
}

/** How many minutes a case has values for. */
function minutesOf(series: Record<string, string>): number {
  const counts = Object.values(series).map((values) =>
    values.split(' ').reduce((sum, part) => {
      const [, missing = '', times = ''] = /^(_?).*x(\d+)$/.exec(part) ?? [];
      return sum + (times === '' ? 1 : Number(times) + (missing === '' ? 1 : 0));
    }, 0),
  );
  return Math.max(...counts);
}

/** Rates look back for a quarter of an hour at most. */
const CURED_MIN = 16;

/** When it fires: not a minute before its time, then, and not after its cause has gone. */
function timesOf({ alert = '' }: Rule): object[] {
  const { from, fires, isAlone } = ALERT_CASES[alert]!;
  const instance = isAlone ? '' : `,instance="${instanceOf(alert, 'fires')}"`;
  const expr = `count(ALERTS{alertname="${alert}",alertstate="firing"${instance}})`;
  const at = (minute: number, isFiring: boolean) => ({
    expr,
    eval_time: `${minute}m`,
    exp_samples: isFiring ? [{ labels: '{}', value: 1 }] : [],
  });
  return [at(from - 1, false), at(from, true), at(minutesOf(fires) + CURED_MIN, false)];
}

/** A test in promtool's form: of all instances only the one that should be is there. */
function ruleTestOf({ alert = '', labels, annotations }: Rule): object {
  const { at, summary, labels: more = {} } = ALERT_CASES[alert]!;
  const instance = instanceOf(alert, 'fires');
  const expected = {
    exp_labels: { ...labels, job: 'sluice', instance, ...more },
    exp_annotations: { summary: summary.replace('INSTANCE', instance), runbook: annotations?.runbook },
  };
  return { eval_time: `${at}m`, alertname: alert, exp_alerts: [expected] };
}
