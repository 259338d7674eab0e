/** A small body and a small answer, as with a form or an API call. */
import { loadMatchup } from './matchup.ts';

export const post = loadMatchup({
  name: 'post',
  title: 'POST of 200 bytes, small answer',
  work: { method: 'POST', path: '/tiny', bodyBytes: 200, connections: 64 },
  contestants: ['sluice', 'nginx', 'haproxy', 'caddy'].map((peer) => ({ peer })),
});
