/** Memory of a connection, or of a tunnel, that is kept open without traffic, in fresh servers. */

import { readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { spawnChild } from '../../test/support/child.ts';
import type { Arena, Contestant } from '../rig/arena.ts';
import { compilerMissing } from '../rig/compile.ts';
import { rssBytes } from '../rig/cpu.ts';
import type { ServerProcess } from '../rig/process.ts';
import { startWebSocketEcho } from '../rig/web-socket-echo.ts';
import { runWrk } from '../rig/wrk.ts';
import { inTurns, type Matchup, type Round, type Row } from './matchup.ts';

const CLIENTS = fileURLToPath(new URL('../rig/idle-clients.ts', import.meta.url));
const ROUNDS = 3;
/** Long enough for a garbage collection after the connections were opened. */
const SETTLE_MS = 1_500;
/** Files of a server that are no tunnels. */
const OTHER_FILES = 2_000;

type Kind = 'connection' | 'tunnel';

async function measureIdle(server: ServerProcess, arena: Arena, kind: Kind): Promise<Round> {
  const { warmUpSec } = arena.pace;
  const count = kind === 'tunnel' ? Math.min(arena.pace.crowd, mostTunnels()) : arena.pace.crowd;
  if (warmUpSec > 0) await runWrk(server.port, { path: '/tiny', connections: 64 }, 1);
  const before = rssBytes(server.workerPids());
  const clients = spawnChild(process.execPath, [CLIENTS, String(server.port), String(count), kind]);
  try {
    await clients.waitForLine(`open ${count}`, { timeoutMs: 60_000 });
    await pause(warmUpSec > 0 ? SETTLE_MS : 0);
    const after = rssBytes(server.workerPids());
    return { kibPerConnection: (after - before) / 1024 / count, connections: count, rssMiB: after / 2 ** 20 };
  } finally {
    await clients.kill();
  }
}

/** A tunnel is two open files of its server. */
function mostTunnels(): number {
  const limit = /^Max open files\s+\d+\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1];
  return Math.floor((Number(limit ?? Number.POSITIVE_INFINITY) - OTHER_FILES) / 2);
}

/** A server keeps the memory of earlier connections, so each round has fresh servers. */
async function inFreshServers(arena: Arena, kind: Kind, contestants: readonly Contestant[]): Promise<Row[]> {
  const rows: Row[] = [];
  for (let round = 0; round < Math.min(ROUNDS, arena.pace.rounds); round += 1) {
    const measured = await inTurns(arena, contestants, {
      measure: (server) => measureIdle(server, arena, kind),
      rounds: 1,
    });
    for (const each of contestants) await arena.release(each);
    for (const row of measured) merge(rows, row);
  }
  return rows;
}

function merge(rows: Row[], row: Row): void {
  const known = rows.find((each) => each.label === row.label);
  if (known === undefined) rows.push(row);
  else {
    known.rounds.push(...row.rounds);
    known.problem ||= row.problem;
  }
}

const KEEPING = ['sluice', 'node-http', 'nginx'].map((peer) => ({ peer, options: { workers: 1 } }));
const TUNNELLING = ['sluice', 'nginx', 'http-proxy-3'];

export const idleConnections: Matchup = {
  name: 'idle-connections',
  title: '10,000 idle connections, memory of each',
  load: 'bench/rig/idle-clients.ts: each connection asks GET /tiny once and stays open; workers only',
  contestants: KEEPING,
  run: (arena) => inFreshServers(arena, 'connection', KEEPING),
};

export const idleTunnels: Matchup = {
  name: 'idle-tunnels',
  title: '10,000 idle tunnels, memory of each',
  load: 'bench/rig/idle-clients.ts: each connection opens a WebSocket and stays silent, as many up to 10,000 as a process may open files for; workers only',
  contestants: TUNNELLING.map((peer) => ({ peer })),
  missing: compilerMissing,
  async run(arena) {
    const echo = await startWebSocketEcho();
    try {
      const options = { workers: 1, backendPorts: [echo.port] };
      return await inFreshServers(
        arena,
        'tunnel',
        TUNNELLING.map((peer) => ({ peer, options })),
      );
    } finally {
      await echo.stop();
    }
  },
};
