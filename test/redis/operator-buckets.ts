/** The primary's view of the buckets in a Redis, without a database. */
import type { TestContext } from 'node:test';
import { systemClock } from '../../src/contract/clock.ts';
import type { PolicySettings, RedisServers } from '../../src/contract/settings.ts';
import { makeLogger } from '../../src/infra/logging/logger.ts';
import { MemoryBucketStore } from '../../src/limit/store/memory-bucket-store.ts';
import { OperatorBuckets } from '../../src/primary/buckets/operator-buckets.ts';
import { PrimaryStore } from '../../src/primary/buckets/primary-store.ts';
import { EventLog } from '../../src/primary/events/event-log.ts';
import { PATIENT_MS } from './limiter-fleet.ts';

/** openOperatorBuckets connects; the test closes them. `lines` are the messages of their log. */
export async function openOperatorBuckets(
  t: TestContext,
  servers: RedisServers,
  { prefix = 'sluice', policies = () => [] }: { prefix?: string; policies?: () => PolicySettings[] } = {},
): Promise<{ buckets: OperatorBuckets; store: PrimaryStore; lines: string[] }> {
  const lines: string[] = [];
  const logger = makeLogger(
    { level: 'info', format: 'json' },
    { out: { write: (line) => void lines.push(JSON.parse(line).msg) } },
  );
  const store = await PrimaryStore.open({
    redis: { servers, prefix, timeoutMs: PATIENT_MS },
    memory: new MemoryBucketStore(systemClock),
    // Tests count the workers of others.
    workers: () => 0,
    assumedWorkers: () => 0,
    onStoreWorkers: () => undefined,
    events: new EventLog(logger),
    logger,
  });
  t.after(() => store.close());
  const database = { listen: () => () => undefined, read: () => Promise.resolve([]), singleSession: true };
  const buckets = new OperatorBuckets({ store, database, policies, broadcast: () => undefined, logger });
  return { buckets, store, lines };
}
