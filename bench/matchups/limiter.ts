/** One client that asks all the time, each request charged to its bucket in Redis, none refused. */
import type { Contestant } from '../rig/arena.ts';
import type { Work } from '../rig/load.ts';
import { inTurns, type Matchup, measureLoad } from './matchup.ts';

const WORK: Work = { path: '/tiny', connections: 64 };
const PEERS = ['sluice', 'nginx-lua-redis'];

export const limiter: Matchup = {
  name: 'limiter-hot',
  title: 'Tiny GET, one hot client under a limit in Redis',
  load: 'wrk, 1 thread, 64 connections, GET /tiny, one client address',
  contestants: PEERS.map((peer) => ({ peer })),
  async run(arena) {
    const redis = await arena.redis();
    const limited: Contestant[] = PEERS.map((peer) => ({ peer, options: { redisPort: redis.port } }));
    const rows = await inTurns(arena, [{ peer: 'sluice', label: 'sluice without limit' }, ...limited], {
      warmUp: (server) => arena.warmUp(server, WORK),
      measure: async (server) => {
        await redis.mark();
        const round = await measureLoad(server, arena, WORK);
        const { commands, cpuUs } = await redis.since();
        const requests = round.requestsPerSec! * arena.pace.durationSec;
        return { ...round, redisCommandsPerRequest: commands / requests, redisCpuUs: cpuUs / requests };
      },
    });
    for (const each of limited) await arena.release(each);
    return rows;
  },
};
