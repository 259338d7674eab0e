/** How often the store is called for a client far over its limit, on a test clock. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Clock } from '../../../src/contract/clock.ts';
import { MemoryBucketStore } from '../../../src/limit/store/memory-bucket-store.ts';
import { Random } from '../../fuzz/random.ts';
import { callerOf, makeLimiter, policyOf, ScriptedStore } from '../limiter/limiter-lab.ts';
import { VirtualTime } from '../simulation/virtual-time.ts';

const caller = callerOf('203.0.113.7');
/** Requests per worker and millisecond. */
const REQUESTS = 2;
const ONE_WAY_MS = 0.5;

interface Flood {
  capacity: number;
  refillPerSecond: number;
  workers: number;
  sec: number;
}

/** Calls of the store and admissions in `sec` seconds of a flood, after the bucket is empty. */
async function flood({ capacity, refillPerSecond, workers, sec }: Flood) {
  const time = new VirtualTime();
  const random = new Random(capacity * 1_000 + refillPerSecond);
  const clock: Clock = { monotonicMs: () => time.nowMs, wallMs: () => time.nowMs };
  const memory = new MemoryBucketStore(clock);
  const policy = policyOf({ capacity, refillPerSecond });
  const count = { calls: 0, admitted: 0 };
  const travel = () =>
    new Promise<void>((resolve) => {
      time.after(ONE_WAY_MS * (0.5 + random.below(1_000) / 1_000), resolve);
    });
  const store = new ScriptedStore(async (takes) => {
    count.calls++;
    await travel();
    const replies = await memory.takeBatch(takes);
    await travel();
    return replies;
  });
  const limiters = Array.from(
    { length: workers },
    () =>
      makeLimiter({
        ...{ store, policies: [policy], timeoutMs: 10_000, clock },
        timers: { after: (delayMs, fn) => time.after(delayMs, fn) },
        defer: (fn) => void time.after(0, fn),
      }).limiter,
  );
  const ask = async () => {
    for (const limiter of limiters) {
      for (let n = 0; n < REQUESTS; n++) {
        const taken = limiter.take(caller, policy, 1);
        if (taken instanceof Promise) {
          taken.then(({ allowed }) => {
            if (allowed) count.admitted++;
          }, assert.fail);
        } else if (taken.allowed) count.admitted++;
      }
    }
    await time.run(time.nowMs + 1);
  };
  while (time.nowMs < 100) await ask();
  Object.assign(count, { calls: 0, admitted: 0 });
  while (time.nowMs < 100 + sec * 1_000) await ask();
  return count;
}

for (const workers of [1, 4]) {
  for (const refillPerSecond of [1, 10, 100]) {
    test(`a client far over its limit costs each of ${workers} workers one call per token at ${refillPerSecond}/s, and the tokens are used`, async () => {
      const sec = refillPerSecond === 1 ? 10 : 3;
      const { calls, admitted } = await flood({ capacity: 10, refillPerSecond, workers, sec });
      const tokens = refillPerSecond * sec;
      assert.ok(calls <= 1.05 * (tokens + 1) * workers, `${calls} calls for ${tokens} tokens`);
      assert.ok(Math.abs(admitted - tokens) <= 1, `${admitted} admitted of ${tokens}`);
    });

    test(`a client far over its limit costs each of ${workers} workers at most two where the bucket holds one token, at ${refillPerSecond}/s`, async () => {
      const sec = refillPerSecond === 1 ? 10 : 3;
      const { calls } = await flood({ capacity: 1, refillPerSecond, workers, sec });
      const tokens = refillPerSecond * sec;
      assert.ok(calls <= 2 * tokens * workers, `${calls} calls for ${tokens} tokens`);
    });
  }

  test(`a client far over its limit costs each of ${workers} workers a call per second where tokens come every ten`, async () => {
    const { calls, admitted } = await flood({ capacity: 10, refillPerSecond: 0.1, workers, sec: 20 });
    assert.ok(calls <= 21 * workers, `${calls} calls in 20 s`);
    assert.ok(admitted >= 1 && admitted <= 2, `${admitted} admitted of 2`);
  });

  test(`a client far over its limit costs each of ${workers} workers fewer calls than tokens at 1,000/s`, async () => {
    const { calls } = await flood({ capacity: 10, refillPerSecond: 1_000, workers, sec: 2 });
    assert.ok(calls <= 0.6 * 2_000 * workers, `${calls} calls for 2,000 tokens`);
  });
}
