/** Like `tiny`, but each request makes a line of JSON in the access log. */
import type { Scenario } from './scenario.ts';

export const accessLog: Scenario = {
  name: 'access-log',
  title: 'Tiny GET, access log on',
  work: { path: '/tiny', connections: 64 },
  accessLog: true,
};
