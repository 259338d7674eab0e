import type { Backend } from '../balance/backend.ts';
import type { SlowStart } from '../balance/slow-start.ts';
import type { AuditedRequests } from '../contract/audited-requests.ts';
import type { ApiKeyLookup, ClientLookup } from '../contract/clients.ts';
import { type BackendAvailability, backendKey, type PoolPanic } from '../contract/health.ts';
import { type RouteSettings, UNMATCHED_ROUTE, type WorkerSettings } from '../contract/settings.ts';
import type { DeadlineTimer } from '../infra/deadline-timer.ts';
import { WorkerMetrics } from '../infra/worker-metrics.ts';
import { ApiKeyClients } from '../limit/caller/api-key-clients.ts';
import { CallerIdentifier } from '../limit/caller/identity.ts';
import type { RouteLimit, TokenTaker } from '../limit/charge.ts';
import type { Limiter } from '../limit/limiter/limiter.ts';
import { RateLimitFields } from '../limit/ratelimit-headers.ts';
import type { BackendConnections } from '../upstream/exchange.ts';
import { HttpsLocation } from './https-location.ts';
import { PRIORITIES } from './overload.ts';
import { type PlannedBackend, type PlannedPool, type PoolDeps, planPool } from './plan-pool.ts';
import type { Tracing } from './request-span.ts';
import { RouteCounters } from './request-stats.ts';
import { Router } from './router.ts';

/** `leased` and `alone` are for explanations. */
type PlanLimiter = TokenTaker & Pick<Limiter, 'leased' | 'alone'>;

export interface PlanDeps extends PoolDeps {
  slowStart: SlowStart;
  lookup: ClientLookup & ApiKeyLookup;
  limiter: PlanLimiter;
  tracing: Tracing | null;
}

export interface PlannedRoute {
  name: string;
  /** null: the route redirects. */
  pool: PlannedPool | null;
  /** Status of the redirect; null: the route has a pool. */
  redirectStatus: number | null;
  /** Protocols to which a request may switch, in lower case. */
  upgrade: readonly string[];
  /** Of its priority, in PRIORITIES. */
  priorityIndex: number;
  /** null: not limited. */
  limit: RouteLimit | null;
  stats: RouteCounters;
}

/** What admission needs of a plan. */
export type AdmissionPlan = Pick<Plan, 'limits' | 'identifier' | 'apiKeyHeader' | 'router' | 'secureRouter'>;

export class Plan {
  readonly limits: WorkerSettings['limits'];
  readonly timeouts: WorkerSettings['timeouts'];
  readonly accessLog: WorkerSettings['log']['access'];
  readonly audited: AuditedRequests;
  readonly timer: DeadlineTimer;
  /** For requests without TLS. */
  readonly router: Router<PlannedRoute>;
  /** For requests over TLS, which no redirect takes. */
  readonly secureRouter: Router<PlannedRoute>;
  readonly httpsLocation: HttpsLocation;
  readonly identifier: CallerIdentifier;
  /** Name of the API key field in lower case; '': API keys are not looked at. */
  readonly apiKeyHeader: string;
  readonly limitFields: RateLimitFields;
  /** A revision with another bucket store has another one; tokens go back to the one that took them. */
  readonly limiter: PlanLimiter;
  /** null: there are no traces. */
  readonly tracing: Tracing | null;
  /** Counts requests without a route. */
  readonly unmatchedStats: RouteCounters;
  readonly #pools = new Map<string, PlannedPool>();
  /** By backendKey. */
  readonly #backends = new Map<string, Backend>();
  readonly #slowStart: SlowStart;
  /** Makes an identifier that counts the use of API keys there. */
  readonly #identifierFor: (counts: WorkerMetrics) => CallerIdentifier;
  /** null until something is explained. */
  #uncounted: AdmissionPlan | null = null;
  #requestsInFlight = 0;
  /** Connections that the next plan does not take over; null until there is a next one. */
  #doomed: BackendConnections[] | null = null;

  /**
   * The constructor compiles a revision; worker/data-plane.ts then swaps plans and calls previous.supersede(next).
   * @param previous the plan in force, which does not change; null for the first one
   */
  constructor(settings: WorkerSettings, previous: Plan | null, deps: PlanDeps) {
    const { metrics, lookup } = deps;
    this.#slowStart = deps.slowStart;
    this.limits = settings.limits;
    this.timeouts = settings.timeouts;
    this.accessLog = settings.log.access;
    this.audited = settings.audit.requests;
    this.timer = deps.timer;
    for (const pool of settings.pools) {
      const before = previous === null ? undefined : previous.#pools.get(pool.name);
      this.#pools.set(pool.name, planPool(pool, before, deps));
    }
    for (const { poolName, backend } of this.backends())
      this.#backends.set(backendKey(poolName, backend.id), backend);
    const routes = settings.routes.map((route) => this.#planRoute(route, settings, metrics));
    this.router = new Router(routes);
    this.secureRouter = new Router(routes.filter(({ route }) => route.redirectStatus === null));
    this.httpsLocation = new HttpsLocation(settings.listen);
    const { trustedProxies } = settings;
    const { ipv4Prefix, ipv6Prefix, apiKeyHeader } = settings.rateLimit.identify;
    this.#identifierFor = (counts) => {
      const keys = apiKeyHeader === null ? null : new ApiKeyClients(lookup, counts);
      return new CallerIdentifier({ trustedProxies, ipv4Prefix, ipv6Prefix, lookup, keys });
    };
    this.identifier = this.#identifierFor(metrics);
    this.apiKeyHeader = apiKeyHeader ?? '';
    this.limiter = deps.limiter;
    this.tracing = deps.tracing;
    this.limitFields = new RateLimitFields(settings.rateLimit.headers);
    this.unmatchedStats = new RouteCounters(metrics, UNMATCHED_ROUTE);
  }

  /** uncounted is what admission needs of this plan, but counts no use of an API key; for explanations. */
  uncounted(): AdmissionPlan {
    const { limits, apiKeyHeader, router, secureRouter } = this;
    this.#uncounted ??= {
      ...{ limits, apiKeyHeader, router, secureRouter },
      identifier: this.#identifierFor(new WorkerMetrics()),
    };
    return this.#uncounted;
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

  /**
   * learn takes over what the primary says about backends; those that this plan does not have are ignored.
   * @param isNews false: settings repeat it for all backends, which ends no doubt and forgives no error
   */
  learn(
    { states, panics }: { states: readonly BackendAvailability[]; panics: readonly PoolPanic[] },
    isNews = true,
  ): void {
    for (const { pool, panic } of panics)
      for (const backend of this.#pools.get(pool)?.byBackend.keys() ?? []) backend.panic = panic;
    for (const { pool, backend, standing, rampedMs } of states) {
      const known = this.#backends.get(backendKey(pool, backend));
      if (known === undefined) continue;
      if (isNews || known.standing !== standing) known.standing = standing;
      this.#slowStart.set(known, rampedMs, this.#pools.get(pool)?.slowStartMs ?? 0);
    }
  }

  /** find is the backend with this id, if this plan has it. */
  find(pool: string, id: string): Backend | undefined {
    return this.#backends.get(backendKey(pool, id));
  }

  *backends(): Generator<PlannedBackend> {
    for (const pool of this.#pools.values()) yield* pool.byBackend.values();
  }

  #planRoute(
    { name, match, pool: poolName, redirect, upgrade, priority, rateLimit }: RouteSettings,
    { rateLimit: { policies } }: WorkerSettings,
    metrics: WorkerMetrics,
  ): { match: RouteSettings['match']; route: PlannedRoute } {
    const pool = poolName === null ? null : known(this.#pools.get(poolName), `pool ${poolName}`);
    const priorityIndex = PRIORITIES.indexOf(priority);
    const action = { name, pool, redirectStatus: redirect?.status ?? null, upgrade, priorityIndex };
    const stats = new RouteCounters(metrics, name);
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

/** config/ has checked all names; a worker that is told otherwise must not serve. */
function known<T>(found: T | undefined, name: string): T {
  if (found === undefined) throw new Error(`a route names the unknown ${name}`);
  return found;
}
