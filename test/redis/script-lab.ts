/** The shipped script on a clock of the test's: the script itself has no argument for the time. */
import assert from 'node:assert/strict';
import { Redis } from 'ioredis';
import type { TakeReply, TakeRequest } from '../../src/contract/buckets.ts';
import { loadLuaScript } from '../../src/infra/lua-scripts.ts';
import { LEASE_US } from '../../src/limit/bucket-store.ts';

const CLOCK_LINES = "local time = redis.call('TIME')\nlocal nowUs = time[1] * MICRO + time[2]\n";

/** withTestClock replaces the two lines that read the server's clock by a tenth argument. */
export function withTestClock(lua: string): string {
  const parts = lua.split(CLOCK_LINES);
  assert.equal(parts.length, 2, 'the script reads the clock in exactly one place');
  return parts.join('local nowUs = tonumber(ARGV[10])\n');
}

export class ScriptLab {
  readonly redis: Redis;
  readonly #lua: string;

  constructor(url: string) {
    this.redis = new Redis(url);
    this.#lua = withTestClock(loadLuaScript('take-tokens-1.lua').lua);
  }

  /** takeAll runs all takes in one pipeline, each at its own time. */
  async takeAll(takes: readonly { request: TakeRequest; nowUs: number }[]): Promise<TakeReply[]> {
    const sha = await this.redis.script('LOAD', this.#lua);
    assert.ok(typeof sha === 'string');
    const pipeline = this.redis.pipeline();
    for (const { request: r, nowUs } of takes) {
      const values = [r.capacity, r.rateMicro, r.versionUs, r.need, r.partial ? 1 : 0];
      pipeline.evalsha(sha, 1, r.key, ...values, r.ahead, LEASE_US, r.ret, r.retEpoch, nowUs);
    }
    const results = await pipeline.exec();
    return (results ?? []).map(([error, value]) => {
      if (error !== null) throw error;
      assert.ok(Array.isArray(value));
      const [granted, ahead, levelMicro, retryUs, epoch, versionUs, capacity, rateMicro] = value.map(Number);
      return { granted, ahead, levelMicro, retryUs, epoch, versionUs, capacity, rateMicro } as TakeReply;
    });
  }

  close(): void {
    this.redis.disconnect();
  }
}
