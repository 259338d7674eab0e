/** One client asks all the time: every worker wants the same bucket. */
import type { Scenario } from './scenario.ts';

export const limiterHot: Scenario = {
  name: 'limiter-hot',
  title: 'Tiny GET under a limit in Redis, one hot client',
  work: { path: '/tiny', connections: 64 },
  limiter: { clients: 1 },
};
