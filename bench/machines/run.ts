/**
 * `make bench-machines`: some machines (loopback addresses of this one, one worker each) on one Redis Cluster of three nodes and
 * one PostgreSQL server. At each size: whether limits are exact over all machines, when a change acts on all, and what the
 * machines cost the stores; at the end one is killed. Then it extrapolates. docs/scaling.md keeps the figures of a release.
 *
 *   node bench/machines/run.ts [--sizes=1,3,6] [--duration-sec=6]
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { startProgress } from '../../src/cli/progress.ts';
import { Machines } from '../../test/support/machines.ts';
import { startBackends } from '../rig/backend.ts';
import { loadAverage, machine, revision } from '../rig/record.ts';
import { figuresOf, n, type SizeResult, tellFleets, tellSizes } from './report.ts';
import { admittedOf, busyCalls, bytesPerBucket, changeMs, killOne, type Lab, measure } from './steps.ts';
import { StoreMeter } from './stores.ts';
import { BURST, BUSY, CAPACITY, CHANGES, configOf, ONE_PER_SEC, RARE } from './workload.ts';

const MOST_MACHINES = 20;
/** Of measureSize. */
const STEPS = 6;
/** PostgreSQL's sessions report transactions up to 10 s late, and a machine keeps a connection for 30 s after its use. */
const SETTLED_AFTER_MS = 40_000;
const BUCKETS = [20_000, 100_000, 500_000];

async function measureSize(lab: Lab, size: number, begin: (name: string) => void): Promise<SizeResult> {
  const at = (what: string) => begin(`${size} machines, ${what}`);
  at('start');
  await lab.machines.grow(size);
  const admitted = await admittedOf(lab, BURST, `198.51.100.${size}`);
  at('changes');
  const changesMs = await changeMs(lab, CHANGES);
  const settledMs = performance.now() + SETTLED_AFTER_MS;
  at('rare callers');
  const rare = await measure(lab, RARE);
  at('busy callers');
  const busy = await measure(lab, BUSY);
  at('one caller');
  const one = await measure(lab, { path: '/tiny/one', ratePerSec: ONE_PER_SEC / size, callers: 1 });
  at('at rest');
  await sleep(Math.max(0, settledMs - performance.now()));
  const holdings = await lab.meter.holdings();
  const rest = await measure(lab, null);
  return { size, admitted, changesMs, ...holdings, rest, rare, busy, one };
}

interface Options {
  sizes: number[];
  durationSec: number;
}

function readOptions(): Options {
  const { values } = parseArgs({
    options: { sizes: { type: 'string', default: '' }, 'duration-sec': { type: 'string', default: '' } },
  });
  const sizes = (values.sizes || '1,3,6').split(',').map(Number);
  const durationSec = Number(values['duration-sec'] || 6);
  const areSizes = sizes.every((size) => Number.isInteger(size) && size >= 1 && size <= MOST_MACHINES);
  // The last machine is killed, and others must be left.
  if (!areSizes || !sizes.some((size) => size > 1) || !(durationSec >= 1 && durationSec <= 60)) {
    console.error(
      `--sizes must be whole numbers from 1 to ${MOST_MACHINES}, one of them above 1; --duration-sec 1 to 60`,
    );
    process.exit(2);
  }
  return { sizes: sizes.toSorted((a, b) => a - b), durationSec };
}

async function measureAll(lab: Lab, sizes: number[], begin: (step: string) => void): Promise<void> {
  begin('stores alone');
  const { redisCpuUs: ownUs } = await measure(lab, null);
  const results: SizeResult[] = [];
  for (const size of sizes) results.push(await measureSize(lab, size, begin));
  begin('a machine is killed');
  const { good, failed, droppedMs, dividedMs } = await killOne(lab, RARE);
  begin('buckets');
  await Promise.all(lab.machines.instances.map((instance) => instance.stop()));
  const bytes: number[] = [];
  for (const count of BUCKETS) bytes.push(await bytesPerBucket(lab, count));
  const { callUs, perSec } = await busyCalls(lab);

  for (const line of tellSizes(results)) console.log(line);
  console.log(
    `\none of ${sizes.at(-1)} machines killed: the others answered ${n(good)} requests, ${failed} failed; it is dropped from the list after ${n(droppedMs)} ms, and no longer counts after ${n(dividedMs)}`,
  );
  const told = BUCKETS.map((count, i) => `${n(bytes[i]!)} with ${n(count)}`);
  console.log(`bytes of Redis for a bucket: ${told.join(', ')}`);
  console.log(`CPU of Redis: ${n(callUs, 1)} µs for a call where a node has ${n(perSec)} a second`);
  console.log(`CPU of Redis for itself: ${n(ownUs / 1_000, 1)} ms a second, all nodes\n`);
  const figures = figuresOf(results, { callUs, bucketBytes: bytes.at(-1)!, ownUs });
  console.log(JSON.stringify(figures));
  for (const line of tellFleets(figures)) console.log(line);
  if (failed > 0 || results.some(({ admitted }) => admitted !== CAPACITY)) process.exitCode = 1;
}

async function main({ sizes, durationSec }: Options): Promise<void> {
  const { cpuModel, cpuCount, node, kernel } = machine();
  console.log(
    `${cpuCount} × ${cpuModel}, load ${loadAverage()}, Linux ${kernel}, Node ${node}, ${JSON.stringify(revision())}`,
  );
  const backends = await startBackends();
  const progress = startProgress(sizes.length * STEPS + 3);
  try {
    const machines = await Machines.start(configOf(backends.ports));
    const meter = await StoreMeter.open(machines);
    try {
      await measureAll({ machines, meter, durationSec }, sizes, progress.begin);
    } finally {
      await meter.close();
      await machines.stop();
    }
  } finally {
    progress.stop();
    await backends.stop();
  }
}

await main(readOptions());
