/** Memory of long downloads to slow or stopped readers, and of long uploads to slow or stopped backends. */
import { connect, type Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { freePort } from '../../test/support/free-port.ts';
import { makeTempFolder, removeTempFolder } from '../../test/support/temp-folder.ts';
import type { Contestant } from '../rig/arena.ts';
import { rssBytes } from '../rig/cpu.ts';
import { pace } from '../rig/pace.ts';
import { launch, type ServerProcess, serverOf, untilServes } from '../rig/process.ts';
import { inTurns, type Matchup, type Round } from './matchup.ts';

const FLOW_BACKEND = fileURLToPath(new URL('../rig/flow-backend.ts', import.meta.url));
const PEERS = ['sluice', 'haproxy', 'http-proxy'];
const PIECE = Buffer.alloc(64 * 1024, 'x');
const BODY_BYTES = 32 * 2 ** 30;
const SAMPLE_MS = 50;
const CROWD = 200;

interface Flow {
  name: string;
  direction: 'down' | 'up';
  /** 0: the reader is stopped. */
  mibPerSec: number;
  connections: number;
}

const FLOWS: Flow[] = [
  { name: 'downSlow1', direction: 'down', mibPerSec: 1, connections: 16 },
  { name: 'downSlow50', direction: 'down', mibPerSec: 50, connections: 2 },
  { name: 'downStopped', direction: 'down', mibPerSec: 0, connections: 16 },
  { name: 'upSlow1', direction: 'up', mibPerSec: 1, connections: 16 },
  { name: 'upSlow50', direction: 'up', mibPerSec: 50, connections: 2 },
  { name: 'upStopped', direction: 'up', mibPerSec: 0, connections: 16 },
  { name: 'downStopped200', direction: 'down', mibPerSec: 0, connections: CROWD },
  { name: 'upStopped200', direction: 'up', mibPerSec: 0, connections: CROWD },
];
function openFlow(port: number, { direction, mibPerSec }: Flow): Socket {
  const socket = connect({ port, host: '127.0.0.1' });
  socket.on('error', () => socket.destroy());
  if (direction === 'down') {
    socket.write('GET /flood HTTP/1.1\r\nHost: bench\r\n\r\n');
    pace(socket, mibPerSec);
    return socket;
  }
  socket.resume();
  socket.write(
    `POST /sink?mibPerSec=${mibPerSec} HTTP/1.1\r\nHost: bench\r\nContent-Length: ${BODY_BYTES}\r\n\r\n`,
  );
  const write = () => {
    while (!socket.destroyed && socket.write(PIECE));
  };
  socket.on('drain', write);
  write();
  return socket;
}

/** The largest resident set of the workers during the flow. */
async function mostBytes(server: ServerProcess, flow: Flow, durationMs: number): Promise<number> {
  const pids = server.workerPids();
  const sockets = Array.from({ length: flow.connections }, () => openFlow(server.port, flow));
  let most = 0;
  try {
    for (let ms = 0; ms < durationMs; ms += SAMPLE_MS) {
      await pause(SAMPLE_MS);
      most = Math.max(most, rssBytes(pids));
    }
    const lost = sockets.filter((socket) => socket.destroyed).length;
    if (lost > 0) throw new Error(`${flow.name}: ${lost} of ${flow.connections} connections were lost`);
  } finally {
    for (const socket of sockets) socket.destroy();
  }
  return most;
}

/** Growth counts from the state after the warm-up, including memory left by earlier flows; for a crowd, from just before it. */
async function measureFlows(server: ServerProcess, durationMs: number): Promise<Round> {
  const round: Round = {};
  const warm = rssBytes(server.workerPids());
  for (const flow of FLOWS) {
    const before = rssBytes(server.workerPids());
    const most = await mostBytes(server, flow, durationMs);
    if (flow.connections === CROWD) round[`${flow.name}KibEach`] = Math.max(0, most - before) / 1024 / CROWD;
    else round[`${flow.name}MiB`] = Math.max(0, most - warm) / 2 ** 20;
    // Time for the balancer to notice that the connections are closed.
    await pause(100);
  }
  return round;
}

async function startFlowBackend(): Promise<{ port: number; stop(): Promise<void> }> {
  const folder = makeTempFolder('sluice-bench-');
  const port = await freePort();
  const args = [FLOW_BACKEND, String(port)];
  const child = launch({ name: 'flow', folder, command: process.execPath, args });
  const facts = { name: 'flow', folder, port, command: '' };
  await untilServes(child, facts, '/tiny');
  return {
    port,
    async stop() {
      await serverOf(child, facts).stop();
      removeTempFolder(folder);
    },
  };
}

export const slowPeers: Matchup = {
  name: 'slow-peers',
  title: 'Slow and stopped peers of long bodies: growth of the resident set',
  load: 'long bodies at 1 MiB/s (16), 50 MiB/s (2) and stopped (16, 200 connections), each way; the largest growth over the state after tiny requests',
  contestants: PEERS.map((peer) => ({ peer })),
  async run(arena) {
    const backend = await startFlowBackend();
    const contestants: Contestant[] = PEERS.map((peer) => ({
      peer,
      options: { backendPorts: [backend.port] },
    }));
    const durationMs = arena.pace.warmUpSec > 0 ? arena.pace.durationSec * 1_500 : 200;
    try {
      return await inTurns(arena, contestants, {
        rounds: 1,
        warmUp: async (server) => {
          await arena.warmUp(server, { path: '/tiny', connections: 64 });
          await pause(300);
        },
        measure: (server) => measureFlows(server, durationMs),
      });
    } finally {
      for (const each of contestants) await arena.release(each);
      await backend.stop();
    }
  },
};
