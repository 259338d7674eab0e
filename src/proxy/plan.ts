/**
 * A plan is everything that a worker compiles from one revision of the settings. It is swapped as a whole, and a request keeps the
 * plan that it began with. What must survive a reload is carried over: backends with their state, connections to backends whose
 * address and timeouts did not change, and counters.
 */
import { isDeepStrictEqual } from 'node:util';
import { type Algorithm, type AlgorithmOptions, makeAlgorithm } from '../balance/algorithm.ts';
import { type Backend, keepBackends } from '../balance/backend.ts';
import { hostPort } from '../contract/addresses.ts';
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
import type { DeadlineTimer } from '../infra/deadline-timer.ts';
import type { WorkerMetrics } from '../infra/metrics.ts';
import type { WireMaker } from '../infra/wire/wire.ts';
import { KeyedClients } from '../limit/caller/api-key-clients.ts';
import { ClientIdentifier } from '../limit/caller/identity.ts';
import type { RouteLimit } from '../limit/charge.ts';
import { RateLimitFields } from '../limit/ratelimit-headers.ts';
import { BackendPool } from '../upstream/connection-pool.ts';
import { BackendStats, RouteStats } from './request-stats.ts';
import { Router } from './router.ts';

export interface PlanDeps extends AlgorithmOptions {
  timer: DeadlineTimer;
  metrics: WorkerMetrics;
  lookup: ClientLookup;
  apiKeys: ApiKeyLookup;
  wires: WireMaker;
  /** Hears of errors inside connections to backends that should not exist. */
  onFault: (error: Error) => void;
}

/** PlannedBackend is a backend with its connections. */
export interface PlannedBackend {
  poolName: string;
  backend: Backend;
  connections: BackendPool;
  stats: BackendStats;
  /** Those of the connections. */
  timeouts: PoolSettings['timeouts'];
  /** Value of Host where a client sent none. */
  authority: string;
}

export interface PlannedPool {
  algorithm: Algorithm;
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

export class Plan {
  readonly limits: LimitSettings;
  readonly timeouts: TimeoutSettings;
  readonly accessLog: LogSettings['access'];
  readonly router: Router<PlannedRoute>;
  readonly identifier: ClientIdentifier;
  /** Name of the API key field in lower case; '': API keys are not looked at. */
  readonly apiKeyHeader: string;
  readonly limitFields: RateLimitFields;
  /** Counts requests without a route. */
  readonly unmatchedStats: RouteStats;
  readonly #pools = new Map<string, PlannedPool>();
  #requestsInFlight = 0;
  /** Connections that the next plan does not share; null until there is a next one. */
  #doomed: BackendPool[] | null = null;

  /**
   * The constructor compiles a revision; worker/data-plane.ts then swaps plans and calls previous.supersede(next).
   * @param previous the plan in force, which does not change; null for the first one
   */
  constructor(settings: WorkerSettings, previous: Plan | null, deps: PlanDeps) {
    const { metrics, lookup, apiKeys } = deps;
    this.limits = settings.limits;
    this.timeouts = settings.timeouts;
    this.accessLog = settings.log.access;
    for (const pool of settings.pools) {
      const before = previous === null ? undefined : previous.#pools.get(pool.name);
      this.#pools.set(pool.name, planPool(pool, before?.byBackend ?? new Map(), deps));
    }
    const routes = settings.routes.map((route) => ({
      match: route.match,
      route: planRoute(route, settings, this.#pools, metrics),
    }));
    this.router = new Router(routes);
    const { trustedProxies } = settings;
    const { ipv4Prefix, ipv6Prefix, apiKeyHeader } = settings.rateLimit.identify;
    const keys = apiKeyHeader === null ? null : new KeyedClients(apiKeys, metrics);
    this.identifier = new ClientIdentifier({ trustedProxies, ipv4Prefix, ipv6Prefix, lookup, keys });
    this.apiKeyHeader = apiKeyHeader ?? '';
    this.limitFields = new RateLimitFields(settings.rateLimit.headers);
    this.unmatchedStats = new RouteStats(metrics, UNMATCHED_ROUTE);
  }

  /** enter and leave frame every request. */
  enter(): void {
    this.#requestsInFlight += 1;
  }

  leave(): void {
    this.#requestsInFlight -= 1;
    this.#closeDoomed();
  }

  /** supersede is called when `next` has taken over: connections that it does not share close with the last request of this plan. */
  supersede(next: Plan): void {
    const kept = new Set([...next.backends()].map(({ connections }) => connections));
    this.#doomed = [...this.backends()].map(({ connections }) => connections).filter((c) => !kept.has(c));
    this.#closeDoomed();
  }

  /** Whether a later plan took over and the last request of this one has ended. */
  get isOver(): boolean {
    return this.#doomed !== null && this.#requestsInFlight === 0;
  }

  /** close closes all connections to backends, at the end of a worker. */
  close(): void {
    for (const { connections } of this.backends()) connections.close();
  }

  *backends(): Generator<PlannedBackend> {
    for (const pool of this.#pools.values()) yield* pool.byBackend.values();
  }

  #closeDoomed(): void {
    if (this.#doomed === null || this.#requestsInFlight > 0) return;
    for (const connections of this.#doomed) connections.close();
    this.#doomed = [];
  }
}

function planPool(pool: PoolSettings, previous: PlannedPool['byBackend'], deps: PlanDeps): PlannedPool {
  const backends = keepBackends(pool, [...previous.keys()]);
  const planned = backends.map((backend) => {
    const before = previous.get(backend);
    const isSame = before !== undefined && isDeepStrictEqual(before.timeouts, pool.timeouts);
    return isSame ? before : planBackend(pool, backend, deps);
  });
  const retriesCell = (reason: string): number =>
    deps.metrics.series('sluice_retries_total', pool.name, reason);
  return {
    algorithm: makeAlgorithm(pool.balance, backends, deps),
    byBackend: new Map(planned.map((each) => [each.backend, each])),
    connectRetriesCell: retriesCell('connect'),
    freshRetriesCell: retriesCell('reused_socket'),
  };
}

function planBackend({ name, timeouts }: PoolSettings, backend: Backend, deps: PlanDeps): PlannedBackend {
  const { timer, metrics, onFault, wires } = deps;
  const { host, port, id } = backend;
  const stats = new BackendStats(metrics, name, id);
  const onConnected = (connectMs: number): void => stats.connected(connectMs);
  return {
    poolName: name,
    backend,
    connections: new BackendPool({ host, port, ...timeouts, timer, wires, onFault, onConnected }),
    stats,
    timeouts,
    authority: hostPort(host, port),
  };
}

function planRoute(
  { name, pool: poolName, rateLimit }: RouteSettings,
  settings: WorkerSettings,
  pools: ReadonlyMap<string, PlannedPool>,
  metrics: WorkerMetrics,
): PlannedRoute {
  const pool = pools.get(poolName);
  // config/ has checked all names; a worker that is told otherwise must not serve.
  if (pool === undefined) throw new Error(`route ${name} names the unknown pool ${poolName}`);
  const limit = planLimit(name, rateLimit, settings.rateLimit);
  return { name, pool, limit, stats: new RouteStats(metrics, name) };
}

function planLimit(
  routeName: string,
  limit: RouteSettings['rateLimit'],
  { enabled, policies }: RateLimitSettings,
): RouteLimit | null {
  if (!enabled || limit === null) return null;
  const [first, ...others] = limit.policies.map((wanted) => {
    const policy = policies.find(({ name }) => name === wanted);
    if (policy === undefined) throw new Error(`route ${routeName} names the unknown policy ${wanted}`);
    return policy;
  });
  return first === undefined ? null : { policies: [first, ...others], cost: limit.cost };
}
