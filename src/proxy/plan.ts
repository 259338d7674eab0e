/**
 * A plan is everything that a worker compiles from one revision of the settings. It is replaced as a whole, and a request keeps
 * the plan that it began with. The next plan takes over backends with their state, connections to backends whose address and
 * transport (timeouts, protocol, TLS, PROXY header) did not change, and counters.
 */
import { isDeepStrictEqual } from 'node:util';
import { type Algorithm, type AlgorithmOptions, makeAlgorithm } from '../balance/algorithm.ts';
import { type Backend, keepBackends } from '../balance/backend.ts';
import { hostPort } from '../contract/addresses.ts';
import type { ApiKeyLookup, ClientLookup } from '../contract/clients.ts';
import { type BackendAvailability, backendKey } from '../contract/health.ts';
import {
  type PoolSettings,
  type RouteSettings,
  UNMATCHED_ROUTE,
  type WorkerSettings,
} from '../contract/settings.ts';
import type { DeadlineTimer } from '../infra/deadline-timer.ts';
import { BackendTls } from '../infra/wire/backend-tls.ts';
import type { WireMaker } from '../infra/wire/wire-maker.ts';
import type { WorkerMetrics } from '../infra/worker-metrics.ts';
import { ApiKeyClients } from '../limit/caller/api-key-clients.ts';
import { CallerIdentifier } from '../limit/caller/identity.ts';
import type { RouteLimit } from '../limit/charge.ts';
import { RateLimitFields } from '../limit/ratelimit-headers.ts';
import { processBodyBuffers } from '../memory/body-buffers.ts';
import { ConnectionPool } from '../upstream/connection-pool.ts';
import type { BackendConnections } from '../upstream/exchange.ts';
import { H2Pool } from '../upstream/h2/h2-pool.ts';
import { HttpsLocation } from './https-location.ts';
import { backendCounters, routeCounters, type TimedCounters } from './request-stats.ts';
import { Router } from './router.ts';

const SECOND_MS = 1000;

export interface PlanDeps extends AlgorithmOptions {
  timer: DeadlineTimer;
  metrics: WorkerMetrics;
  lookup: ClientLookup & ApiKeyLookup;
  wires: WireMaker;
  /** Called with an error that only a bug of Sluice can cause, such as a sink that threw. */
  onFault: (error: Error) => void;
  /** A connection to a backend could not be opened, and this machine was not the cause. */
  onBackendFailure: (pool: string, backendId: string, detail: string) => void;
}

/** PlannedBackend is a backend with its connections. */
export interface PlannedBackend {
  poolName: string;
  backend: Backend;
  connections: BackendConnections;
  stats: TimedCounters;
  /** What the connections were made with. */
  transport: Transport;
  /** Value of Host where a client sent none. */
  authority: string;
}

/** How to connect to a backend: with another one, its connections are made anew. */
type Transport = Pick<PoolSettings, 'timeouts' | 'tls' | 'protocol' | 'proxyProtocol'>;

interface PlannedPool {
  algorithm: Algorithm;
  byBackend: ReadonlyMap<Backend, PlannedBackend>;
  /** Cells of sluice_retries_total. */
  retryCells: Readonly<Record<'other' | 'fresh', number>>;
}

export interface PlannedRoute {
  name: string;
  /** null: the route redirects. */
  pool: PlannedPool | null;
  /** Status of the redirect; null: the route has a pool. */
  redirectStatus: number | null;
  /** Protocols to which a request may switch, in lower case. */
  upgrade: readonly string[];
  /** null: not limited. */
  limit: RouteLimit | null;
  stats: TimedCounters;
}

export class Plan {
  readonly limits: WorkerSettings['limits'];
  readonly timeouts: WorkerSettings['timeouts'];
  readonly accessLog: WorkerSettings['log']['access'];
  /** For requests without TLS. */
  readonly router: Router<PlannedRoute>;
  /** For requests over TLS, which no redirect takes. */
  readonly secureRouter: Router<PlannedRoute>;
  readonly httpsLocation: HttpsLocation;
  readonly identifier: CallerIdentifier;
  /** Name of the API key field in lower case; '': API keys are not looked at. */
  readonly apiKeyHeader: string;
  readonly limitFields: RateLimitFields;
  /** Counts requests without a route. */
  readonly unmatchedStats: TimedCounters;
  readonly #pools = new Map<string, PlannedPool>();
  /** By backendKey. */
  readonly #backends = new Map<string, Backend>();
  #requestsInFlight = 0;
  /** Connections that the next plan does not take over; null until there is a next one. */
  #doomed: BackendConnections[] | null = null;

  /**
   * The constructor compiles a revision; worker/data-plane.ts then swaps plans and calls previous.supersede(next).
   * @param previous the plan in force, which does not change; null for the first one
   */
  constructor(settings: WorkerSettings, previous: Plan | null, deps: PlanDeps) {
    const { metrics, lookup } = deps;
    this.limits = settings.limits;
    this.timeouts = settings.timeouts;
    this.accessLog = settings.log.access;
    for (const pool of settings.pools) {
      const before = previous === null ? undefined : previous.#pools.get(pool.name);
      this.#pools.set(pool.name, planPool(pool, before?.byBackend ?? new Map(), deps));
    }
    for (const { poolName, backend } of this.backends())
      this.#backends.set(backendKey(poolName, backend.id), backend);
    const routes = settings.routes.map((route) => this.#planRoute(route, settings, metrics));
    this.router = new Router(routes);
    this.secureRouter = new Router(routes.filter(({ route }) => route.redirectStatus === null));
    this.httpsLocation = new HttpsLocation(settings.listen);
    const { trustedProxies } = settings;
    const { ipv4Prefix, ipv6Prefix, apiKeyHeader } = settings.rateLimit.identify;
    const keys = apiKeyHeader === null ? null : new ApiKeyClients(lookup, metrics);
    this.identifier = new CallerIdentifier({ trustedProxies, ipv4Prefix, ipv6Prefix, lookup, keys });
    this.apiKeyHeader = apiKeyHeader ?? '';
    this.limitFields = new RateLimitFields(settings.rateLimit.headers);
    this.unmatchedStats = routeCounters(metrics, UNMATCHED_ROUTE);
  }

  /** enter is called at the start of each request, leave at its end. */
  enter(): void {
    this.#requestsInFlight += 1;
  }

  leave(): void {
    this.#requestsInFlight -= 1;
    this.#closeDoomed();
  }

  /** supersede is called when `next` is in force: connections that it did not take over close with the last request of this plan. */
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

  /** learn takes over what the primary says about backends; those that this plan does not have are ignored. */
  learn(states: readonly BackendAvailability[]): void {
    for (const { pool, backend, healthy, enabled } of states) {
      const known = this.#backends.get(backendKey(pool, backend));
      if (known !== undefined) Object.assign(known, { healthy, enabled });
    }
  }

  *backends(): Generator<PlannedBackend> {
    for (const pool of this.#pools.values()) yield* pool.byBackend.values();
  }

  #planRoute(
    { name, match, pool: poolName, redirect, upgrade, rateLimit }: RouteSettings,
    { rateLimit: { policies } }: WorkerSettings,
    metrics: WorkerMetrics,
  ): { match: RouteSettings['match']; route: PlannedRoute } {
    const pool = poolName === null ? null : known(this.#pools.get(poolName), `pool ${poolName}`);
    const action = { name, pool, redirectStatus: redirect?.status ?? null, upgrade };
    const stats = routeCounters(metrics, name);
    if (rateLimit === null) return { match, route: { ...action, limit: null, stats } };
    const [first, ...others] = rateLimit.policies.map((wanted) => {
      const policy = policies.find((each) => each.name === wanted);
      return known(policy, `policy ${wanted}`);
    });
    const limit = { policies: [known(first, 'policy'), ...others] as const, cost: rateLimit.cost };
    return { match, route: { ...action, limit, stats } };
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
    const { timeouts, tls, protocol, proxyProtocol } = pool;
    const transport = { timeouts, tls: backend.tls ? tls : null, protocol, proxyProtocol };
    const isSame = before !== undefined && isDeepStrictEqual(before.transport, transport);
    return isSame ? before : planBackend(pool.name, backend, transport, deps);
  });
  const cellOf = (reason: string): number => deps.metrics.series('sluice_retries_total', pool.name, reason);
  return {
    algorithm: makeAlgorithm(pool.balance, backends, deps),
    byBackend: new Map(planned.map((each) => [each.backend, each])),
    retryCells: { other: cellOf('connect'), fresh: cellOf('reused_socket') },
  };
}

function planBackend(
  poolName: string,
  backend: Backend,
  transport: Transport,
  deps: PlanDeps,
): PlannedBackend {
  const { timer, metrics, onFault, wires } = deps;
  const { host, port, id } = backend;
  const buffers = processBodyBuffers;
  const connectCell = metrics.series('sluice_upstream_connect_seconds', poolName, id);
  const onConnected = (connectMs: number): void => metrics.observe(connectCell, connectMs / SECOND_MS);
  const isH2 = transport.protocol === 'h2';
  const alpn = isH2 ? 'h2' : 'http/1.1';
  const tls = transport.tls === null ? undefined : new BackendTls(host, transport.tls, { protocol: alpn });
  const { timeouts, proxyProtocol } = transport;
  const settings = {
    host,
    port,
    tls,
    proxyProtocol,
    ...timeouts,
    timer,
    wires,
    buffers,
    onFault,
    onConnected,
    onConnectFailed: (detail: string) => deps.onBackendFailure(poolName, id, detail),
  };
  return {
    poolName,
    backend,
    connections: isH2 ? new H2Pool(settings) : new ConnectionPool(settings),
    stats: backendCounters(metrics, poolName, id),
    transport,
    authority: hostPort(host, port),
  };
}

/** config/ has checked all names; a worker that is told otherwise must not serve. */
function known<T>(found: T | undefined, name: string): T {
  if (found === undefined) throw new Error(`a route names the unknown ${name}`);
  return found;
}
