/** The cost of a 429 for a client far over its limit, compared with a bare node:http server that gives the same answer. */
import { REFUSED_PATH } from '../peers/peer.ts';
import type { Contestant } from '../rig/arena.ts';
import type { Work } from '../rig/load.ts';
import { inTurns, type Matchup, measureLoad } from './matchup.ts';

const WORK: Work = { path: REFUSED_PATH, connections: 64, refused: true };

export const refused: Matchup = {
  name: 'refused',
  title: 'A 429 of one client far over its limit in Redis',
  load: `wrk, 1 thread, 64 connections, GET ${REFUSED_PATH}, one client address; node-http gives the same answer without asking anything`,
  contestants: [{ peer: 'sluice' }, { peer: 'node-http' }],
  async run(arena) {
    const { port: redisPort } = await arena.redis();
    const limited: Contestant = { peer: 'sluice', options: { redisPort } };
    const rows = await inTurns(arena, [limited, { peer: 'node-http' }], {
      warmUp: (server) => arena.warmUp(server, WORK),
      measure: (server) => measureLoad(server, arena, WORK),
    });
    await arena.release(limited);
    return rows;
  },
};
