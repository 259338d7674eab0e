/** Messages through a WebSocket: what a balancer costs that only passes bytes on. */
import { compilerMissing } from '../rig/compile.ts';
import { startWebSocketEcho } from '../rig/web-socket-echo.ts';
import { inTurns, type Matchup, measureCost } from './matchup.ts';

const PEERS = ['sluice', 'nginx', 'haproxy', 'caddy', 'http-proxy-3'];
const CONNECTIONS = 64;

export const webSocket: Matchup = {
  name: 'web-socket',
  title: 'WebSocket echo of 1 KiB, figures per message',
  load: `bench/rig/web-socket-echo.c, ${CONNECTIONS} connections with one message under way on each`,
  contestants: PEERS.map((peer) => ({ peer })),
  missing: compilerMissing,
  async run(arena) {
    const { durationSec, warmUpSec } = arena.pace;
    const echo = await startWebSocketEcho();
    const contestants = PEERS.map((peer) => ({ peer, options: { backendPorts: [echo.port] } }));
    try {
      return await inTurns(arena, contestants, {
        warmUp: async ({ port }) => {
          await echo.load(port, CONNECTIONS, warmUpSec / 2);
        },
        measure: (server) => measureCost(server, () => echo.load(server.port, CONNECTIONS, durationSec)),
      });
    } finally {
      for (const each of contestants) await arena.release(each);
      await echo.stop();
    }
  },
};
