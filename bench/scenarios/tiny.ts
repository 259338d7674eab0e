/** The smallest possible request: a GET without a body, 19 bytes back, on a route without a limit. */
import type { Scenario } from './scenario.ts';

export const tinyGet: Scenario = {
  name: 'tiny',
  title: 'Tiny GET, keep-alive, limiter and access log off',
  work: { path: '/tiny', connections: 64 },
};
