/** An answer of the size of a web page. */
import { loadMatchup } from './matchup.ts';

export const tenKib = loadMatchup({
  name: 'ten-kib',
  title: '10 KiB response',
  work: { path: '/10k', connections: 64 },
  contestants: ['sluice', 'nginx', 'haproxy', 'caddy'].map((peer) => ({ peer })),
});
