/** The performance goals of the data path, and whether a result reaches them. The report shows all of them. */
import { compareRounds, figureOf, type PeersResult, type Ratio, type RoundPairs } from './rig/results.ts';

export interface Verdict {
  work: string;
  bar: string;
  measured: string;
  /** null: the result has no figure. */
  reached: boolean | null;
}

/** nginx with a common token-bucket script, and with the script of Sluice. */
const LIMITING_NGINX = ['nginx-lua-redis', 'nginx-lua-redis-ours'];

/** verdicts compares a result with every goal. */
export function verdicts(result: PeersResult): Verdict[] {
  const limiterBar = (work: string, matchup: string, theirs: string, atMost: number): Verdict => {
    const ratio = compareRounds(result, { matchup, ours: 'sluice', theirs, metric: 'cpuWithRedisUs' });
    return judge(work, `with Redis ≤ ${atMost} × ${theirs}`, ratio, atMost, ' ×');
  };
  const ratioBar = (
    work: string,
    matchup: string,
    theirs: string,
    atMost: number,
    ours = 'sluice',
  ): Verdict => {
    const ratio = compareRounds(result, { matchup, ours, theirs });
    return judge(work, `≤ ${atMost} × ${theirs}`, ratio, atMost, ' ×');
  };
  return [
    ratioBar('tiny GET', 'tiny', 'nginx', 1.35),
    ratioBar('tiny GET', 'tiny', 'sluice-before', 1.03),
    ratioBar('tiny GET, documented API', 'tiny', 'nginx', 1.7, 'sluice-socket'),
    ratioBar('tiny GET, node:http', 'tiny', 'nginx', 2.4, 'sluice-node'),
    ...['http-proxy', 'http-proxy-3', 'httpxy', 'fastify-http-proxy', 'caddy'].map((theirs) =>
      ratioBar('tiny GET', 'tiny', theirs, 0.33),
    ),
    accessLogBar(result),
    ratioBar('10 KiB response', 'ten-kib', 'nginx', 1.4),
    ratioBar('POST of 200 bytes', 'post', 'nginx', 1.5),
    ratioBar('1 MiB response', 'download-1mib', 'haproxy', 0.6),
    ratioBar('1 MiB upload', 'upload-1mib', 'haproxy', 0.75),
    ratioBar('connection per request', 'new-connection', 'nginx', 2),
    twoWorkersBar(result),
    ...LIMITING_NGINX.map((theirs) => limiterBar('one hot client in Redis', 'limiter-hot', theirs, 0.45)),
    ...LIMITING_NGINX.map((theirs) =>
      limiterBar('10,000 clients in turn in Redis', 'limiter-crowd', theirs, 0.8),
    ),
    ratioBar('a 429', 'refused', 'node-http', 1.4),
    differenceBar(result),
    ratioBar('tiny GET over TLS', 'tls-tiny', 'nginx', 1.35),
    ratioBar('tiny GET over TLS', 'tls-tiny', 'caddy', 0.4),
    ratioBar('full TLS handshake', 'tls-handshakes', 'nginx', 1.5),
    worstBar(result, { work: 'TLS sessions not resumed', ...RESUMPTION }),
    ratioBar('1 MiB response over TLS', 'tls-download-1mib', 'nginx', 1.3),
    ratioBar('tiny GET by HTTP/2', 'http2-tiny', 'nginx', 1.9),
    ratioBar('tiny GET by HTTP/2', 'http2-tiny', 'caddy', 0.3),
    ratioBar('unary gRPC call', 'grpc-unary', 'nginx', 2),
    ratioBar('unary gRPC call', 'grpc-unary', 'caddy', 0.4),
    ratioBar('WebSocket message', 'web-socket', 'haproxy', 1.4),
    ratioBar('WebSocket message', 'web-socket', 'http-proxy-3', 0.4),
    worstBar(result, { work: '10,000 idle connections', ...IDLE }),
    worstBar(result, { work: '10,000 idle tunnels', ...IDLE_TUNNELS }),
    worstBar(result, { work: 'tunnels and streams under reloads', ...RELOADS }),
    growthBar(result),
    crowdBar(result),
    worstBar(result, { work: 'worker of the build at rest', ...REST }),
  ];
}

function judge(work: string, bar: string, ratio: Ratio | null, atMost: number, unit: string): Verdict {
  if (ratio === null) return { work, bar, measured: 'no figure', reached: null };
  const { median, smallest, largest } = ratio;
  const measured = `${median.toFixed(2)}${unit} (${smallest.toFixed(2)}–${largest.toFixed(2)})`;
  return { work, bar, measured, reached: median <= atMost };
}

function difference(result: PeersResult, pairs: RoundPairs): Ratio | null {
  return compareRounds(result, { ...pairs, as: (ours, theirs) => ours - theirs });
}

function accessLogBar(result: PeersResult): Verdict {
  const pairs = { matchup: 'access-log', ours: 'sluice', theirs: 'sluice without log' };
  return judge('access log on', '≤ 2 µs more than without', difference(result, pairs), 2, ' µs');
}

function differenceBar(result: PeersResult): Verdict {
  const pairs = { matchup: 'half-load', ours: 'sluice', theirs: 'nginx', metric: 'p99Ms' };
  return judge('p99 at half capacity', '≤ 1 ms more than nginx', difference(result, pairs), 1, ' ms');
}

function twoWorkersBar(result: PeersResult): Verdict {
  const one = compareRounds(result, { matchup: 'tiny', ours: 'sluice', theirs: 'nginx' });
  const two = compareRounds(result, { matchup: 'two-workers', ours: 'sluice', theirs: 'nginx' });
  const [work, bar] = ['two workers', 'ratio to nginx ≤ 1.1 × that of one worker'];
  if (one === null || two === null) return { work, bar, measured: 'no figure', reached: null };
  const measured = `${(two.median / one.median).toFixed(2)} × (${two.median.toFixed(2)} of ${one.median.toFixed(2)})`;
  return { work, bar, measured, reached: two.median <= 1.1 * one.median };
}

const IDLE = { matchup: 'idle-connections', metrics: ['kibPerConnection'], below: 8, unit: 'KiB' };
const IDLE_TUNNELS = { ...IDLE, matchup: 'idle-tunnels', below: 12 };
const RESUMPTION = { matchup: 'tls-resumption', metrics: ['notResumedPercent'], below: 5, unit: '%' };
const RELOADS = { matchup: 'reloads', metrics: ['dropped'], below: 1, unit: 'dropped' };
const REST = { matchup: 'rest', ours: 'sluice-built', metrics: ['workerRssMiB'], below: 95, unit: 'MiB' };

const GROWTHS = [
  'downSlow1MiB',
  'downSlow50MiB',
  'downStoppedMiB',
  'upSlow1MiB',
  'upSlow50MiB',
  'upStoppedMiB',
];

function growthBar(result: PeersResult): Verdict {
  return worstBar(result, {
    work: 'slow and stopped peers',
    metrics: GROWTHS,
    matchup: 'slow-peers',
    below: 8,
    unit: 'MiB',
  });
}

function crowdBar(result: PeersResult): Verdict {
  const metrics = ['downStopped200KibEach', 'upStopped200KibEach'];
  return worstBar(result, {
    work: '200 stopped peers, each',
    metrics,
    matchup: 'slow-peers',
    below: 256,
    unit: 'KiB',
  });
}

interface WorstBar {
  work: string;
  matchup: string;
  ours?: string;
  metrics: string[];
  below: number;
  unit: string;
}

function worstBar(
  result: PeersResult,
  { work, matchup, ours = 'sluice', metrics, below, unit }: WorstBar,
): Verdict {
  const figures = metrics.map((metric) => figureOf(result, matchup, ours, metric));
  const bar = `< ${below} ${unit}`;
  const known = figures.filter((figure) => figure !== null);
  if (known.length < metrics.length) return { work, bar, measured: 'no figure', reached: null };
  const worst = Math.max(...known);
  const of = known.length === 1 ? '' : ` (the worst of ${known.length})`;
  return { work, bar, measured: `${worst.toFixed(1)} ${unit}${of}`, reached: worst < below };
}
