/**
 * The long run of the limiter's simulation: `make simulate`. Random scenarios, checked after every event, and the share of
 * requests that coalescing and leases refuse although an ideal bucket would not. Exit 1 on any failure.
 *
 * SIM_SEED   run only the scenario of this seed SIM_COUNT  scenarios (default 5000) SIM_SEC    time limit (default: none)
 */
import { startProgress } from '../../../src/cli/progress.ts';
import { Random } from '../../fuzz/random.ts';
import { type Summary, simulateMany, simulateOne } from './campaign.ts';
import { runTrace } from './run-trace.ts';
import type { Worst } from './timeline.ts';
import { onAndOff, overload, steady, steadyAndBursts } from './traces.ts';

const PROGRESS_EVERY = 500;
const TRACE_SEED = 7;

const { env } = process;
const failures = env.SIM_SEED === undefined ? await runAll() : await runOne(Number(env.SIM_SEED));
process.exitCode = failures === 0 ? 0 : 1;

async function runOne(seed: number): Promise<number> {
  const summary = await simulateOne(seed);
  print(summary);
  return summary.failures.length;
}

async function runAll(): Promise<number> {
  const seed = Date.now() & 0x7fffffff;
  const count = Number(env.SIM_COUNT ?? 5_000);
  const sec = Number(env.SIM_SEC ?? Number.POSITIVE_INFINITY);
  console.log(`${count} scenarios, seed ${seed}`);
  const progress = startProgress(count);
  const onProgress = ({ scenarios, failures: found }: Summary) => {
    const text = `${scenarios} played, ${found.length} failed`;
    if (scenarios % PROGRESS_EVERY === 0) progress.say(text);
    progress.begin(text);
  };
  const summary = await simulateMany({ seed, count, sec, onProgress }).finally(progress.stop);
  print(summary);
  return summary.failures.length + (await compareWithIdeal());
}

function print({ bySource, faults, worstWithin, worst, failures: found, ...counts }: Summary): void {
  const listed = (map: Map<string, number>) =>
    [...map]
      .sort((a, b) => b[1] - a[1])
      .map(([name, times]) => `${times} ${name}`)
      .join(', ');
  console.log(
    `${counts.scenarios} scenarios (${counts.withinDomain} in the domain, ${counts.withLeases} with leases)`,
  );
  console.log(
    `${counts.requests} requests, ${counts.admitted} admitted, ${counts.executions} takes at the store`,
  );
  console.log(`decisions: ${listed(bySource)}`);
  console.log(`faults: ${listed(faults)}`);
  console.log(`worst excess in the domain: ${shown(worstWithin)}`);
  console.log(`worst excess beside the price of faults: ${shown(worst)}`);
  for (const failure of found) console.log(failure);
}

function shown({ onAdmission, partOfBound, onGrant }: Worst): string {
  return (
    `${onAdmission.toFixed(2)} tokens on admission, ${partOfBound.toFixed(2)} × (1 + rate × delay); ` +
    `${onGrant.toFixed(3)} tokens by the store's clock`
  );
}

async function compareWithIdeal(): Promise<number> {
  const sizes = [
    { capacity: 20_000, refillPerSecond: 20_000, workers: 4 },
    { capacity: 5_000, refillPerSecond: 20_000, workers: 4 },
    { capacity: 2_000, refillPerSecond: 5_000, workers: 2 },
    { capacity: 200, refillPerSecond: 1_000, workers: 8 },
    { capacity: 5, refillPerSecond: 5, workers: 8 },
  ];
  let wrong = 0;
  for (const { workers, ...size } of sizes) {
    const rate = size.refillPerSecond;
    const random = new Random(TRACE_SEED);
    const traces = [
      steady(random, rate, 3_000),
      steadyAndBursts(random, rate, 3),
      onAndOff(random, rate, 6_000),
      overload(random, rate, 2_000),
    ];
    console.log(`\ncapacity ${size.capacity}, rate ${rate}/s, ${workers} workers`);
    for (const trace of traces) {
      for (const leases of [false, true]) {
        const report = await runTrace(trace, { size, workers, leases, seed: TRACE_SEED });
        wrong += report.complaints.length + (report.missing > (leases ? 0.05 : 0.02) ? 1 : 0);
        for (const text of report.complaints.slice(0, 3)) console.log(text);
        console.log(
          `  ${trace.name.padEnd(30)} ${leases ? 'leases   ' : 'coalesced'} admitted ${report.admitted} of ${report.ideal} ` +
            `(${(-100 * report.missing).toFixed(2)} %), over by ${report.excess.toFixed(2)}, ` +
            `calls per admitted ${report.callsPerAdmitted.toFixed(3)}, without a question ${(100 * report.leased).toFixed(0)} %, ` +
            `mean wait ${(1_000 * report.meanWaitMs).toFixed(0)} µs`,
        );
      }
    }
  }
  return wrong;
}
