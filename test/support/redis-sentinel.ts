/** A throw-away Redis master and a replica that one sentinel watches. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { type Child, spawnChild } from './child.ts';
import { freePort } from './free-port.ts';
import { type RedisServer, startRedis } from './redis.ts';
import { makeTempFolder, removeTempFolder } from './temp-folder.ts';
import { waitFor } from './wait.ts';

/** Silence after which the sentinel gives up the master. */
const DOWN_AFTER_MS = 500;

export interface RedisSentinel {
  readonly master: RedisServer;
  readonly replica: RedisServer;
  /** Port of the sentinel. */
  readonly url: string;
  /** The name of the master for the sentinel. */
  readonly name: string;
  stop(): Promise<void>;
}

/**
 * startRedisSentinel starts all three; put `t.after(() => sentinel.stop())` on the next line.
 *
 * @param lines added to the configuration of the sentinel
 */
export async function startRedisSentinel(lines: readonly string[] = []): Promise<RedisSentinel> {
  const name = 'buckets';
  const folder = makeTempFolder('sluice-sentinel-');
  const servers: RedisServer[] = [];
  let sentinel: Child | null = null;
  const stop = async (): Promise<void> => {
    await sentinel?.stop('SIGTERM', 5_000);
    await Promise.all(servers.map((server) => server.stop()));
    removeTempFolder(folder);
  };
  try {
    const master = await startRedis();
    servers.push(master);
    const replica = await startRedis({ args: ['--replicaof', '127.0.0.1', String(master.port)] });
    servers.push(replica);
    await untilSynced(replica);
    const port = await freePort();
    const config = join(folder, 'sentinel.conf');
    writeFileSync(
      config,
      [
        `port ${port}`,
        'bind 127.0.0.1',
        `dir ${folder}`,
        `sentinel monitor ${name} 127.0.0.1 ${master.port} 1`,
        `sentinel down-after-milliseconds ${name} ${DOWN_AFTER_MS}`,
        `sentinel failover-timeout ${name} 5000`,
        ...lines,
      ].join('\n'),
    );
    sentinel = spawnChild('redis-server', [config, '--sentinel'], { cwd: folder });
    await sentinel.waitForLine('+monitor');
    await untilKnown(port, name);
    return { master, replica, url: `redis://127.0.0.1:${port}`, name, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function untilSynced(replica: RedisServer): Promise<void> {
  const client = new Redis(replica.url);
  await waitFor(
    'the replica to follow',
    async () => /master_link_status:up/.test(await client.info('replication')),
    {
      timeoutMs: 20_000,
    },
  );
  client.disconnect();
}

async function untilKnown(port: number, name: string): Promise<void> {
  const client = new Redis(port, '127.0.0.1');
  await waitFor(
    'the sentinel to know the replica',
    async () => ((await client.call('SENTINEL', 'REPLICAS', name)) as unknown[]).length === 1,
  );
  client.disconnect();
}
