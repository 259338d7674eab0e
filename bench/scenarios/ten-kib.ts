/** An answer of the size of a web page. */
import type { Scenario } from './scenario.ts';

export const tenKib: Scenario = {
  name: 'ten-kib',
  title: '10 KiB response',
  work: { path: '/10k', connections: 64 },
};
