/**
 * `make bench-accept`: how evenly each mode of `accept` spreads connections over the workers, and the CPU time of a new
 * connection. It prints a table, which judges the spread from 1,000 connections on.
 *
 *   node bench/accept-spread.ts [--workers=8] [--rounds=3] [--duration-sec=1]
 *
 * One Sluice per mode runs all the time; each round measures every mode. The spread is measured twice: when all connections
 * are open and have had one answer, and again after some seconds with about one request on each, because a crowded worker
 * closes connections after its answers. The cost is the CPU time (all processes of the instance, under wrk) of a request on
 * a new connection minus that of a request on a kept connection.
 */
import { parseArgs } from 'node:util';
import { spawnChild } from '../test/support/child.ts';
import { type SluiceProcess, startSluice } from '../test/support/sluice.ts';
import { waitFor } from '../test/support/wait.ts';
import { configOf } from './peers/sluice.ts';
import { type Backends, startBackends } from './rig/backend.ts';
import { cpuSince, cpuTimes } from './rig/cpu.ts';
import { problemOf, type Work } from './rig/load.ts';
import { loadAverage, machine } from './rig/record.ts';
import { median } from './rig/stats.ts';
import { findProgram } from './rig/tools.ts';
import { connectionsOf } from './rig/worker-sockets.ts';
import { runWrk } from './rig/wrk.ts';

const MODES = ['shared', 'round_robin', 'reuse_port'] as const;
export type AcceptMode = (typeof MODES)[number];

const CONNECTIONS = [100, 1_000, 10_000];
const BAR = { fromConnections: 1_000, atMostOverMean: 1.3 };
const LOAD = { perSec: 2_500, seconds: 4 };
const WARM_UP_SEC = 2;
const KEPT: Work = { path: '/tiny', connections: 64 };
const CLIENTS = new URL('rig/keeping-clients.ts', import.meta.url).pathname;

/** Connections of the fullest worker divided by the mean: when all are open, and after the load. */
export interface Spread {
  opened: number;
  loaded: number;
  failed: number;
}

/** The part of a SluiceProcess that measureSpread uses. */
export type Instance = Pick<SluiceProcess, 'proxyUrl' | 'workerPids'>;

export interface Cost {
  connectionsPerSec: number;
  cpuUs: number;
}

/** startMode runs `serve` with that mode in front of the bench's backends. */
export function startMode(accept: AcceptMode, workers: number, backends: Backends): Promise<SluiceProcess> {
  const options = {
    backendPorts: backends.ports,
    workers,
    accessLog: false,
    redisPort: null,
    tls: false,
    grpc: false,
  };
  return startSluice({ config: { ...configOf(options), accept } });
}

/** measureSpread opens the connections, sends requests on them and closes them. It returns when the workers have closed them too. */
export async function measureSpread(
  sluice: Instance,
  connections: number,
  { perSec, seconds } = LOAD,
): Promise<Spread> {
  const args = [CLIENTS, new URL(sluice.proxyUrl).port, String(connections), String(perSec), String(seconds)];
  const clients = spawnChild(process.execPath, args);
  try {
    await clients.waitForLine(`open ${connections}`, { timeoutMs: 60_000 });
    const opened = overMean(await countsOf(sluice, connections));
    clients.signal('SIGUSR2');
    const line = await clients.waitForLine(/^\{/, { timeoutMs: seconds * 1_000 + 30_000 });
    const loaded = overMean(await countsOf(sluice, connections));
    return { opened, loaded, failed: (JSON.parse(line) as { failed: number }).failed };
  } finally {
    await clients.kill();
    await countsOf(sluice, 0);
  }
}

function countsOf(sluice: Instance, connections: number): Promise<number[]> {
  const { port } = new URL(sluice.proxyUrl);
  return waitFor(
    `the workers to have ${connections} connections`,
    () => {
      const counts = connectionsOf(sluice.workerPids(), Number(port));
      return sumOf(counts) === connections ? counts : null;
    },
    { timeoutMs: 30_000, everyMs: 100 },
  );
}

const sumOf = (counts: readonly number[]) => counts.reduce((sum, count) => sum + count, 0);
const overMean = (counts: readonly number[]) => (Math.max(...counts) * counts.length) / sumOf(counts);

/** measureCost loads an instance twice: with kept, then with new connections. It throws when too many requests failed. */
async function measureCost(sluice: SluiceProcess, durationSec: number): Promise<Cost> {
  const kept = await cpuPerRequest(sluice, KEPT, durationSec);
  const anew = await cpuPerRequest(sluice, { ...KEPT, reconnecting: true }, durationSec);
  return { connectionsPerSec: anew.requestsPerSec, cpuUs: anew.cpuUs - kept.cpuUs };
}

async function cpuPerRequest({ child, proxyUrl }: SluiceProcess, work: Work, durationSec: number) {
  const pids = child.groupPids();
  const before = cpuTimes(pids);
  const figures = await runWrk(Number(new URL(proxyUrl).port), work, durationSec);
  const { totalUs } = cpuSince(before, cpuTimes(pids));
  const problem = problemOf(figures);
  if (problem !== '') throw new Error(problem);
  return { cpuUs: totalUs / figures.requests, requestsPerSec: figures.requests / figures.durationSec };
}

interface Entry {
  accept: AcceptMode;
  sluice: SluiceProcess;
  /** By number of connections; each list has one entry per round. */
  spreads: Map<number, Spread[]>;
  costs: Cost[];
}

interface Options {
  workers: number;
  rounds: number;
  durationSec: number;
}

async function measureAll({ workers, rounds, durationSec }: Options, backends: Backends): Promise<Entry[]> {
  const entries: Entry[] = [];
  try {
    for (const accept of MODES) {
      const sluice = await startMode(accept, workers, backends);
      entries.push({ accept, sluice, spreads: new Map(CONNECTIONS.map((each) => [each, []])), costs: [] });
      for (const reconnecting of [false, true])
        await runWrk(Number(new URL(sluice.proxyUrl).port), { ...KEPT, reconnecting }, WARM_UP_SEC);
    }
    for (let round = 0; round < rounds; round += 1) {
      for (const { sluice, costs } of entries) costs.push(await measureCost(sluice, durationSec));
      for (const connections of CONNECTIONS) {
        for (const { sluice, spreads } of entries)
          spreads.get(connections)?.push(await measureSpread(sluice, connections));
      }
    }
    return entries;
  } finally {
    for (const { sluice } of entries) await sluice.stop();
  }
}

/** The median and the worst of the rounds. */
function spreadText(spreads: readonly Spread[], when: 'opened' | 'loaded'): string {
  const values = spreads.map((spread) => spread[when]);
  return `${median(values).toFixed(2)} (${Math.max(...values).toFixed(2)})`;
}

function costText(costs: readonly Cost[]): string {
  const us = costs.map(({ cpuUs }) => cpuUs);
  const perSec = median(costs.map(({ connectionsPerSec }) => connectionsPerSec));
  return `${median(us).toFixed(0)} (${Math.min(...us).toFixed(0)}–${Math.max(...us).toFixed(0)}) | ${perSec.toFixed(0)}`;
}

function barText(spreads: ReadonlyMap<number, Spread[]>): string {
  const judged = [...spreads].filter(([connections]) => connections >= BAR.fromConnections);
  const holds = (when: 'opened' | 'loaded') =>
    judged.every(([, each]) => each.every((spread) => spread[when] <= BAR.atMostOverMean));
  return holds('opened') ? 'holds' : holds('loaded') ? 'after the load' : 'does not hold';
}

function tableOf(workers: number, entries: readonly Entry[]): string {
  const titles = CONNECTIONS.flatMap((count) => [`${count}, opened`, `${count}, loaded`]);
  const bar = `≤ ${BAR.atMostOverMean} × from ${BAR.fromConnections} on`;
  const head = ['workers', 'accept', ...titles, bar, 'CPU µs per connection', 'connections/s'];
  const rows = entries.map(({ accept, spreads, costs }) =>
    [
      workers,
      `\`${accept}\``,
      ...[...spreads.values()].flatMap((each) => [spreadText(each, 'opened'), spreadText(each, 'loaded')]),
      barText(spreads),
      costText(costs),
    ].join(' | '),
  );
  return [head.join(' | '), head.map(() => '---').join(' | '), ...rows].map((row) => `| ${row} |`).join('\n');
}

function readOptions(): Options {
  const text = { type: 'string' } as const;
  const { values } = parseArgs({ options: { workers: text, rounds: text, 'duration-sec': text } });
  const whole = (given: string | undefined, fallback: number): number => {
    const value = Number(given || fallback);
    if (!Number.isInteger(value) || value < 1 || value > 64)
      throw new Error(`not a number of 1 to 64: ${given}`);
    return value;
  };
  return {
    workers: whole(values.workers, 8),
    rounds: whole(values.rounds, 3),
    durationSec: whole(values['duration-sec'], 1),
  };
}

if (import.meta.main) {
  const options = readOptions();
  if (findProgram('wrk') === null) throw new Error('wrk is not installed: nothing is measured');
  const { cpuModel, cpuCount, kernel, node } = machine();
  console.log(`${cpuCount} × ${cpuModel}, Linux ${kernel}, Node ${node}, load ${loadAverage()}\n`);
  const backends = await startBackends();
  try {
    const entries = await measureAll(options, backends);
    console.log(tableOf(options.workers, entries));
    const failed = entries.flatMap(({ spreads }) => [...spreads.values()].flat().map((each) => each.failed));
    console.log(
      `\n${options.rounds} rounds, the worst in brackets; ${sumOf(failed)} requests failed, load ${loadAverage()}`,
    );
  } finally {
    await backends.stop();
  }
}
