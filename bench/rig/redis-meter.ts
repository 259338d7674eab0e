/** Measures commands and CPU time of the Redis of a limiter. */
import { Redis } from 'ioredis';
import { type RedisServer, startRedis } from '../../test/support/redis.ts';
import { type CpuTimes, cpuSince, cpuTimes } from './cpu.ts';

export interface RedisCost {
  /** Number of commands without the meter's own. */
  commands: number;
  cpuUs: number;
}

/** Commands of the meter, and those that open a connection. */
const NOT_COUNTED = new Set(['info', 'client|setinfo', 'hello', 'ping', 'select']);

/** MeteredRedis is a throw-away Redis with a meter; `since` returns the cost since `mark`. */
export class MeteredRedis {
  readonly port: number;
  readonly #server: RedisServer;
  readonly #client: Redis;
  #commands = 0;
  #cpu: CpuTimes = { totalUs: 0, userUs: 0, systemUs: 0 };

  static async start(): Promise<MeteredRedis> {
    return new MeteredRedis(await startRedis());
  }

  private constructor(server: RedisServer) {
    this.#server = server;
    this.port = server.port;
    this.#client = new Redis(server.url, { maxRetriesPerRequest: 1 });
  }

  async mark(): Promise<void> {
    this.#commands = await this.#commandCount();
    this.#cpu = cpuTimes([this.#server.pid]);
  }

  async since(): Promise<RedisCost> {
    const { totalUs } = cpuSince(this.#cpu, cpuTimes([this.#server.pid]));
    return { commands: (await this.#commandCount()) - this.#commands, cpuUs: totalUs };
  }

  async stop(): Promise<void> {
    this.#client.disconnect();
    await this.#server.stop();
  }

  /** Redis also counts the commands inside a script. If scripts ran, only the script calls count: one per round trip. */
  async #commandCount(): Promise<number> {
    const text = await this.#client.info('commandstats');
    const counts = [...text.matchAll(/^cmdstat_([^:]+):calls=(\d+)/gm)].map(([, name = '', calls]) => ({
      name,
      calls: Number(calls),
    }));
    const scripts = counts.filter(({ name }) => /^(evalsha|eval|fcall)$/.test(name));
    const counted = scripts.length > 0 ? scripts : counts.filter(({ name }) => !NOT_COUNTED.has(name));
    return counted.reduce((sum, { calls }) => sum + calls, 0);
  }
}
