/** The tables of `make bench-machines`. */
import { tableOf } from '../rig/pages.ts';
import { median } from '../rig/stats.ts';
import { ANNOUNCEMENTS_PER_SEC, type CostFigures, costOf, type Fleet, type FleetCost } from './model.ts';
import type { StepCost } from './steps.ts';
import { type Holdings, sumOf } from './stores.ts';
import { BURST, BUSY, CAPACITY, CHANGES, ONE_PER_SEC } from './workload.ts';

/** For which docs/scaling.md shows the costs. */
const MACHINES = [1, 3, 10, 30, 100];

/** SizeResult is what was measured with a number of machines. */
export interface SizeResult extends Holdings {
  size: number;
  /** Requests of the burst that passed. */
  admitted: number;
  /** Sorted. */
  changesMs: number[];
  rest: StepCost;
  rare: StepCost;
  busy: StepCost;
  one: StepCost;
}

/** n writes a number for people. */
export const n = (value: number, digits = 0): string =>
  value.toLocaleString('en', { maximumFractionDigits: digits });

const callsOf = ({ nodeCalls }: StepCost): number => sumOf(nodeCalls);
/** CPU of Redis for one call, without what it needs at rest. */
const callUsOf = ({ rest, rare }: SizeResult): number =>
  (rare.redisCpuUs - rest.redisCpuUs) / (callsOf(rare) - callsOf(rest));

/** A node with more than this times its calls at rest has requests. */
const BUSY_FROM = 2;

/** takesOf is the calls for requests, per second. Workers probe no node that they call, so there only the announcements go off. */
export function takesOf({ nodeCalls }: StepCost, rest: StepCost): number {
  const probes = Math.min(...rest.nodeCalls);
  const takes = nodeCalls.map((calls, node) => {
    const restCalls = rest.nodeCalls[node]!;
    return calls > BUSY_FROM * restCalls ? calls - (restCalls - probes) : 0;
  });
  return sumOf(takes);
}

const perRequestOf = (step: StepCost, rest: StepCost): number => takesOf(step, rest) / step.requests;
/** A machine of the bench has one worker. */
const probesOf = ({ rest, size }: SizeResult): number =>
  (callsOf(rest) / size - ANNOUNCEMENTS_PER_SEC) / rest.nodeCalls.length;
const leaseCallsOf = ({ busy, rest, size }: SizeResult): number => takesOf(busy, rest) / BUSY.callers / size;

/** tellSizes makes the table of what was measured. */
export function tellSizes(results: SizeResult[]): string[] {
  const rows: [string, (result: SizeResult) => string][] = [
    [`admitted of ${n(BURST)} requests at once, limit ${CAPACITY}`, ({ admitted }) => n(admitted)],
    [
      `a change acts on all after, median and longest of ${CHANGES}, ms`,
      ({ changesMs }) => `${n(median(changesMs))}, ${n(changesMs.at(-1)!)}`,
    ],
    ['connections to Redis, all nodes', ({ redisConnections }) => n(redisConnections)],
    ['connections to PostgreSQL, at rest', ({ databaseConnections }) => n(databaseConnections)],
    ['**at rest**, per second: script calls', ({ rest }) => n(callsOf(rest), 1)],
    [
      'new connections to Redis, reads of the map',
      ({ rest }) => `${n(rest.opened, 1)}, ${n(rest.mapReads, 1)}`,
    ],
    ['CPU of Redis, ms', ({ rest }) => n(rest.redisCpuUs / 1_000, 2)],
    [
      'transactions of PostgreSQL; CPU, ms',
      ({ rest }) => `${n(rest.transactions, 1)}; ${n(rest.databaseCpuUs / 1_000, 1)}`,
    ],
    ['**rare callers**: requests/s', ({ rare }) => n(rare.requests)],
    ['script calls for 1,000 requests', ({ rest, rare }) => n(perRequestOf(rare, rest) * 1_000)],
    ['CPU of Redis for a call, µs', (result) => n(callUsOf(result), 1)],
    [`**${BUSY.callers} busy callers**: requests/s`, ({ busy }) => n(busy.requests)],
    ['script calls for 1,000 requests', ({ rest, busy }) => n(perRequestOf(busy, rest) * 1_000)],
    ['script calls a second, for each caller and worker', (result) => n(leaseCallsOf(result), 1)],
    [`**one caller**, ${ONE_PER_SEC}/s in all: for each worker`, ({ one, size }) => n(one.requests / size)],
    ['script calls for 1,000 requests', ({ rest, one }) => n(perRequestOf(one, rest) * 1_000)],
    ['failed requests of all loads', ({ rare, busy, one }) => n(rare.failed + busy.failed + one.failed)],
  ];
  return tableOf(
    ['', ...results.map(({ size }) => `${size}`)],
    rows.map(([title, tell]) => [title, ...results.map(tell)]),
  );
}

interface OtherFigures extends Pick<CostFigures, 'callUs' | 'bucketBytes'> {
  /** CPU of all nodes of Redis for themselves, µs per second. */
  ownUs: number;
}

/** figuresOf takes medians over the sizes, and what grows with the machines from the largest; three digits of each. */
export function figuresOf(results: SizeResult[], { ownUs, ...others }: OtherFigures): CostFigures {
  const of = (figure: (result: SizeResult) => number): number => median(results.map(figure));
  const largest = results.at(-1)!;
  const idleCallUs = of(callUsOf);
  const figures: CostFigures = {
    ...others,
    idleCallUs,
    callsPerRequest: of(({ rare, rest }) => perRequestOf(rare, rest)),
    callsPerLease: of(leaseCallsOf),
    probesPerSec: of(probesOf),
    // A machine of the bench has two processes.
    restUs: (largest.rest.redisCpuUs - ownUs - callsOf(largest.rest) * idleCallUs) / largest.size / 2,
    databaseConnections: of(({ databaseConnections, size }) => databaseConnections / size),
    databaseUs: of(({ rest, size }) => rest.databaseCpuUs / size),
  };
  const rounded = Object.entries(figures).map(([name, value]) => [name, Number(value.toPrecision(3))]);
  return Object.fromEntries(rounded) as CostFigures;
}

/**
 * Machines of 8 workers with 5,000 limited requests a second each: half of them from callers that send little, half from two for each
 * machine that send 1,250 a second.
 */
function fleetOf(machines: number, machinesOfCaller: number): Fleet {
  return {
    ...{ machines, machinesOfCaller, workers: 8, rarePerSec: 2_500 * machines },
    ...{ busyCallers: 2 * machines, busyPerSec: 1_250, buckets: 20_000 * machines },
  };
}

/** tellFleets makes the table of what more machines would cost. */
export function tellFleets(figures: CostFigures): string[] {
  const spread = MACHINES.map((machines) => costOf(figures, fleetOf(machines, machines)));
  const kept = MACHINES.map((machines) => costOf(figures, fleetOf(machines, 1)));
  const rows: [string, FleetCost[], (cost: FleetCost) => string][] = [
    ['workers that share the store', spread, ({ workers }) => n(workers)],
    ['script calls a second', spread, ({ callsPerSec }) => n(callsPerSec)],
    ['… where each caller stays on one machine', kept, ({ callsPerSec }) => n(callsPerSec)],
    ['cores of Redis', spread, ({ redisCores }) => n(redisCores, 1)],
    ['… where each caller stays on one machine', kept, ({ redisCores }) => n(redisCores, 1)],
    ['nodes that are half busy', spread, ({ nodes }) => n(nodes)],
    ['without requests: script calls a second', spread, ({ restCallsPerSec }) => n(restCallsPerSec)],
    ['… cores of Redis', spread, ({ restCores }) => n(restCores, 2)],
    ['connections to each node', spread, ({ connectionsPerNode }) => n(connectionsPerNode)],
    ['memory of buckets, MiB', spread, ({ bucketMiB }) => n(bucketMiB)],
    ['connections to PostgreSQL, at rest', spread, ({ databaseConnections }) => n(databaseConnections)],
    ['cores of PostgreSQL', spread, ({ databaseCores }) => n(databaseCores, 2)],
  ];
  const cells = rows.map(([title, costs, tell]) => [title, ...costs.map(tell)]);
  return tableOf(['machines', ...MACHINES.map(String)], cells);
}
