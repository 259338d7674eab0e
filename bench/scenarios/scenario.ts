/** A scenario of `make bench`: one kind of load on Sluice as it is deployed, one worker per CPU. */
import type { Work } from '../rig/load.ts';

export interface Scenario {
  name: string;
  title: string;
  work: Work;
  /** A limit in Redis, and how many clients share the load (by X-Forwarded-For in turn). */
  limiter?: { clients: number };
  accessLog?: boolean;
}
