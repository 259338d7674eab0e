/** Whether a second worker helps Sluice as much as it helps nginx. */
import { loadMatchup } from './matchup.ts';

export const twoWorkers = loadMatchup({
  name: 'two-workers',
  title: 'Tiny GET, two workers',
  work: { path: '/tiny', connections: 64 },
  contestants: ['sluice', 'nginx'].map((peer) => ({ peer, options: { workers: 2 } })),
});
