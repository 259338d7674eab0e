/** A large answer. */
import type { Scenario } from './scenario.ts';

export const download: Scenario = {
  name: 'download-1mib',
  title: '1 MiB response',
  work: { path: '/1m', connections: 16 },
};
