/** The primary's view of the buckets in a Redis, without a database. */
import type { TestContext } from 'node:test';
import { systemClock } from '../../src/contract/clock.ts';
import type { PolicySettings, RedisServers } from '../../src/contract/settings.ts';
import { makeLogger } from '../../src/infra/logging/logger.ts';
import { MemoryBucketStore } from '../../src/limit/store/memory-bucket-store.ts';
import { OperatorBuckets } from '../../src/primary/buckets/operator-buckets.ts';
import { PATIENT_MS } from './limiter-fleet.ts';

/** openOperatorBuckets connects; the test closes them. `lines` are the messages of their log. */
export async function openOperatorBuckets(
  t: TestContext,
  servers: RedisServers,
  { prefix = 'sluice', policies = () => [] }: { prefix?: string; policies?: () => PolicySettings[] } = {},
): Promise<{ buckets: OperatorBuckets; lines: string[] }> {
  const lines: string[] = [];
  const logger = makeLogger(
    { level: 'info', format: 'json' },
    { out: { write: (line) => void lines.push(JSON.parse(line).msg) } },
  );
  const buckets = await OperatorBuckets.open({
    redis: { servers, prefix, timeoutMs: PATIENT_MS },
    memory: new MemoryBucketStore(systemClock),
    database: { listen: () => () => undefined, read: () => Promise.resolve([]), singleSession: true },
    policies,
    // Tests count the workers of others.
    workers: () => 0,
    assumedWorkers: () => 0,
    onStoreWorkers: () => undefined,
    broadcast: () => undefined,
    logger,
  });
  t.after(() => buckets.close());
  return { buckets, lines };
}
