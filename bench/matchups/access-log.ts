/** The tiny request with an access log to a file, one line of JSON each. Sluice without log runs too, for comparison. */
import { loadMatchup } from './matchup.ts';

export const accessLog = loadMatchup({
  name: 'access-log',
  title: 'Tiny GET, access log on',
  work: { path: '/tiny', connections: 64 },
  contestants: [
    { peer: 'sluice', label: 'sluice without log' },
    ...['sluice', 'nginx', 'haproxy', 'caddy'].map((peer) => ({ peer, options: { accessLog: true } })),
  ],
});
