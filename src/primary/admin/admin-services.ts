/** Implements what the admin port asks for with the parts of the primary. */
import type { ClientMatch } from '../../contract/clients.ts';
import type { Clock } from '../../contract/clock.ts';
import type { PoolSettings, Settings } from '../../contract/settings.ts';
import type { Logger } from '../../infra/logging/logger.ts';
import type { BucketResets } from '../buckets/bucket-resets.ts';
import type { BucketViews } from '../buckets/bucket-views.ts';
import type { PrimaryDirectory } from '../clients/primary-directory.ts';
import type { HealthRegistry } from '../health/health-registry.ts';
import { backendInFlight, type PrimaryGauges } from '../metrics/gauges.ts';
import type { Reloader } from '../reloader.ts';
import type { Supervisor } from '../workers/supervisor.ts';
import { ownerOf } from './bucket-owner.ts';
import type {
  AdminServices,
  BackendStatus,
  Dependency,
  PoolStatus,
  Readiness,
  WorkerStatus,
} from './services.ts';

interface ServiceParts {
  clock: Clock;
  logger: Logger;
  directory: PrimaryDirectory;
  registry: HealthRegistry;
  supervisor: Supervisor;
  reloader: Reloader;
  gauges: PrimaryGauges;
  bucketViews: BucketViews;
  bucketResets: BucketResets;
  /** Phase of the primary as a whole. */
  phase: () => Readiness['status'];
}

/** makeAdminServices is called once by the primary's main. */
export function makeAdminServices(parts: ServiceParts): AdminServices {
  const { directory, logger, registry, reloader, gauges } = parts;
  const settings = (): Settings => reloader.current.settings;
  const setEnabled = (pool: string, backend: string, enabled: boolean): BackendStatus | null => {
    if (registry.setEnabled(pool, backend, enabled) === null) return null;
    return (
      poolsOf(parts, settings())
        .find((status) => status.settings.name === pool)
        ?.backends.find((status) => status.settings.id === backend) ?? null
    );
  };
  return {
    clients: directory.clients,
    apiKeys: directory.apiKeys,
    logger,
    buckets: async (clientId) => {
      const owner = await ownerIn(parts, clientId);
      return { bucketName: owner.bucketName, items: await parts.bucketViews.of(owner, reloader.current) };
    },
    resetBuckets: async (clientId) => parts.bucketResets.reset((await ownerIn(parts, clientId)).bucketName),
    countRequest: (route, status) => gauges.countAdminRequest(route, status),
    policyNames: () => settings().rateLimit.policies.map((policy) => policy.name),
    pools: () => poolsOf(parts, settings()),
    drainBackend: (pool, backend) => setEnabled(pool, backend, false),
    enableBackend: (pool, backend) => setEnabled(pool, backend, true),
    workers: () => workersOf(parts),
    reload: () => reloader.reload(),
    config: settings,
    readiness: () => readinessOf(parts, settings()),
    metricsText: () => gauges.text(),
  };
}

function ownerIn({ directory, reloader }: ServiceParts, clientId: string): Promise<ClientMatch> {
  const { identify } = reloader.current.settings.rateLimit;
  return ownerOf(clientId, { get: (id) => directory.clients.get(id), table: directory.feed.table, identify });
}

function poolsOf({ registry, supervisor }: ServiceParts, settings: Settings): PoolStatus[] {
  return settings.pools.map((pool) => ({
    settings: pool,
    backends: pool.backends.flatMap((backend) => {
      const state = registry.state(pool.name, backend.id);
      if (state === null) return [];
      return [{ settings: backend, state, inFlight: backendInFlight(supervisor, pool.name, backend.id) }];
    }),
  }));
}

function workersOf({ supervisor, clock }: ServiceParts): WorkerStatus[] {
  const nowMs = clock.wallMs();
  return supervisor.workers().flatMap(({ index, state, pid, startedAtMs, revision, report }) => {
    if (state === 'dead' || pid === null) return [];
    return [
      {
        id: index,
        pid,
        state,
        uptimeSec: Math.max(0, Math.round((nowMs - (startedAtMs ?? nowMs)) / 1000)),
        revision,
        connections: report?.connections ?? 0,
        requestsTotal: report?.requestsTotal ?? 0,
        inFlight: report?.inFlight ?? 0,
        loopDelayMs: report?.loopDelayMaxMs ?? 0,
      },
    ];
  });
}

function readinessOf(parts: ServiceParts, settings: Settings): Readiness {
  const { supervisor, directory, phase } = parts;
  const workers = supervisor.workers();
  const serving = supervisor.counts().serving;
  const degraded: Dependency[] = [];
  if (settings.redis !== null && isRedisAway(parts)) degraded.push('redis');
  if (directory.feed.degraded) degraded.push('postgres');
  if (settings.pools.some((pool) => !hasUsableBackend(parts, pool))) degraded.push('backends');
  const status = phase();
  return {
    // After the first `ready`, one serving worker is enough.
    status: status === 'ready' && serving === 0 ? 'starting' : status,
    degraded,
    workers: { serving, wanted: workers.length },
  };
}

function hasUsableBackend({ registry }: ServiceParts, { name, backends }: PoolSettings): boolean {
  return backends.some(({ id }) => {
    const state = registry.state(name, id);
    return state?.health === 'up' && state.enabled;
  });
}

/** Asks every worker's breaker and the primary's own connection, because a worker first reports after a second. */
function isRedisAway({ supervisor, bucketViews }: ServiceParts): boolean {
  const isConnected = bucketViews.connection?.ready ?? true;
  return !isConnected || supervisor.workers().some(({ report }) => report?.breakerOpen === true);
}
