/** One Redis for all tests of a file, started before and stopped after them, and fleets that use it. */
import { after, before, type TestContext } from 'node:test';
import { Redis } from 'ioredis';
import type { LabOptions } from '../limit/limiter/limiter-lab.ts';
import { type RedisServer, startRedis } from '../support/redis.ts';
import { type Fleet, PATIENT_MS, startFleet } from './limiter-fleet.ts';

export class OneRedis {
  #server: RedisServer | null = null;
  #admin: Redis | null = null;

  constructor() {
    before(async () => {
      this.#server = await startRedis();
      this.#admin = new Redis(this.#server.url);
    });
    after(async () => {
      this.#admin?.disconnect();
      await this.#server?.stop();
    });
  }

  get url(): string {
    return this.#server?.url ?? '';
  }

  /** Direct access to the data. Only while the tests run. */
  get admin(): Redis {
    if (this.#admin === null) throw new Error('no test is running');
    return this.#admin;
  }

  /** fleetOf empties Redis and connects limiters to it; the test closes them. */
  async fleetOf(t: TestContext, size: number, options: Partial<LabOptions> = {}): Promise<Fleet> {
    await this.admin.flushall();
    const fleet = await startFleet(t, this.url, size, { timeoutMs: PATIENT_MS, ...options });
    await this.admin.config('RESETSTAT');
    return fleet;
  }

  /** scriptCalls counts the calls of scripts since fleetOf, or since the last RESETSTAT. */
  async scriptCalls(): Promise<number> {
    const stats = await this.admin.info('commandstats');
    const calls = [...stats.matchAll(/cmdstat_eval(?:sha)?:calls=(\d+)/g)].map((match) => Number(match[1]));
    return calls.reduce((sum, count) => sum + count, 0);
  }
}
