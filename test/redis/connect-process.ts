/** Connects to the Redis of its arguments (URL, kind), writes a key and logs the results; for tests of TLS. */
import type { RedisServers } from '../../src/contract/settings.ts';
import { makeLogger } from '../../src/infra/logging/logger.ts';
import { RedisConnection } from '../../src/infra/redis/redis.ts';

const [url = '', kind] = process.argv.slice(2);
const servers: RedisServers = kind === 'cluster' ? { kind, urls: [url] } : { kind: 'single', url };

// The process runs while the connection keeps trying; the test ends it.
const connection = new RedisConnection({
  servers,
  connectionName: 'sluice-test',
  scripts: {},
  logger: makeLogger({ level: 'info', format: 'json' }),
});
const timer = setInterval(() => {
  if (!connection.ready) return;
  connection.client.set('key', 'value').then(
    () => {
      clearInterval(timer);
      process.stdout.write('a key was written\n');
    },
    () => undefined,
  );
}, 50);
