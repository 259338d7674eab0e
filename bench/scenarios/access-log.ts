/** One line of JSON per request; `tiny` is the same without. */
import type { Scenario } from './scenario.ts';

export const accessLog: Scenario = {
  name: 'access-log',
  title: 'Tiny GET, access log on',
  work: { path: '/tiny', connections: 64 },
  accessLog: true,
};
