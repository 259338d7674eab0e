/** What is away now; for /readyz and the status. */
import type { Degraded } from '../../contract/status.ts';
import type { HealthRegistry } from '../health/health-registry.ts';
import type { Reloader } from '../reloader.ts';
import type { Supervisor } from '../workers/supervisor.ts';

export interface DegradedSources {
  supervisor: Pick<Supervisor, 'workers'>;
  /** Another feed after a reload that moves to another database. */
  directory: { feed: { degraded: boolean } };
  reloader: Pick<Reloader, 'current'>;
  registry: Pick<HealthRegistry, 'state'>;
  store: { connection: { ready: boolean; failure: string | null } | null };
}

/** workersWithoutStore are the numbers of the workers that decide about limits alone, because Redis does not answer them. */
export function workersWithoutStore({ supervisor }: Pick<DegradedSources, 'supervisor'>): number[] {
  return supervisor.workers().flatMap(({ index, report }) => (report?.breakerOpen ? [index] : []));
}

/** degradedOf lists what is away, in the order of the values that it can have. */
export function degradedOf(sources: DegradedSources): Degraded {
  const { redis, pools } = sources.reloader.current.settings;
  const degraded: Degraded = [];
  // The primary's own connection counts too, because a new worker first reports its breaker after a second.
  const isRedisAway = sources.store.connection?.ready === false || workersWithoutStore(sources).length > 0;
  if (redis !== null && isRedisAway) degraded.push('redis');
  if (sources.directory.feed.degraded) degraded.push('postgres');
  if (!pools.every(({ name, backends }) => backends.some(({ id }) => isUp(sources, name, id))))
    degraded.push('backends');
  return degraded;
}

function isUp({ registry }: DegradedSources, pool: string, id: string): boolean {
  return registry.state(pool, id)?.state === 'up';
}
