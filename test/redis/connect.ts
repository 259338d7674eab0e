/** Connections to one Redis without logs: the product's own, and an operator's for faults and inspection. */
import type { Redis } from 'ioredis';
import { makeLogger } from '../../src/infra/logging/logger.ts';
import type { LuaScript } from '../../src/infra/redis/lua-scripts.ts';
import { RedisConnection } from '../../src/infra/redis/redis.ts';
import { waitFor } from '../support/wait.ts';

export function connectTo(url: string, scripts: Record<string, LuaScript> = {}): RedisConnection {
  return new RedisConnection({
    servers: { kind: 'single', url },
    connectionName: 'sluice-test',
    scripts,
    logger: makeLogger({ level: 'silent', format: 'json' }),
  });
}

/** openOperator connects and waits; end it with close(). */
export async function openOperator(url: string): Promise<{ client: Redis; close: () => Promise<void> }> {
  const connection = connectTo(url);
  await waitFor('the connection of the operator', () => connection.ready);
  return { client: connection.client as Redis, close: () => connection.close() };
}
