/** Runs the shipped script with a clock that the test sets; the script itself takes no time argument. */
import assert from 'node:assert/strict';
import { Redis, type Result } from 'ioredis';
import type { TakeReply, TakeRequest } from '../../src/contract/buckets.ts';
import { LEASE_US } from '../../src/limit/store/bucket-store.ts';
import { bucketScripts } from '../../src/limit/store/redis-bucket-store.ts';
import { packTakes, unpackReply } from '../../src/limit/store/take-codec.ts';

const CLOCK_LINES = "local time = redis.call('TIME')\nlocal clockUs = time[1] * MICRO + time[2]\n";

/** withTestClock replaces the two lines that read the server's clock by a third argument. */
export function withTestClock(lua: string): string {
  const parts = lua.split(CLOCK_LINES);
  assert.equal(parts.length, 2, 'the script reads the clock in exactly one place');
  return parts.join('local clockUs = tonumber(ARGV[3])\n');
}

declare module 'ioredis' {
  interface RedisCommander<Context> {
    takeTokensAtBuffer(
      keyCount: number,
      ...keysAndValues: (string | number | Buffer)[]
    ): Result<Buffer[], Context>;
  }
}

export class ScriptLab {
  /** Has the script as it is shipped, and with the test's clock. */
  readonly redis: Redis;

  constructor(url: string) {
    const { takeTokens } = bucketScripts();
    const takeTokensAt = { lua: withTestClock(takeTokens.lua) };
    this.redis = new Redis(url, { scripts: { takeTokens, takeTokensAt } });
  }

  /** takeAll runs all takes in one pipeline, each at its own time. */
  async takeAll(takes: readonly { request: TakeRequest; nowUs: number }[]): Promise<TakeReply[]> {
    const pipeline = this.redis.pipeline();
    for (const { request, nowUs } of takes) {
      pipeline.takeTokensAtBuffer(1, request.key, LEASE_US, packTakes([request]), nowUs);
    }
    const results = await pipeline.exec();
    return (results ?? []).map(([error, value]) => {
      if (error !== null) throw error;
      assert.ok(Array.isArray(value) && value.length === 1);
      return replyOf(value[0]);
    });
  }

  /** takeTogether runs takes from different buckets in one call. */
  async takeTogether(requests: readonly TakeRequest[], nowUs: number): Promise<TakeReply[]> {
    const keys = requests.map(({ key }) => key);
    const packed = packTakes(requests);
    return (await this.redis.takeTokensAtBuffer(keys.length, ...keys, LEASE_US, packed, nowUs)).map(replyOf);
  }

  close(): void {
    this.redis.disconnect();
  }
}

/** replyOf reads a reply of the script, which must be one. */
export function replyOf(packed: unknown): TakeReply {
  const reply = unpackReply(packed);
  if (reply instanceof Error) throw reply;
  return reply;
}
