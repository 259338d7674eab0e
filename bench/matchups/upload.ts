/** A large request body; the backend answers when it has all of it. */
import { loadMatchup } from './matchup.ts';

export const upload = loadMatchup({
  name: 'upload-1mib',
  title: '1 MiB upload',
  work: { method: 'POST', path: '/upload', bodyBytes: 1_048_576, connections: 16 },
  contestants: ['sluice', 'nginx', 'haproxy', 'caddy'].map((peer) => ({ peer })),
});
