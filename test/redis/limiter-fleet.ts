/** Several limiters, each with its own connection to one Redis, like workers. */
import type { TestContext } from 'node:test';
import type { RedisServers } from '../../src/contract/settings.ts';
import { makeLogger } from '../../src/infra/logging/logger.ts';
import { RedisConnection } from '../../src/infra/redis/redis.ts';
import { bucketScripts, RedisBucketStore } from '../../src/limit/store/redis-bucket-store.ts';
import { type LabOptions, type LimiterLab, makeLimiter, TIMEOUT_MS } from '../limit/limiter/limiter-lab.ts';
import { waitFor } from '../support/wait.ts';

/**
 * A long deadline for tests of exactness: on a busy machine Redis may get no CPU for 20 ms, and the local share would
 * decide.
 */
export const PATIENT_MS = 2_000;

type FleetOptions = Partial<LabOptions> & { prefix?: string };

export interface Fleet {
  workers: (LimiterLab & { connection: RedisConnection; store: RedisBucketStore })[];
  ready(): Promise<void>;
  close(): Promise<void>;
}

export function makeFleet(servers: RedisServers | string, size: number, options: FleetOptions = {}): Fleet {
  const logger = makeLogger({ level: 'silent', format: 'json' });
  const timeoutMs = options.timeoutMs ?? TIMEOUT_MS;
  const workers = Array.from({ length: size }, (_, index) => {
    const connection = new RedisConnection({
      servers: typeof servers === 'string' ? { kind: 'single', url: servers } : servers,
      connectionName: `sluice-test-w${index}`,
      scripts: bucketScripts(),
      logger,
    });
    const prefix = options.prefix ?? 'sluice';
    const store = new RedisBucketStore({ connection, prefix, timeoutMs });
    return { ...makeLimiter({ workers: size, ...options, store }), connection, store };
  });
  return {
    workers,
    async ready() {
      await waitFor('all connections to be ready', () =>
        workers.every(({ store, connection: { nodes } }) => {
          const servers = nodes === null ? [] : [...nodes.servers()];
          return store.available && servers.every((server) => nodes?.isReady(server));
        }),
      );
    },
    async close() {
      await Promise.all(
        workers.map(async ({ limiter, connection }) => {
          await limiter.close();
          await connection.close();
        }),
      );
    },
  };
}

/** startFleet makes limiters, waits until they are connected, and closes them with the test. */
export async function startFleet(
  t: TestContext,
  servers: RedisServers | string,
  size: number,
  options?: FleetOptions,
): Promise<Fleet> {
  const fleet = makeFleet(servers, size, options);
  t.after(() => fleet.close());
  await fleet.ready();
  return fleet;
}
