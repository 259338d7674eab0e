/**
 * `make bench-check`: measures Sluice and nginx alternately and compares their ratio with that of the committed baseline.
 * Exit 1 when Sluice, relative to nginx, needs over 15 % more CPU time than in the baseline. Ratios of different CPUs are
 * not comparable, so it says when the machine is not the baseline's.
 */
import { MATCHUPS } from './matchups/all.ts';
import { FULL_PACE } from './rig/arena.ts';
import { readOptions } from './rig/options.ts';
import { compareRounds, type PeersResult, type Ratio, readBaseline } from './rig/results.ts';
import { runPeers } from './run-peers.ts';

/** Scenarios that load both servers with one kind of request. */
const CHECKED = [
  'tiny',
  'access-log',
  'ten-kib',
  'post',
  'download-1mib',
  'upload-1mib',
  'new-connection',
  'two-workers',
];
const MAX_REGRESSION = 1.15;

export interface Comparison {
  name: string;
  /** Sluice's CPU time per request divided by nginx's. */
  before: number;
  now: Ratio;
  regressed: boolean;
}

/** compare returns one entry for each scenario with figures in both results. */
export function compare(baseline: PeersResult, fresh: PeersResult): Comparison[] {
  return CHECKED.flatMap((name) => {
    const pairs = { matchup: name, ours: 'sluice', theirs: 'nginx' };
    const [before, now] = [compareRounds(baseline, pairs)?.median, compareRounds(fresh, pairs)];
    if (before === undefined || now === null) return [];
    return [{ name, before, now, regressed: now.median > before * MAX_REGRESSION }];
  });
}

function inWords({ name, before, now, regressed }: Comparison): string {
  const change = `${((now.median / before - 1) * 100).toFixed(0)} %`.padStart(6);
  const range = `${now.smallest.toFixed(2)}–${now.largest.toFixed(2)}`;
  const verdict = regressed ? 'WORSE' : 'ok   ';
  return `${verdict} ${name.padEnd(16)} ${before.toFixed(2)} → ${now.median.toFixed(2)} × nginx ${change}  (rounds ${range})`;
}

async function check(): Promise<number> {
  const options = readOptions(CHECKED, FULL_PACE);
  const baseline = readBaseline();
  if (baseline === null) {
    console.error('no bench/results/baseline.json; make one with: make bench-peers BASELINE=yes');
    return 2;
  }
  const chosen = options.names.length === 0 ? CHECKED : options.names;
  const fresh = await runPeers({
    matchups: MATCHUPS.filter(({ name }) => chosen.includes(name)),
    pace: { ...FULL_PACE, rounds: options.rounds, durationSec: options.durationSec },
    only: ['sluice', 'nginx'],
    say: () => undefined,
  });
  if (fresh.machine.cpuModel !== baseline.machine.cpuModel) {
    console.log(`another CPU: ${fresh.machine.cpuModel}, the baseline's is ${baseline.machine.cpuModel}`);
  }
  const comparisons = compare(baseline, fresh);
  for (const each of comparisons) console.log(inWords(each));
  const uncompared = chosen.filter((name) => comparisons.every((each) => each.name !== name));
  for (const name of uncompared) console.error(`no figures to compare: ${name}`);
  return uncompared.length > 0 || comparisons.some(({ regressed }) => regressed) ? 1 : 0;
}

if (import.meta.main) process.exitCode = await check();
