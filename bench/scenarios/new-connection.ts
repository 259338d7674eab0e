/** Every request opens its own connection. */
import type { Scenario } from './scenario.ts';

export const newConnection: Scenario = {
  name: 'new-connection',
  title: 'A connection per request',
  work: { path: '/tiny', connections: 64, reconnecting: true },
};
