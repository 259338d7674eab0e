/**
 * Completes the settings that a test gives. The rest are the product's defaults, but without health checks, limits and
 * listeners.
 */
import type {
  HealthCheckSettings,
  PoolSettings,
  PoolTlsSettings,
  RetrySettings,
} from '../../src/contract/pool-settings.ts';
import type {
  AdminSettings,
  ListenAddress,
  PolicySettings,
  RouteSettings,
  WorkerSettings,
} from '../../src/contract/settings.ts';
import type { Certificate } from './certificates.ts';

export function healthCheckSettings(more: Partial<HealthCheckSettings> = {}): HealthCheckSettings {
  const counts = { rise: 2, fall: 3 };
  const times = { intervalMs: 2_000, timeoutMs: 1_000 };
  return {
    type: 'http',
    path: '/health',
    service: '',
    host: null,
    port: 0,
    method: 'GET',
    headers: {},
    expectBody: null,
    ...times,
    ...counts,
    expectStatus: { from: 200, to: 399 },
    ...more,
  };
}

/** adminSettings are of an admin port on any free port, open to everybody on this machine; also for scripts/admin-api-page.ts. */
export function adminSettings(more: Partial<AdminSettings> = {}): AdminSettings {
  const tokens = { token: null, readToken: null };
  return { host: '127.0.0.1', port: 0, ...tokens, publicMetrics: false, hosts: [], ...more };
}

export function retrySettings(more: Partial<RetrySettings> = {}): RetrySettings {
  const budget = { budgetPercent: 20, minConcurrent: 3 };
  return { attempts: 1, ...budget, nonIdempotent: false, onStatus: [], perTryMs: null, ...more };
}

export function limitsSettings(more: Partial<PoolSettings['limits']> = {}): PoolSettings['limits'] {
  return { maxConcurrentPerBackend: 1024, queue: 1024, queueTimeoutMs: 1_000, ...more };
}

/** poolSettings makes the pool `app`, without backends and without a health check. */
export function poolSettings(more: Partial<PoolSettings> = {}): PoolSettings {
  const timeouts = { connectMs: 5_000, responseMs: 60_000, idleMs: 60_000 };
  return {
    name: 'app',
    balance: 'round_robin',
    backends: [],
    healthCheck: null,
    outlier: null,
    panicThresholdPercent: 50,
    slowStartMs: 0,
    timeouts,
    retry: retrySettings(),
    limits: limitsSettings(),
    adaptive: 'off',
    tls: null,
    protocol: 'http1',
    proxyProtocol: 'off',
    ...more,
  };
}

/** backendTlsSettings is TLS with the authorities that Node.js trusts. */
export function backendTlsSettings(
  more: Partial<Omit<PoolTlsSettings, 'ca' | 'cert' | 'key'>> & {
    ca?: { cert: string };
    own?: Certificate;
  } = {},
): PoolTlsSettings {
  const { ca, own, ...rest } = more;
  const file = (path: string, pem: string) => ({ path, pem });
  return {
    ca: ca === undefined ? null : file('ca.pem', ca.cert),
    cert: own === undefined ? null : file(own.certPath, own.cert),
    key: own === undefined ? null : file(own.keyPath, own.key),
    serverName: null,
    verify: true,
    ...rest,
  };
}

/** routeSettings makes a route to the pool `app` for every request, without a limit. */
export function routeSettings(
  name: string,
  match: Partial<RouteSettings['match']> = {},
  more: Partial<RouteSettings> = {},
): RouteSettings {
  const any = { host: null, path: null, methods: null };
  return {
    name,
    match: { ...any, ...match },
    pool: 'app',
    redirect: null,
    upgrade: ['websocket'],
    priority: 'normal',
    rateLimit: null,
    ...more,
  };
}

/** policySettings makes the policy `default`: 100 tokens, with almost no refill. */
export function policySettings(more: Partial<PolicySettings> = {}): PolicySettings {
  const limits = { capacity: 100, refillPerSecond: 0.001 };
  return { name: 'default', onStoreFailure: 'local', shadow: false, ...limits, ...more };
}

/** Settings in which every section may be partial. */
export type WorkerSettingsParts = Partial<
  Omit<WorkerSettings, 'limits' | 'timeouts' | 'rateLimit' | 'log'>
> & {
  limits?: Partial<WorkerSettings['limits']>;
  timeouts?: Partial<WorkerSettings['timeouts']>;
  rateLimit?: Partial<WorkerSettings['rateLimit']>;
  log?: Partial<WorkerSettings['log']>;
};

/** plain is an entry of `listen` for HTTP/1.1 without TLS. */
export function plain<Address extends ListenAddress>(address: Address) {
  return { ...address, tls: null, http2: false, h2c: false, proxyProtocol: null };
}

/** workerSettings is what the primary would send to a worker. */
export function workerSettings(more: WorkerSettingsParts = {}): WorkerSettings {
  const identify = { apiKeyHeader: null, ipv4Prefix: 32, ipv6Prefix: 64 };
  const head = { targetBytes: 8_192, headerBytes: 16_384, headerCount: 100 };
  const idle = { bodyIdleMs: 60_000, writeIdleMs: 60_000, keepAliveMs: 75_000, tunnelIdleMs: 300_000 };
  return {
    listen: [],
    workers: 1,
    accept: 'shared',
    trustedProxies: [],
    pools: [],
    routes: [],
    redis: null,
    overload: { eventLoopDelayMs: 100, heapPercent: { soften: 92, shed: 95 } },
    primary: { graceWithoutMs: 0 },
    tracing: null,
    audit: { adminChanges: true, requests: 'off', retentionMs: 30 * 86_400_000 },
    ...more,
    rateLimit: {
      enabled: true,
      identify,
      policies: [],
      instances: 1,
      leases: true,
      headers: 'draft',
      ...more.rateLimit,
    },
    limits: {
      bodyBytes: 1_048_576,
      ...head,
      connections: 0,
      connectionsPerIp: 0,
      bodyMinRate: 0,
      ...more.limits,
    },
    timeouts: { headersMs: 10_000, ...idle, drainGraceMs: 0, drainMs: 5_000, ...more.timeouts },
    log: { level: 'error', format: 'json', file: null, access: { enabled: true, sample: 1 }, ...more.log },
  };
}
