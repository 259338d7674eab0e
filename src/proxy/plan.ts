/**
 * A plan is everything that a worker compiles from one revision of the settings, swapped as a whole: a request keeps the
 * plan it began with. What must outlive a reload is carried over from the plan before: the backends with their state,
 * the connections to those whose address and timeouts did not change, and the counters.
 */
import type { Backend } from '../balance/backend.ts';
import { keepBackends } from '../balance/backend.ts';
import { BackendSet } from '../balance/backend-set.ts';
import type { ApiKeyLookup, ClientLookup } from '../contract/clients.ts';
import {
  type LimitSettings,
  type LogSettings,
  type PoolSettings,
  type RateLimitSettings,
  type RouteSettings,
  type TimeoutSettings,
  UNMATCHED_ROUTE,
  type WorkerSettings,
} from '../contract/settings.ts';
import type { DeadlineWheel } from '../infra/deadline-wheel.ts';
import type { WorkerMetrics } from '../infra/metrics.ts';
import type { WireMaker } from '../infra/wire/wire.ts';
import { KeyedClients } from '../limit/caller/api-key-clients.ts';
import { ClientIdentifier, TrustedProxies } from '../limit/caller/identity.ts';
import type { RouteLimit } from '../limit/charge.ts';
import { RateLimitFields } from '../limit/ratelimit-headers.ts';
import { BackendPool } from '../upstream/connection-pool.ts';
import { BackendStats, RouteStats } from './request-stats.ts';
import { Router } from './router.ts';

export interface PlanDeps {
  wheel: DeadlineWheel;
  metrics: WorkerMetrics;
  lookup: ClientLookup;
  /** Default: no key is accepted. */
  apiKeys?: ApiKeyLookup;
  /** This worker among its peers, for the starting point of round robin (B1). */
  workerIndex: number;
  workerCount: number;
  /** Uniform in [0, 1). */
  random: () => number;
  wires: WireMaker;
  /** Hears of errors inside the connections to backends that should not exist; default: a process warning. */
  onFault?: (error: Error) => void;
}

/** PlannedBackend is a backend with the way to it. */
export interface PlannedBackend {
  poolName: string;
  backend: Backend;
  connections: BackendPool;
  stats: BackendStats;
  /** What the connections were made with; a change makes new ones. */
  timeouts: PoolSettings['timeouts'];
  /** For `Host` where a client sent none. */
  authority: string;
}

export interface PlannedPool {
  name: string;
  set: BackendSet;
  byBackend: ReadonlyMap<Backend, PlannedBackend>;
  connectRetriesCell: number;
  freshRetriesCell: number;
}

export interface PlannedRoute {
  name: string;
  pool: PlannedPool;
  /** null: not limited. */
  limit: RouteLimit | null;
  stats: RouteStats;
}

interface PlanParts {
  revision: number;
  policyVersionUs: number;
  settings: WorkerSettings;
  router: Router<PlannedRoute>;
  pools: ReadonlyMap<string, PlannedPool>;
  trusted: TrustedProxies;
  identifier: ClientIdentifier;
  unmatchedStats: RouteStats;
}

export class Plan {
  readonly revision: number;
  readonly policyVersionUs: number;
  readonly limits: LimitSettings;
  readonly timeouts: TimeoutSettings;
  readonly accessLog: LogSettings['access'];
  readonly router: Router<PlannedRoute>;
  readonly pools: ReadonlyMap<string, PlannedPool>;
  readonly trusted: TrustedProxies;
  readonly identifier: ClientIdentifier;
  /** Name of the field with API keys in lower case; '': keys mean nothing. */
  readonly apiKeyHeader: string;
  /** How answers tell of limits. */
  readonly limitFields: RateLimitFields;
  /** Counts requests that met no route. */
  readonly unmatchedStats: RouteStats;
  #requestsInFlight = 0;
  /** Connections that the next plan has no use for; null until there is a next one. */
  #doomed: BackendPool[] | null = null;

  /** Made by buildPlan only. */
  constructor(parts: PlanParts) {
    this.revision = parts.revision;
    this.policyVersionUs = parts.policyVersionUs;
    this.limits = parts.settings.limits;
    this.timeouts = parts.settings.timeouts;
    this.accessLog = parts.settings.log.access;
    this.router = parts.router;
    this.pools = parts.pools;
    this.trusted = parts.trusted;
    this.identifier = parts.identifier;
    this.apiKeyHeader = parts.settings.rateLimit.identify.apiKeyHeader ?? '';
    this.limitFields = new RateLimitFields(parts.settings.rateLimit.headers);
    this.unmatchedStats = parts.unmatchedStats;
  }

  /** enter and leave frame every request. */
  enter(): void {
    this.#requestsInFlight += 1;
  }

  leave(): void {
    this.#requestsInFlight -= 1;
    this.#closeDoomed();
  }

  /** supersede is called when `next` took over: connections it does not share close with the last request of this plan. */
  supersede(next: Plan): void {
    const kept = new Set([...next.backends()].map(({ connections }) => connections));
    this.#doomed = [...this.backends()].map(({ connections }) => connections).filter((c) => !kept.has(c));
    this.#closeDoomed();
  }

  /** close gives all connections up; for the end of a worker. */
  close(): void {
    for (const { connections } of this.backends()) connections.close();
  }

  *backends(): Generator<PlannedBackend> {
    for (const pool of this.pools.values()) yield* pool.byBackend.values();
  }

  #closeDoomed(): void {
    if (this.#doomed === null || this.#requestsInFlight > 0) return;
    for (const connections of this.#doomed) connections.close();
    this.#doomed = [];
  }
}

interface PlanInput {
  settings: WorkerSettings;
  revision: number;
  policyVersionUs: number;
  /** The plan in force; it is not changed, and told by supersede once the new one is. */
  previous: Plan | null;
  deps: PlanDeps;
}

/** buildPlan compiles a revision; the worker's main calls it, swaps plans and calls previous.supersede(next). */
export function buildPlan({ settings, revision, policyVersionUs, previous, deps }: PlanInput): Plan {
  const pools = new Map<string, PlannedPool>();
  for (const pool of settings.pools) {
    pools.set(pool.name, planPool(pool, previous?.pools.get(pool.name) ?? null, deps));
  }
  const routes = settings.routes.map((route) => ({
    match: route.match,
    route: planRoute(route, settings, pools, deps),
  }));
  const trusted = new TrustedProxies(settings.trustedProxies);
  const { ipv4Prefix, ipv6Prefix, apiKeyHeader } = settings.rateLimit.identify;
  const { lookup, apiKeys, metrics } = deps;
  const keys = apiKeyHeader === null || apiKeys === undefined ? null : new KeyedClients(apiKeys, metrics);
  return new Plan({
    revision,
    policyVersionUs,
    settings,
    router: new Router(routes),
    pools,
    trusted,
    identifier: new ClientIdentifier({ trusted, ipv4Prefix, ipv6Prefix, lookup, keys }),
    unmatchedStats: new RouteStats(deps.metrics, UNMATCHED_ROUTE),
  });
}

function planPool(settings: PoolSettings, previous: PlannedPool | null, deps: PlanDeps): PlannedPool {
  const { name } = settings;
  const backends = keepBackends(settings, previous?.set.backends ?? []);
  const byBackend = new Map<Backend, PlannedBackend>();
  for (const backend of backends) {
    const before = previous?.byBackend.get(backend);
    const reusable = before !== undefined && sameTimeouts(before.timeouts, settings.timeouts);
    byBackend.set(backend, reusable ? before : planBackend(settings, backend, deps));
  }
  return {
    name,
    set: new BackendSet(settings, backends, deps),
    byBackend,
    connectRetriesCell: deps.metrics.series('sluice_retries_total', name, 'connect'),
    freshRetriesCell: deps.metrics.series('sluice_retries_total', name, 'reused_socket'),
  };
}

function planBackend(pool: PoolSettings, backend: Backend, deps: PlanDeps): PlannedBackend {
  const { wheel, metrics, onFault, wires } = deps;
  const { host, port, id } = backend;
  return {
    poolName: pool.name,
    backend,
    connections: new BackendPool({
      host,
      port,
      ...pool.timeouts,
      wheel,
      wires,
      ...(onFault && { onFault }),
    }),
    stats: new BackendStats(metrics, pool.name, id),
    timeouts: pool.timeouts,
    authority: host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`,
  };
}

function sameTimeouts(a: PoolSettings['timeouts'], b: PoolSettings['timeouts']): boolean {
  return a.connectMs === b.connectMs && a.responseMs === b.responseMs && a.idleMs === b.idleMs;
}

function planRoute(
  route: RouteSettings,
  settings: WorkerSettings,
  pools: ReadonlyMap<string, PlannedPool>,
  { metrics }: PlanDeps,
): PlannedRoute {
  const pool = pools.get(route.pool);
  // config/ has checked it; a worker that is told otherwise must not serve.
  if (pool === undefined) throw new Error(`route ${route.name} names the unknown pool ${route.pool}`);
  return {
    name: route.name,
    pool,
    limit: planLimit(route, settings.rateLimit),
    stats: new RouteStats(metrics, route.name),
  };
}

function planLimit(
  { name, rateLimit }: RouteSettings,
  { enabled, policies }: RateLimitSettings,
): RouteLimit | null {
  if (!enabled || rateLimit === null) return null;
  const [first, ...others] = rateLimit.policies.map((wanted) => {
    const policy = policies.find((known) => known.name === wanted);
    if (policy === undefined) throw new Error(`route ${name} names the unknown policy ${wanted}`);
    return policy;
  });
  return first === undefined ? null : { policies: [first, ...others], cost: rateLimit.cost };
}
