/** Memory of a connection that is kept open without requests, in fresh servers. */

import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { spawnChild } from '../../test/support/child.ts';
import type { Arena, Contestant } from '../rig/arena.ts';
import { rssBytes } from '../rig/cpu.ts';
import type { ServerProcess } from '../rig/process.ts';
import { runWrk } from '../rig/wrk.ts';
import { inTurns, type Matchup, type Round, type Row } from './matchup.ts';

const CLIENTS = fileURLToPath(new URL('../rig/idle-clients.ts', import.meta.url));
const PEERS = ['sluice', 'node-http', 'nginx'];
const ROUNDS = 3;
/** Long enough for a garbage collection after the connections were opened. */
const SETTLE_MS = 1_500;

async function measureIdle(server: ServerProcess, arena: Arena): Promise<Round> {
  const { crowd, warmUpSec } = arena.pace;
  if (warmUpSec > 0) await runWrk(server.port, { path: '/tiny', connections: 64 }, 1);
  const before = rssBytes(server.workerPids());
  const clients = spawnChild(process.execPath, [CLIENTS, String(server.port), String(crowd)]);
  try {
    await clients.waitForLine(`open ${crowd}`, { timeoutMs: 30_000 });
    await pause(warmUpSec > 0 ? SETTLE_MS : 0);
    const after = rssBytes(server.workerPids());
    return { kibPerConnection: (after - before) / 1024 / crowd, connections: crowd, rssMiB: after / 2 ** 20 };
  } finally {
    await clients.kill();
  }
}

export const idleConnections: Matchup = {
  name: 'idle-connections',
  title: '10,000 idle connections, memory of each',
  load: 'bench/rig/idle-clients.ts: each connection asks GET /tiny once and stays open; workers only',
  contestants: PEERS.map((peer) => ({ peer })),
  async run(arena) {
    const rows: Row[] = [];
    for (let round = 0; round < Math.min(ROUNDS, arena.pace.rounds); round += 1) {
      // A server keeps the memory of earlier connections, so each round has fresh servers.
      const fresh: Contestant[] = PEERS.map((peer) => ({ peer, options: { workers: 1 } }));
      const measured = await inTurns(arena, fresh, { measure: measureIdle, rounds: 1 });
      for (const each of fresh) await arena.release(each);
      for (const row of measured) merge(rows, row);
    }
    return rows;
  },
};

function merge(rows: Row[], row: Row): void {
  const known = rows.find((each) => each.label === row.label);
  if (known === undefined) rows.push(row);
  else {
    known.rounds.push(...row.rounds);
    known.problem ||= row.problem;
  }
}
