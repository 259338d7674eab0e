/** Like `tiny`, but each request writes a line of JSON to the access log. */
import type { Scenario } from './scenario.ts';

export const accessLog: Scenario = {
  name: 'access-log',
  title: 'Tiny GET, access log on',
  work: { path: '/tiny', connections: 64 },
  accessLog: true,
};
