/** A scenario of `make bench`: one kind of load on Sluice as it is deployed, with one worker per CPU. */
import type { Work } from '../rig/load.ts';

export interface Scenario {
  name: string;
  title: string;
  work: Work;
  /** Present: requests are limited in Redis. This many clients take turns (by X-Forwarded-For). */
  limiter?: { clients: number };
  accessLog?: boolean;
}
