/** Connects to the Redis of its first argument and logs how that goes: for tests of TLS. */
import { makeLogger } from '../../src/infra/logging/logger.ts';
import { RedisConnection } from '../../src/infra/redis/redis.ts';

// The process lives as long as the connection keeps trying; the test ends it.
new RedisConnection({
  servers: { kind: 'single', url: process.argv[2] ?? '' },
  connectionName: 'sluice-test',
  scripts: {},
  logger: makeLogger({ level: 'info', format: 'json' }),
  random: Math.random,
});
