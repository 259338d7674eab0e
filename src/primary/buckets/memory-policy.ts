/** Warns of a Redis that loses buckets, or refuses takes, when its memory is full. */
import type { Cluster, Redis } from 'ioredis';
import { toError } from '../../contract/errors.ts';
import type { Logger } from '../../infra/logging/logger.ts';

/**
 * Callers can fill the memory of Redis. Then noeviction fails every take, so that workers decide alone, and allkeys-* evicts buckets
 * in use, which are full when they come back. volatile-ttl evicts buckets that are nearly full anyway.
 */
const HARMFUL = /^maxmemory_policy:(noeviction|allkeys-\w+)/m;

/** warnOfMemoryPolicy asks each server once. OperatorBuckets calls it when its connection is ready. Never rejects. */
export async function warnOfMemoryPolicy(
  client: Redis | Cluster,
  logger: Pick<Logger, 'info' | 'warn'>,
): Promise<void> {
  const servers = 'nodes' in client ? client.nodes('master') : [client];
  try {
    const infos = await Promise.all(servers.map((server) => server.info('memory')));
    const policies = new Set(infos.flatMap((info) => HARMFUL.exec(info)?.[1] ?? []));
    for (const policy of policies) {
      logger.warn(
        { policy },
        'set maxmemory-policy of Redis to volatile-ttl: with this one limits fail when memory is full',
      );
    }
  } catch (thrown) {
    logger.info({ err: toError(thrown) }, 'the memory policy of Redis is not known');
  }
}
