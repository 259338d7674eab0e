/** The tiny request with one line of JSON each, into a file; Sluice without it in the same turns, for the difference. */
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
