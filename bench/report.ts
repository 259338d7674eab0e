/**
 * Writes docs/benchmarks.md and docs/benchmarks.svg from the newest results in bench/results; `make bench-report`. The text
 * is the same for every result, so losses are shown as plainly as wins.
 */
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { verdicts } from './bars.ts';
import { chartOf } from './chart.ts';
import type { Row } from './matchups/matchup.ts';
import { tableOf, verdictOf, whenAndWhere } from './rig/pages.ts';
import { type MatchupResult, newestOf, type PeersResult, type SluiceResult } from './rig/results.ts';
import { median, spreadPercent } from './rig/stats.ts';

const DOCS = fileURLToPath(new URL('../docs/', import.meta.url));

/** reportOf returns the text of docs/benchmarks.md. */
export function reportOf(peers: PeersResult, sluice: SluiceResult | null): string {
  return [
    '# Benchmarks',
    '',
    '<!-- Written by bench/report.ts (make bench-report). Change that, not this. -->',
    '',
    ...introduction(peers),
    '## Bars',
    '',
    'A ratio here is the median of the ratios of all rounds. It may differ from the ratio of the medians in the tables and the chart.',
    '',
    ...barTable(peers),
    '## Side by side',
    '',
    '![CPU time per request](benchmarks.svg)',
    '',
    ...peers.matchups.flatMap(matchupSection),
    ...(sluice === null ? [] : sluiceSection(sluice)),
    '## How it is measured',
    '',
    ...method(peers),
    '',
  ].join('\n');
}

function introduction(peers: PeersResult): string[] {
  const { loadAverage } = peers;
  return [
    ...whenAndWhere(peers),
    `Medians of ${peers.rounds} rounds of ${peers.durationSec} s, the balancers in turn (A B C C B A …);`,
    `in brackets the range over the rounds. Load average ${loadAverage.before} before and ${loadAverage.after} after: the machine was shared, so trust the`,
    'ratios within a table, not numbers across runs or machines.',
    '',
    ...Object.entries(peers.absent).map(([name, why]) => `* ${name} took no part: ${why}.`),
    ...(Object.keys(peers.absent).length > 0 ? [''] : []),
  ];
}

function barTable(peers: PeersResult): string[] {
  const rows = verdicts(peers).map(({ work, bar, measured, reached }) => [
    ...[work, bar, measured, verdictOf(reached)],
  ]);
  return [...tableOf(['work', 'goal', 'measured', ''], rows), ''];
}

/** One column per metric. Metrics without values are left out. */
const COLUMNS: [metric: string, title: string, digits: number][] = [
  ['cpuUs', 'CPU µs', 1],
  ['userUs', 'user', 1],
  ['systemUs', 'system', 1],
  ['requestsPerSec', 'requests/s', 0],
  ['ratePerSec', 'rate/s', 0],
  ['p50Ms', 'p50 ms', 2],
  ['p99Ms', 'p99 ms', 2],
  ['p999Ms', 'p99.9 ms', 2],
  ['directP99Ms', 'p99 direct', 2],
  ['addedP99Ms', 'p99 added', 2],
  ['generatorLagP99Ms', 'generator late p99', 2],
  ['generatorCpuShare', 'generator, cores', 2],
  ['balancerCpuShare', 'balancer, cores', 2],
  ['connections', 'connections', 0],
  ['kibPerConnection', 'KiB each', 1],
  ['notResumedPercent', 'not resumed, %', 1],
  ['dropped', 'dropped', 0],
  ['downSlow1MiB', 'down 1 MiB/s, MiB', 1],
  ['downSlow50MiB', 'down 50 MiB/s, MiB', 1],
  ['downStoppedMiB', 'down stopped, MiB', 1],
  ['upSlow1MiB', 'up 1 MiB/s, MiB', 1],
  ['upSlow50MiB', 'up 50 MiB/s, MiB', 1],
  ['upStoppedMiB', 'up stopped, MiB', 1],
  ['downStopped200KibEach', '200 down, KiB each', 0],
  ['upStopped200KibEach', '200 up, KiB each', 0],
  ['redisCommandsPerRequest', 'Redis commands', 3],
  ['redisCpuUs', 'Redis µs', 1],
  ['cpuWithRedisUs', 'CPU and Redis µs', 1],
  ['rssMiB', 'RSS MiB', 0],
  ['workerRssMiB', 'workers’ RSS', 0],
];

function matchupSection({ title, load, rows }: MatchupResult): string[] {
  const columns = COLUMNS.filter(([metric]) => rows.some(({ rounds }) => rounds[0]?.[metric] !== undefined));
  const ours = cpuOf(rows.find(({ label }) => label === 'sluice'));
  const ratios = ours !== null && rows.some((row) => row.label !== 'sluice' && cpuOf(row) !== null);
  const titles = ['', ...columns.map(([, name]) => name), ...(ratios ? ['Sluice’s CPU over it'] : [])];
  const body = rows.map((row) => {
    if (row.problem !== '')
      return `| ${row.label} | no figure: ${row.problem.split('\n')[0]}${' |'.repeat(titles.length - 1)}`;
    const theirs = cpuOf(row);
    const ratio = theirs === null || ours === null ? '–' : `${(ours / theirs).toFixed(2)} ×`;
    return `| ${[row.label, ...columns.map((column) => cell(row, column)), ...(ratios ? [ratio] : [])].join(' | ')} |`;
  });
  const rule = `| --- |${' ---: |'.repeat(titles.length - 1)}`;
  return [`### ${title}`, '', `${load}.`, '', `| ${titles.join(' | ')} |`, rule, ...body, ''];
}

function cpuOf(row: Row | undefined): number | null {
  const values = (row?.rounds ?? []).map((round) => round.cpuUs).filter((value) => value !== undefined);
  return values.length === 0 ? null : median(values);
}

function cell({ rounds }: Row, [metric, , digits]: [string, string, number]): string {
  const values = rounds.map((round) => round[metric]).filter((value) => value !== undefined);
  if (values.length === 0) return '–';
  const text = median(values).toFixed(digits);
  if (metric !== 'cpuUs' || values.length < 2) return text;
  return `${text} (${Math.min(...values).toFixed(0)}–${Math.max(...values).toFixed(0)})`;
}

function sluiceSection(sluice: SluiceResult): string[] {
  const metrics = COLUMNS.filter(([metric]) =>
    sluice.scenarios.some(({ figures }) => figures[metric] !== undefined),
  );
  const rows = sluice.scenarios.map(({ title, problem, figures }) => {
    if (problem !== '') return `| ${title} | failed: ${problem}${' |'.repeat(metrics.length)}`;
    const cells = metrics.map(([metric, , digits]) => figures[metric]?.toFixed(digits) ?? '–');
    return `| ${[title, ...cells].join(' | ')} |`;
  });
  return [
    '## Sluice by itself',
    '',
    `\`make bench\`: autocannon, one worker per CPU (${sluice.scenarios[0]?.workers ?? 0}), ${sluice.durationSec} s each, at commit ${sluice.revision.commit.slice(0, 10)}.`,
    'CPU and memory are those of the primary (with its embedded database) and all workers.',
    '',
    `| | ${metrics.map(([, name]) => name).join(' | ')} |`,
    `| --- |${' ---: |'.repeat(metrics.length)}`,
    ...rows,
    '',
  ];
}

function method(peers: PeersResult): string[] {
  const spreads = peers.matchups.flatMap(({ rows }) =>
    rows.map(({ rounds }) => spreadPercent(rounds.map((round) => round.cpuUs ?? Number.NaN))),
  );
  const known = spreads.filter((value) => Number.isFinite(value));
  const command = (name: string, text: string) =>
    `  * ${name} ${peers.versions[name.split(' ')[0] ?? ''] ?? ''}: \`${text}\``;
  return [
    'Every balancer runs one worker (thread, GOMAXPROCS) unless the table says otherwise, keeps connections to the backends open,',
    'adds X-Forwarded-For, -Proto, -Host, X-Real-IP, X-Request-Id and Via (Sluice also a traceparent), and is set up as its own',
    'documentation advises; the files are in `bench/peers`. CPU time is that of all its processes, from `/proc`, over the answers of the',
    'load generator; a pass with less than 99 % good answers is repeated once, then the row has no figure. Before the first pass a',
    'server gets 50,000 requests or 6 s of each kind of load, because V8 takes that long to compile the hot code.',
    'A goal is compared with the median of the ratios of the rounds; the last column of a table compares the medians, so the two can differ a little.',
    '`sluice-socket` and `sluice-node` use only node’s documented API, with our HTTP/1.1 and with node:http; `sluice-built` is the',
    'production build, `sluice-before` an earlier version. Certificates are ECDSA P-256 and TLS is 1.3. `nginx-lua-redis` limits with a common script, `nginx-lua-redis-ours` with Sluice’s own. Everything runs on loopback of one machine, so the kernel’s share is that of',
    'loopback, and the load generator and the backends use the same cores.',
    '',
    `The rounds of one row lie ${known.length === 0 ? 0 : median(known).toFixed(0)} % apart in the median, at most ${known.length === 0 ? 0 : Math.max(...known).toFixed(0)} %.`,
    '',
    `* Backends: ${peers.backends}. Load: wrk ${peers.versions.wrk ?? ''}, \`-t1 -c64 -d${peers.durationSec}s\` (16 connections for 1 MiB); h2load ${peers.versions.h2load ?? ''}; OpenSSL ${peers.versions.openssl ?? ''}.`,
    '* Commands:',
    ...Object.entries(peers.commands).map(([name, text]) => command(name, text)),
    '',
    'To repeat: `make bench-peers` (all, a quarter of an hour), `make bench-peers SCENARIO=tiny ROUNDS=3`, `make bench`, `make bench-check`,',
    '`make bench-report`.',
  ];
}

if (import.meta.main) {
  const peers = newestOf('peers');
  if (peers === null) {
    console.error('no results in bench/results; run make bench-peers first');
    process.exitCode = 1;
  } else {
    writeFileSync(`${DOCS}benchmarks.md`, reportOf(peers, newestOf('sluice')));
    writeFileSync(`${DOCS}benchmarks.svg`, chartOf(peers));
    // The README shows the chart of one scenario.
    const tiny = peers.matchups.filter(({ name }) => name === 'tiny');
    writeFileSync(`${DOCS}benchmarks-tiny.svg`, chartOf({ ...peers, matchups: tiny }));
    console.log(`docs/benchmarks.md and its charts from the run of ${peers.startedAt}`);
  }
}
