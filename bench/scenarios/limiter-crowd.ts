/** Ten thousand clients take turns, so that every bucket is cold. */
import type { Scenario } from './scenario.ts';

export const limiterCrowd: Scenario = {
  name: 'limiter-crowd',
  title: 'Tiny GET under a limit in Redis, 10,000 clients in turn',
  work: { path: '/tiny', connections: 64 },
  limiter: { clients: 10_000 },
};
