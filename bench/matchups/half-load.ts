/** Latency at half of each balancer's own capacity. Requests leave on schedule and do not wait for answers. */
import type { Arena } from '../rig/arena.ts';
import { compilerMissing } from '../rig/compile.ts';
import { cpuSince, cpuTimes } from '../rig/cpu.ts';
import { checked, OpenLoop } from '../rig/open-loop.ts';
import type { ServerProcess } from '../rig/process.ts';
import { runWrk } from '../rig/wrk.ts';
import { inTurns, type Matchup, type Round } from './matchup.ts';

const CONTESTANTS = ['sluice', 'nginx'].map((peer) => ({ peer }));
const WORK = { path: '/tiny', connections: 64 };
/**
 * A later generator cannot measure a millisecond. On two idle cores its p99 was 0.05 to 0.5 ms, independent of the
 * balancer's p99; beside other programs 2 to 5 ms.
 */
const MAX_LAG_MS = 1;
const TRIES = 4;
/** The rate for tests of the bench itself, low enough for a busy machine. */
const PROOF_RATE_PER_SEC = 300;

/**
 * Half of the requests/s that wrk gets now. It is measured just before each pass, because the speed of a shared machine
 * drifts: half of its speed a minute ago may be most of its speed now.
 */
async function halfCapacityPerSec({ port }: ServerProcess, arena: Arena): Promise<number> {
  if (arena.pace.sharing) return PROOF_RATE_PER_SEC;
  const { requests, durationSec } = await runWrk(port, WORK, arena.pace.durationSec);
  return requests / durationSec / 2;
}

interface Pass {
  arena: Arena;
  openLoop: OpenLoop;
  /** All contestants have the same seeds in their rounds. */
  seed: number;
}

/** Repeats a pass in which the generator was late, up to TRIES times. */
async function measureUndisturbed(server: ServerProcess, pass: Pass): Promise<Round> {
  let lagMs = 0;
  for (let tries = 0; tries < TRIES; tries += 1) {
    const round = await measure(server, pass);
    lagMs = round.generatorLagP99Ms ?? Number.NaN;
    if (pass.arena.pace.sharing || lagMs <= MAX_LAG_MS) return round;
  }
  throw new Error(
    `the load generator was late in ${TRIES} passes, by ${lagMs.toFixed(2)} ms in the last: the machine is too busy`,
  );
}

async function measure(server: ServerProcess, { arena, openLoop, seed }: Pass): Promise<Round> {
  const ratePerSec = await halfCapacityPerSec(server, arena);
  const work = { path: WORK.path, ratePerSec, durationSec: arena.pace.durationSec, seed };
  const before = cpuTimes(server.pids());
  const through = checked(
    await openLoop.run({ ...work, port: server.port, durationSec: work.durationSec * 2 }),
  );
  const cpu = cpuSince(before, cpuTimes(server.pids()));
  const direct = checked(await openLoop.run({ ...work, port: arena.backends.ports[0]! }));
  return {
    ratePerSec,
    p50Ms: through.p50Ms,
    p99Ms: through.p99Ms,
    p999Ms: through.p999Ms,
    directP99Ms: direct.p99Ms,
    addedP99Ms: through.p99Ms - direct.p99Ms,
    generatorLagP99Ms: through.lagP99Ms,
    generatorCpuShare: through.cpuShare,
    balancerCpuShare: cpu.totalUs / (work.durationSec * 2 * 1e6),
  };
}

export const halfLoad: Matchup = {
  name: 'half-load',
  title: 'Latency at half capacity, Poisson arrivals',
  load: 'bench/rig/open-loop.c at half of the requests/s that wrk got just before, 256 connections, GET /tiny; compared with the backend itself at that rate',
  contestants: CONTESTANTS,
  missing: compilerMissing,
  async run(arena) {
    const contestants = CONTESTANTS.filter((each) => arena.takesPart(each));
    const openLoop = OpenLoop.build();
    const passes = new Map<string, number>();
    try {
      return await inTurns(arena, contestants, {
        warmUp: (server) => arena.warmUp(server, WORK),
        measure: (server) => {
          const seed = (passes.get(server.name) ?? 0) + 1;
          passes.set(server.name, seed);
          return measureUndisturbed(server, { arena, openLoop, seed });
        },
      });
    } finally {
      openLoop.close();
    }
  },
};
