/**
 * When a pool panics: fewer than its share of backends are healthy, so those that are left may be too few, or the checks are wrong.
 * Then the ones that are out are used too, and workers decide how much (src/proxy/live-results.ts).
 */
import type { BackendState, Panic } from '../../contract/health.ts';
import type { BackendSettings } from '../../contract/pool-settings.ts';

/** PanicView is why. */
export interface PanicView {
  panic: Panic;
  /** Backends that are up, neither ejected nor drained. */
  healthy: number;
  /** Backends that are not drained, and have had a result that counts. */
  known: number;
}

type Seen = Pick<BackendState, 'health' | 'lastProbe' | 'enabled' | 'ejectedUntilMs'> &
  Pick<BackendSettings, 'weight' | 'backup'>;

/**
 * panicOf is called with all backends of a pool at each change of one.
 * @param thresholdPercent 0: the pool never panics
 * @param before kept while a first probe is under way: one result of several says nothing of the pool
 */
export function panicOf(backends: Iterable<Seen>, thresholdPercent: number, before: Panic): PanicView {
  let healthy = 0;
  let healthyBackups = 0;
  let known = 0;
  let isPending = false;
  for (const { health, ejectedUntilMs, lastProbe, enabled, weight, backup } of backends) {
    if (!enabled || weight === 0) continue;
    if (health === 'unknown') {
      isPending ||= lastProbe === null;
      continue;
    }
    known++;
    if (health === 'down' || ejectedUntilMs !== null) continue;
    healthy++;
    if (backup) healthyBackups++;
  }
  const isTooFew = healthy * 100 < thresholdPercent * known;
  if (isPending) return { panic: before, healthy, known };
  if (!isTooFew) return { panic: 'no', healthy, known };
  return { panic: healthyBackups > 0 && healthyBackups === healthy ? 'last' : 'shared', healthy, known };
}
