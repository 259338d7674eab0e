import type { PoolSettings } from '../../../src/contract/pool-settings.ts';
import type { Random } from '../../fuzz/random.ts';
import { limitsSettings, poolSettings, retrySettings } from '../../support/settings.ts';

/** Of all backends that a pool may have; the last one is a backup. */
export const IDS = ['0', '1', '2'];

/** randomPool makes settings under which requests soon wait and are retried. */
export function randomPool(random: Random, protocol: PoolSettings['protocol']): PoolSettings {
  const ids = random.oneIn(4) ? IDS.slice(1) : IDS;
  const one = { host: '127.0.0.1', tls: false, weight: 1 };
  const limits = {
    maxConcurrentPerBackend: 1 + random.below(4),
    queue: random.below(6),
    queueTimeoutMs: 300,
  };
  const retry = {
    attempts: random.below(4),
    minConcurrent: 1,
    budgetPercent: 10,
    onStatus: [503],
    nonIdempotent: random.oneIn(4),
  };
  return poolSettings({
    backends: ids.map((id) => ({ ...one, id, port: 1 + Number(id), backup: id === IDS.at(-1) })),
    limits: limitsSettings(limits),
    retry: retrySettings(retry),
    protocol,
    adaptive: random.pick(['off', 'latency']),
    balance: random.pick(['round_robin', 'least_requests']),
    timeouts: { connectMs: 500, responseMs: 1_500, idleMs: 500 },
  });
}
