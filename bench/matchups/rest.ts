/** The memory that a worker of the production build keeps after the load. */
import { setTimeout as pause } from 'node:timers/promises';
import { rssBytes } from '../rig/cpu.ts';
import { runWrk } from '../rig/wrk.ts';
import { inTurns, type Matchup } from './matchup.ts';

const WORK = { path: '/tiny', connections: 64 };
const LOAD_SEC = 10;
const REST_MS = 30_000;
/** Fresh servers (by `workers`), without memory that other loads left behind. */
const contestants = ['sluice', 'sluice-built'].map((peer) => ({ peer, options: { workers: 1 } }));

export const rest: Matchup = {
  name: 'rest',
  title: 'Resident set of a worker after load and 30 s of rest',
  load: `wrk, 1 thread, ${WORK.connections} connections, GET ${WORK.path}, ${LOAD_SEC} s; then ${REST_MS / 1_000} s of nothing`,
  contestants,
  async run(arena) {
    const isProof = arena.pace.warmUpSec === 0;
    const rows = await inTurns(arena, contestants, {
      rounds: 1,
      measure: async (server) => {
        await runWrk(server.port, WORK, isProof ? 1 : LOAD_SEC);
        await pause(isProof ? 0 : REST_MS);
        return { workerRssMiB: rssBytes(server.workerPids()) / 2 ** 20 };
      },
    });
    for (const each of contestants) await arena.release(each);
    return rows;
  },
};
