/** Every request opens its own connection. */
import { loadMatchup } from './matchup.ts';

export const newConnection = loadMatchup({
  name: 'new-connection',
  title: 'A connection per request',
  work: { path: '/tiny', connections: 64, reconnecting: true },
  contestants: ['sluice', 'nginx', 'haproxy', 'caddy'].map((peer) => ({ peer })),
});
