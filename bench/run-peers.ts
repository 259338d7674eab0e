/**
 * `make bench-peers`: gives Sluice and other balancers the same work, in turn (A B C C B A …). wrk is the load generator; the CPU
 * time per request comes from /proc. Results go to bench/results, and it prints what cannot run. Exit 1 when Sluice has no
 * figure although the tools for it are installed.
 *
 *   node bench/run-peers.ts [tiny download-1mib …] [--rounds=5] [--duration-sec=1] [--baseline]
 *
 * The peer sluice-before is the version in .tmp/before; `make bench-peers BEFORE=COMMIT` puts it there.
 */
import { startProgress } from '../src/cli/progress.ts';
import { MATCHUPS } from './matchups/all.ts';
import { labelOf, type Matchup, type Row } from './matchups/matchup.ts';
import { PEERS } from './peers/registry.ts';
import { Arena, FULL_PACE, type Pace } from './rig/arena.ts';
import { readOptions } from './rig/options.ts';
import { loadAverage } from './rig/record.ts';
import { header, type MatchupResult, type PeersResult, writeResult } from './rig/results.ts';
import { median, spreadPercent } from './rig/stats.ts';
import { findProgram, versionOf } from './rig/tools.ts';

/** Load generators, and the option that prints the version. */
const GENERATORS = [
  ['wrk', '-v'],
  ['h2load', '--version'],
  ['openssl', 'version'],
] as const;

export interface PeersRun {
  matchups: readonly Matchup[];
  pace: Pace;
  /** Names of the peers to run; null: all. */
  only: readonly string[] | null;
  say: (line: string) => void;
  /** Called as each matchup begins. */
  onBegin?: (name: string) => void;
  /** An open arena, which the caller closes; default: runPeers opens and closes one. */
  arena?: Arena;
}

/** runPeers measures and returns the result. It writes no file. */
export async function runPeers({
  matchups,
  pace,
  only,
  say,
  onBegin,
  arena: given,
}: PeersRun): Promise<PeersResult> {
  const begin = header();
  const before = loadAverage();
  const absent = absentParts();
  for (const [name, why] of Object.entries(absent)) say(`absent: ${name}: ${why}`);
  const arena = given ?? (await Arena.open(pace, only));
  const results: MatchupResult[] = [];
  try {
    for (const matchup of absent.wrk === undefined ? matchups : []) {
      const { name, title, load } = matchup;
      onBegin?.(name);
      say(`\n${name}: ${title}`);
      const rows =
        absent[name] === undefined
          ? await matchup.run(arena)
          : rowsWithout(matchup, { arena, why: absent[name] });
      for (const row of rows) say(`  ${row.label.padEnd(22)} ${inWords(row)}`);
      results.push({ name, title, load, rows });
    }
  } finally {
    if (given === undefined) await arena.close();
  }
  return {
    kind: 'peers',
    ...begin,
    complete: results.length === MATCHUPS.length && only === null,
    loadAverage: { before, after: loadAverage() },
    rounds: pace.rounds,
    durationSec: pace.durationSec,
    backends: arena.backends.kind,
    versions: versions(),
    absent,
    commands: arena.commands,
    matchups: results,
  };
}

function rowsWithout({ contestants }: Matchup, { arena, why }: { arena: Arena; why: string }): Row[] {
  return contestants
    .filter((each) => arena.takesPart(each))
    .map((each) => ({ label: labelOf(each), peer: each.peer, rounds: [], problem: why }));
}

/** absentParts returns what this machine lacks, and the scenarios that cannot run because of that, each with the reason. */
export function absentParts(): Record<string, string> {
  const parts = [...PEERS, ...MATCHUPS].map((part) => [part.name, part.missing?.() ?? ''] as const);
  const missing = parts.filter(([, why]) => why !== '');
  const wrk =
    findProgram('wrk') === null ? [['wrk', 'wrk is not installed: nothing is measured'] as const] : [];
  return Object.fromEntries([...wrk, ...missing]);
}

function versions(): Record<string, string> {
  const present = PEERS.filter((peer) => peer.missing() === '');
  const loads = GENERATORS.filter(([name]) => findProgram(name) !== null);
  return Object.fromEntries([
    ...present.map((peer) => [peer.name, peer.version()]),
    ...loads.map(([name, option]) => [name, versionOf(name, [option])]),
  ]);
}

function inWords({ rounds, problem }: Row): string {
  if (problem !== '') return `no figure: ${problem.split('\n')[0]}`;
  return Object.keys(rounds[0] ?? {})
    .map((metric) => {
      const values = rounds.map((round) => round[metric] ?? Number.NaN);
      const spread = metric === 'cpuUs' ? ` (±${(spreadPercent(values) / 2).toFixed(0)} %)` : '';
      return `${metric} ${shortNumber(median(values))}${spread}`;
    })
    .join(' · ');
}

function shortNumber(value: number): string {
  return Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(2);
}

if (import.meta.main) {
  const options = readOptions(
    MATCHUPS.map(({ name }) => name),
    FULL_PACE,
  );
  const matchups = MATCHUPS.filter(({ name }) => options.names.length === 0 || options.names.includes(name));
  const pace = { ...FULL_PACE, rounds: options.rounds, durationSec: options.durationSec };
  const progress = startProgress(matchups.length);
  const told = { say: progress.say, onBegin: progress.begin };
  const result = await runPeers({ matchups, pace, only: null, ...told }).finally(progress.stop);
  console.log(`\n${writeResult(result, { asBaseline: options.baseline })}`);
  const { absent } = result;
  const failed = result.matchups.filter(({ name, rows }) =>
    rows.some(({ peer, problem }) => peer === 'sluice' && problem !== '' && problem !== absent[name]),
  );
  for (const { name } of failed) console.error(`sluice has no figure in ${name}`);
  if (failed.length > 0 || result.matchups.length === 0) process.exitCode = 1;
}
