/** Latency at half of each balancer's own capacity, with arrivals that do not wait for answers. */
import { fileURLToPath } from 'node:url';
import { runToEnd } from '../../test/support/child.ts';
import type { Arena } from '../rig/arena.ts';
import type { ServerProcess } from '../rig/process.ts';
import { runWrk } from '../rig/wrk.ts';
import { inTurns, type Matchup, type Round } from './matchup.ts';

const GENERATOR = fileURLToPath(new URL('../rig/open-loop.ts', import.meta.url));
const PEERS = ['sluice', 'nginx'];
/** Each is three passes long. */
const ROUNDS = 3;
/** A proof that it works asks for no speed, which a busy machine may not have. */
const PROOF_RATE_PER_SEC = 300;

interface Latencies {
  requests: number;
  failed: number;
  p50Ms: number;
  p99Ms: number;
  p999Ms: number;
  lagP99Ms: number;
}

async function openLoop(port: number, ratePerSec: number, durationSec: number): Promise<Latencies> {
  const args = [GENERATOR, String(port), '/tiny', ratePerSec.toFixed(0), String(durationSec)];
  const { code, stdout, stderr } = await runToEnd(process.execPath, args, {
    timeoutMs: (durationSec + 15) * 1_000,
    env: { NODE_TEST_CONTEXT: undefined },
  });
  const line = stdout.find((text) => text.startsWith('{'));
  if (code !== 0 || line === undefined) throw new Error(`open-loop failed (${code}): ${stderr.join('\n')}`);
  const figures = JSON.parse(line) as Latencies;
  if (figures.failed > figures.requests * 0.01) throw new Error(`${figures.failed} requests failed`);
  return figures;
}

async function capacityPerSec(server: ServerProcess, arena: Arena): Promise<number> {
  const { requests, durationSec } = await runWrk(
    server.port,
    { path: '/tiny', connections: 64 },
    arena.pace.durationSec,
  );
  return requests / durationSec;
}

export const halfLoad: Matchup = {
  name: 'half-load',
  title: 'Latency at half capacity, Poisson arrivals',
  load: 'bench/rig/open-loop.ts at half of the requests/s that wrk got, GET /tiny; beside the backend itself at that rate',
  contestants: PEERS.map((peer) => ({ peer })),
  async run(arena) {
    const capacities = new Map<string, number>();
    const capacityOf = async (server: ServerProcess) => {
      const known = capacities.get(server.name) ?? (await capacityPerSec(server, arena));
      capacities.set(server.name, known);
      return known;
    };
    const measure = async (server: ServerProcess): Promise<Round> => {
      const half = (await capacityOf(server)) / 2;
      const ratePerSec = arena.pace.sharing ? Math.min(half, PROOF_RATE_PER_SEC) : half;
      const through = await openLoop(server.port, ratePerSec, arena.pace.durationSec * 2);
      const direct = await openLoop(arena.backends.ports[0]!, ratePerSec, arena.pace.durationSec);
      return {
        ratePerSec,
        p50Ms: through.p50Ms,
        p99Ms: through.p99Ms,
        p999Ms: through.p999Ms,
        directP99Ms: direct.p99Ms,
        addedP99Ms: through.p99Ms - direct.p99Ms,
        generatorLagP99Ms: through.lagP99Ms,
      };
    };
    const warmUp = async (server: ServerProcess) => {
      await arena.warmUp(server, { path: '/tiny', connections: 64 });
      await capacityOf(server);
    };
    return inTurns(
      arena,
      PEERS.map((peer) => ({ peer })),
      { measure, warmUp, rounds: Math.min(ROUNDS, arena.pace.rounds) },
    );
  },
};
