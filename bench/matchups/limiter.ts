/** Every request takes a token from a bucket in Redis; none is refused. The CPU time of Redis counts too. */
import type { Arena, Contestant, Pace } from '../rig/arena.ts';
import type { Work } from '../rig/load.ts';
import { inTurns, type Matchup, measureLoad, type Row } from './matchup.ts';

const PEERS = ['sluice', 'nginx-lua-redis', 'nginx-lua-redis-ours'];

/** limiterHot: one client sends all requests. */
export const limiterHot: Matchup = limiterMatchup({
  name: 'limiter-hot',
  title: 'Tiny GET, one hot client under a limit in Redis',
  load: 'one client address',
  others: [{ peer: 'sluice', label: 'sluice without limit' }],
  workOf: () => ({ path: '/tiny', connections: 64 }),
});

/** limiterCrowd: ten thousand clients take turns, so that no request profits from the one before it. */
export const limiterCrowd: Matchup = limiterMatchup({
  name: 'limiter-crowd',
  title: 'Tiny GET, 10,000 clients in turn under a limit in Redis',
  load: '10,000 addresses of X-Forwarded-For in turn',
  others: [],
  workOf: ({ crowd }) => ({ path: '/tiny', connections: 64, clients: crowd }),
});

interface LimiterMatchup {
  name: string;
  title: string;
  /** The part of the description of the load that differs. */
  load: string;
  /** Contestants without a limit. */
  others: Contestant[];
  workOf: (pace: Pace) => Work;
}

function limiterMatchup({ name, title, load, others, workOf }: LimiterMatchup): Matchup {
  return {
    name,
    title,
    load: `wrk, 1 thread, 64 connections, GET /tiny, ${load}`,
    contestants: PEERS.map((peer) => ({ peer })),
    run: (arena) => underLimit(arena, others, workOf(arena.pace)),
  };
}

async function underLimit(arena: Arena, others: readonly Contestant[], work: Work): Promise<Row[]> {
  const redis = await arena.redis();
  const limited: Contestant[] = PEERS.map((peer) => ({ peer, options: { redisPort: redis.port } }));
  const rows = await inTurns(arena, [...others, ...limited], {
    warmUp: (server) => arena.warmUp(server, work),
    measure: async (server) => {
      await redis.mark();
      const round = await measureLoad(server, arena, work);
      const { commands, cpuUs } = await redis.since();
      const requests = round.requestsPerSec! * arena.pace.durationSec;
      const redisCpuUs = cpuUs / requests;
      return {
        ...round,
        redisCommandsPerRequest: commands / requests,
        redisCpuUs,
        cpuWithRedisUs: round.cpuUs! + redisCpuUs,
      };
    },
  });
  for (const each of limited) await arena.release(each);
  return rows;
}
