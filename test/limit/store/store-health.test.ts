import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TakeReply } from '../../../src/contract/buckets.ts';
import { makeLogger } from '../../../src/infra/logging/logger.ts';
import { WorkerMetrics } from '../../../src/infra/worker-metrics.ts';
import type { BucketStore } from '../../../src/limit/store/bucket-store.ts';
import { StoreHealth } from '../../../src/limit/store/store-health.ts';
import { VirtualTime } from '../simulation/virtual-time.ts';

/** Probes of an idle server in 20 s. @param lateMs of each timer @param answerMs null: it is silent */
async function probesOf(lateMs: number, answerMs: number | null): Promise<number> {
  const time = new VirtualTime();
  let probes = 0;
  const store: BucketStore = {
    kind: 'redis',
    available: true,
    takeBatch: (takes) => {
      probes++;
      return new Promise((resolve) => {
        if (answerMs !== null) time.after(answerMs, () => resolve(takes.map(() => ({}) as TakeReply)));
      });
    },
  };
  const health = new StoreHealth({
    ...{ store, metrics: new WorkerMetrics(), timeoutMs: 20, random: () => 0.5 },
    logger: makeLogger({ level: 'silent', format: 'json' }),
    clock: { monotonicMs: () => time.nowMs },
    timers: { after: (delayMs, fn) => time.after(delayMs + lateMs, fn) },
    defer: (fn) => void time.after(0, fn),
  });
  await time.run(20_500);
  health.close();
  return probes;
}

test('an idle server is probed every two seconds, however late timers and answers are, and a silent one every second', async () => {
  for (const lateMs of [0, 1, 20])
    for (const answerMs of [0, 2, 15])
      assert.equal(await probesOf(lateMs, answerMs), 10, `${lateMs} ${answerMs}`);
  assert.ok((await probesOf(0, null)) >= 20);
});
