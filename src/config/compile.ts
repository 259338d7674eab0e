/** Turns a file that passed every check into the Settings that all parts read. */
import { hostPort } from '../contract/addresses.ts';
import {
  type AdminSettings,
  type BackendSettings,
  DEFAULT_NAME,
  type HealthCheckSettings,
  type PoolSettings,
  type RateLimitSettings,
  type RedisServers,
  type RedisSettings,
  type RouteSettings,
  type Settings,
} from '../contract/settings.ts';
import type { FileConfig } from './schema/schema.ts';
import { DEFAULT_REDIS_URL } from './schema/schema-redis.ts';

/** compileSettings fills in values that depend on other keys, and freezes the result; for loadConfig. */
export function compileSettings(config: FileConfig): Settings {
  const rateLimit = compileRateLimit(config.rateLimit);
  const { database, redis, timeouts, admin } = config;
  return frozen({
    listen: config.listen.map(({ address }) => address),
    admin: compileAdmin(admin),
    workers: config.workers,
    accept: config.accept,
    trustedProxies: [...new Set(config.trustedProxies)],
    pools: Object.entries(config.pools).map(([name, pool]) => compilePool(name, pool)),
    routes: compileRoutes(config, rateLimit),
    rateLimit,
    redis: redis === undefined ? null : compileRedis(redis),
    database: { url: database.url === '' ? null : database.url, embeddedPath: database.embeddedPath },
    limits: config.limits,
    timeouts: {
      headersMs: timeouts.headers,
      bodyIdleMs: timeouts.bodyIdle,
      writeIdleMs: timeouts.writeIdle,
      keepAliveMs: timeouts.keepAlive,
      drainGraceMs: timeouts.drainGrace,
      drainMs: timeouts.drain,
    },
    log: config.log,
    secrets: { apiKeys: config.secrets.apiKeys || null },
  });
}

/** compileAdmin compiles the block `admin` alone; for loadAdmin. */
export function compileAdmin({ address, token, publicMetrics, hosts }: FileConfig['admin']): AdminSettings {
  const { host, port } = address;
  return { host, port, token: token || null, publicMetrics, hosts: [...new Set(hosts)] };
}

function compileRedis({
  url,
  cluster,
  sentinel,
  prefix,
  timeout,
}: NonNullable<FileConfig['redis']>): RedisSettings {
  let servers: RedisServers = { kind: 'single', url: url ?? DEFAULT_REDIS_URL };
  if (cluster !== undefined) servers = { kind: 'cluster', urls: cluster };
  if (sentinel !== undefined) servers = { kind: 'sentinel', master: sentinel.master, urls: sentinel.nodes };
  return { servers, prefix, timeoutMs: timeout };
}

type FilePool = FileConfig['pools'][string];

function compilePool(name: string, { balance, backends, healthCheck, timeouts }: FilePool): PoolSettings {
  return {
    name,
    balance,
    backends: backends.map(compileBackend),
    healthCheck: healthCheck === undefined ? null : compileHealthCheck(healthCheck),
    timeouts: { connectMs: timeouts.connect, responseMs: timeouts.response, idleMs: timeouts.idle },
  };
}

type FileHealthCheck = NonNullable<FilePool['healthCheck']>;

function compileHealthCheck({ interval, timeout, ...rest }: FileHealthCheck): HealthCheckSettings {
  return { ...rest, intervalMs: interval, timeoutMs: timeout };
}

function compileBackend({ url, id, weight }: FilePool['backends'][number]): BackendSettings {
  return { id: id ?? hostPort(url.host, url.port), host: url.host, port: url.port, weight };
}

/** Without the block `rateLimit` nothing is limited. */
const UNLIMITED: NonNullable<FileConfig['rateLimit']> = {
  enabled: false,
  identify: { apiKeyHeader: null, ipv4Prefix: 32, ipv6Prefix: 64 },
  policies: {},
  leases: true,
  instances: 1,
  headers: 'draft',
};

function compileRateLimit({ identify, policies, ...rest } = UNLIMITED): RateLimitSettings {
  return {
    ...rest,
    identify: { ...identify, apiKeyHeader: identify.apiKeyHeader || null },
    policies: Object.entries(policies).map(([name, policy]) => ({ name, ...policy })),
  };
}

function compileRoutes(config: FileConfig, rateLimit: RateLimitSettings): RouteSettings[] {
  const hasDefault = rateLimit.policies.some(({ name }) => name === DEFAULT_NAME);
  const unnamed = hasDefault ? { policies: [DEFAULT_NAME], cost: 1 } : null;
  const limitOf = (written: FileConfig['routes'][number]['rateLimit']): RouteSettings['rateLimit'] => {
    if (!rateLimit.enabled || written === 'off') return null;
    return written === undefined ? unnamed : { policies: [written.policy].flat(), cost: written.cost };
  };
  if (config.routes.length === 0) {
    const match = { host: null, path: null, methods: null };
    const pool = Object.keys(config.pools)[0] ?? '';
    return [{ name: DEFAULT_NAME, match, pool, rateLimit: limitOf(undefined) }];
  }
  return config.routes.map(({ name, match, pool, rateLimit: written }) => ({
    name,
    match: {
      host: match.host ?? null,
      path: match.path ?? null,
      methods:
        match.methods === undefined ? null : [...new Set(match.methods.map((word) => word.toUpperCase()))],
    },
    pool,
    rateLimit: limitOf(written),
  }));
}

function frozen<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const inner of Object.values(value)) frozen(inner);
  }
  return value;
}
