/** A large answer: what moving bytes costs. */
import { loadMatchup } from './matchup.ts';

export const download = loadMatchup({
  name: 'download-1mib',
  title: '1 MiB response',
  work: { path: '/1m', connections: 16 },
  contestants: ['sluice', 'nginx', 'haproxy', 'caddy'].map((peer) => ({ peer })),
});
