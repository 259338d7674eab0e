/** One client sends all requests, so that every worker needs the same bucket. */
import type { Scenario } from './scenario.ts';

export const limiterHot: Scenario = {
  name: 'limiter-hot',
  title: 'Tiny GET under a limit in Redis, one hot client',
  work: { path: '/tiny', connections: 64 },
  limiter: { clients: 1 },
};
