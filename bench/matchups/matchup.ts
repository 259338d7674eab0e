/** A scenario of `make bench-peers`: several balancers do the same work in turn, and the cost of each is measured. */

import { peerNamed } from '../peers/registry.ts';
import type { Arena, Contestant } from '../rig/arena.ts';
import { cpuSince, cpuTimes, rssBytes } from '../rig/cpu.ts';
import { type LoadCounts, type LoadFigures, problemOf, type Work } from '../rig/load.ts';
import type { ServerProcess } from '../rig/process.ts';
import { loadInWords, loadMissing, runLoad } from '../rig/run-load.ts';

/** The figures of one pass, by names that contain the unit. */
export type Round = Record<string, number>;

export interface Row {
  label: string;
  peer: string;
  rounds: Round[];
  /** Why there is no figure; '' if there is one. */
  problem: string;
}

export interface Matchup {
  readonly name: string;
  /** The heading of the table. */
  readonly title: string;
  /** What the load generator does, for the report. */
  readonly load: string;
  readonly contestants: readonly Contestant[];
  /** missing says what the machine lacks for the load or the backend; '' (or no such method) for nothing. */
  missing?(): string;
  run(arena: Arena): Promise<Row[]>;
}

export type Measure = (server: ServerProcess, arena: Arena, contestant: Contestant) => Promise<Round>;

export type WarmUp = (server: ServerProcess) => Promise<void>;

/** labelOf is the name of a contestant in tables. */
export function labelOf({ label, peer }: Contestant): string {
  return label ?? peer;
}

/**
 * inTurns starts every installed contestant, warms it up, and measures in the order A B C C B A …, so that no contestant
 * always follows the same one. A contestant that is missing or fails gets a row with the reason.
 */
export async function inTurns(
  arena: Arena,
  contestants: readonly Contestant[],
  { measure, warmUp, rounds = arena.pace.rounds }: { measure: Measure; warmUp?: WarmUp; rounds?: number },
): Promise<Row[]> {
  const rows: Row[] = [];
  const running: { row: Row; contestant: Contestant; server: ServerProcess }[] = [];
  for (const contestant of contestants.filter((each) => arena.takesPart(each))) {
    const row: Row = { label: labelOf(contestant), peer: contestant.peer, rounds: [], problem: '' };
    rows.push(row);
    row.problem = peerNamed(contestant.peer).missing();
    if (row.problem !== '') continue;
    await attempt(row, async () => {
      const server = await arena.serverOf(contestant);
      if (arena.pace.warmUpSec > 0) await warmUp?.(server);
      running.push({ row, contestant, server });
    });
  }
  for (let round = 0; round < rounds; round += 1) {
    for (const { row, contestant, server } of round % 2 === 0 ? running : running.toReversed()) {
      if (row.problem !== '') continue;
      const once = async () => {
        row.rounds.push(await measure(server, arena, contestant));
      };
      // One retry, because a shared machine sometimes stalls.
      await attempt(row, () => once().catch(once));
    }
  }
  return rows;
}

async function attempt(row: Row, action: () => Promise<void>): Promise<void> {
  try {
    await action();
  } catch (error) {
    row.problem = (error as Error).message.slice(0, 500);
    row.rounds = [];
  }
}

/** measureLoad is one pass of load by the generator that fits the work. */
export function measureLoad(server: ServerProcess, arena: Arena, work: Work): Promise<Round> {
  return measureCost(server, () => runLoad(server.port, work, arena.pace.durationSec));
}

/** measureCost is one pass of any load: CPU per request, throughput, latency, memory. It throws when too many requests failed. */
export async function measureCost(
  server: ServerProcess,
  load: () => Promise<LoadCounts & Partial<LoadFigures>>,
): Promise<Round> {
  const pids = server.pids();
  const before = cpuTimes(pids);
  const figures = await load();
  const cpu = cpuSince(before, cpuTimes(pids));
  const problem = problemOf(figures);
  if (problem !== '') throw new Error(problem);
  const { requests, durationSec, errors, timeouts, badStatus, p50Ms, p99Ms, p999Ms } = figures;
  return {
    cpuUs: cpu.totalUs / requests,
    userUs: cpu.userUs / requests,
    systemUs: cpu.systemUs / requests,
    requestsPerSec: requests / durationSec,
    ...(p50Ms === undefined ? {} : { p50Ms, p99Ms, p999Ms }),
    errors: errors + timeouts + badStatus,
    rssMiB: rssBytes(pids) / 2 ** 20,
    workerRssMiB: rssBytes(server.workerPids()) / 2 ** 20,
  };
}

export interface LoadMatchup {
  name: string;
  title: string;
  work: Work;
  contestants: readonly Contestant[];
}

/** loadMatchup makes a scenario of one kind of request under wrk. */
export function loadMatchup({ name, title, work, contestants }: LoadMatchup): Matchup {
  return {
    name,
    title,
    load: loadInWords(work),
    contestants,
    missing: () => loadMissing(work),
    async run(arena) {
      const rows = await inTurns(arena, contestants, {
        warmUp: (server) => arena.warmUp(server, work),
        measure: (server) => measureLoad(server, arena, work),
      });
      for (const each of contestants) if (each.options !== undefined) await arena.release(each);
      return rows;
    },
  };
}
