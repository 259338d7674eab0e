/** Makes the Settings that all parts read from a file that passed every check. */
import { hostPort } from '../contract/addresses.ts';
import type { PoolSettings, PoolTlsSettings, RetrySettings } from '../contract/pool-settings.ts';
import {
  DEFAULT_NAME,
  type ListenTlsSettings,
  type RedisServers,
  type Settings,
} from '../contract/settings.ts';
import type { PemFiles } from './pem-files.ts';
import { DEFAULT_REDIS_URL } from './schema/redis.ts';
import { DEFAULT_PROTOCOLS, rateLimitSchema } from './schema/routes.ts';
import type { FileConfig } from './schema/schema.ts';

/** compileSettings fills in what depends on other keys, and freezes the result; for loadConfig. @param files checked ones */
export function compileSettings(config: FileConfig, files: PemFiles): Settings {
  const rateLimit = compileRateLimit(config.rateLimit);
  const { database, redis, timeouts } = config;
  return frozen({
    listen: config.listen.map((entry) => compileListen(entry, files)),
    acme: compileAcme(config.acme, files),
    admin: compileAdmin(config.admin),
    workers: config.workers,
    accept: config.accept,
    trustedProxies: [...new Set(config.trustedProxies)],
    pools: Object.entries(config.pools ?? {}).map(([name, pool]) => compilePool(name, pool, files)),
    routes: compileRoutes(config, rateLimit),
    rateLimit,
    redis: redis === undefined ? null : compileRedis(redis),
    database,
    limits: config.limits,
    timeouts: {
      headersMs: timeouts.headers,
      bodyIdleMs: timeouts.bodyIdle,
      writeIdleMs: timeouts.writeIdle,
      keepAliveMs: timeouts.keepAlive,
      tunnelIdleMs: timeouts.tunnelIdle,
      drainGraceMs: timeouts.drainGrace,
      drainMs: timeouts.drain,
    },
    overload: {
      eventLoopDelayMs: config.overload.eventLoopDelay,
      heapPercent: config.overload.heapPercent,
    },
    primary: { graceWithoutMs: config.primary.graceWithout },
    log: config.log,
    tracing: config.tracing ?? null,
    watch: config.watch,
    audit: {
      adminChanges: config.audit.adminChanges,
      requests: config.audit.requests,
      retentionMs: config.audit.retention,
    },
    secrets: { apiKeys: config.secrets.apiKeys },
  });
}

function compileListen(
  { address, tls, http2, h2c, proxyProtocol }: FileConfig['listen'][number],
  files: PemFiles,
) {
  return {
    ...address,
    tls: tls === undefined ? null : compileListenTls(tls, files),
    http2: http2 ?? tls !== undefined,
    h2c,
    proxyProtocol: proxyProtocol === false ? null : [...new Set(proxyProtocol.from)],
  };
}

function compileListenTls(
  { certificates, clientCa, acme, ...rest }: NonNullable<FileConfig['listen'][number]['tls']>,
  files: PemFiles,
): ListenTlsSettings {
  return {
    ...rest,
    certificates: certificates.map(({ cert, key }) => ({ cert: files.textOf(cert), key: files.textOf(key) })),
    acme: [...new Set(acme)],
    clientCa: files.fileAt(clientCa),
  };
}

/** compileAdmin compiles the block `admin` alone; for loadAdmin. */
export function compileAdmin({ address, hosts, ...rest }: FileConfig['admin']): Settings['admin'] {
  return { ...address, ...rest, hosts: [...new Set(hosts)] };
}

function compileAcme(acme: FileConfig['acme'], files: PemFiles): Settings['acme'] {
  if (acme === undefined) return null;
  const { directory, email = null, storage, ca } = acme;
  return { directory, email, storage, ca: files.fileAt(ca) };
}

type FilePool = NonNullable<FileConfig['pools']>[string];

function compileRedis(redis: NonNullable<FileConfig['redis']>): Settings['redis'] {
  const { url, cluster, sentinel, prefix, timeout } = redis;
  let servers: RedisServers = { kind: 'single', url: url ?? DEFAULT_REDIS_URL };
  if (cluster !== undefined) servers = { kind: 'cluster', urls: cluster };
  if (sentinel !== undefined) servers = { kind: 'sentinel', master: sentinel.master, urls: sentinel.nodes };
  return { servers, prefix, timeoutMs: timeout };
}

function compilePool(name: string, pool: FilePool, files: PemFiles): Settings['pools'][number] {
  const { balance, backends, healthCheck, outlier, panicThresholdPercent, timeouts, protocol } = pool;
  return {
    name,
    balance,
    backends: backends.map(({ url, id = hostPort(url.host, url.port), ...rest }) => ({
      ...url,
      id,
      ...rest,
    })),
    healthCheck: healthCheck === undefined ? null : compileHealthCheck(healthCheck),
    outlier: outlier === undefined ? null : compileOutlier(outlier),
    panicThresholdPercent,
    slowStartMs: pool.slowStart,
    timeouts: { connectMs: timeouts.connect, responseMs: timeouts.response, idleMs: timeouts.idle },
    retry: compileRetry(pool.retry),
    limits: compileLimits(pool.limits),
    adaptive: pool.adaptive,
    tls: compileTls(pool, files),
    protocol,
    proxyProtocol: pool.proxyProtocol,
  };
}

function compileOutlier({ baseEjection, maxEjection, ...rest }: NonNullable<FilePool['outlier']>) {
  return { ...rest, baseEjectionMs: baseEjection, maxEjectionMs: maxEjection };
}

/** TLS without a block. */
const VERIFIED = { ca: null, cert: null, key: null, serverName: null, verify: true };

function compileTls({ tls, backends }: FilePool, files: PemFiles): PoolTlsSettings | null {
  if (tls === undefined && !backends.some(({ url }) => url.tls)) return null;
  const { ca, cert, key, ...rest } = tls ?? VERIFIED;
  return { ca: files.fileAt(ca), cert: files.fileAt(cert), key: files.fileAt(key), ...rest };
}

function compileRetry({ perTry, onStatus, ...rest }: FilePool['retry']): RetrySettings {
  return { ...rest, onStatus: [...new Set(onStatus)], perTryMs: perTry || null };
}

function compileLimits({ queueTimeout, ...rest }: FilePool['limits']): PoolSettings['limits'] {
  return { ...rest, queueTimeoutMs: queueTimeout };
}

type FileHealthCheck = NonNullable<FilePool['healthCheck']>;

function compileHealthCheck({ interval, timeout, ...rest }: FileHealthCheck) {
  return { ...rest, intervalMs: interval, timeoutMs: timeout };
}

/** Without the block nothing is limited, and no API key is read. */
const UNLIMITED = rateLimitSchema.parse({ enabled: false, identify: { apiKeyHeader: '' }, policies: {} });

function compileRateLimit({ policies, ...rest } = UNLIMITED): Settings['rateLimit'] {
  const named = Object.entries(policies).map(([name, policy]) => ({ name, ...policy }));
  return { ...rest, policies: named };
}

function compileRoutes(
  { routes, pools = {} }: FileConfig,
  rateLimit: Settings['rateLimit'],
): Settings['routes'] {
  const hasDefault = rateLimit.policies.some(({ name }) => name === DEFAULT_NAME);
  const unnamed = hasDefault ? { policies: [DEFAULT_NAME], cost: 1 } : null;
  const limitOf = (written: FileConfig['routes'][number]['rateLimit']) => {
    if (!rateLimit.enabled || written === 'off') return null;
    return written === undefined ? unnamed : { policies: [written.policy].flat(), cost: written.cost };
  };
  const [onlyPool = ''] = Object.keys(pools);
  const implied: FileConfig['routes'] = [
    { name: DEFAULT_NAME, match: {}, pool: onlyPool, upgrade: DEFAULT_PROTOCOLS, priority: 'normal' },
  ];
  return (routes.length === 0 ? implied : routes).map(
    ({ name, match, pool, redirect, upgrade, priority, rateLimit: written }) => ({
      name,
      match: {
        host: match.host ?? null,
        path: match.path ?? null,
        methods: match.methods ? [...new Set(match.methods.map((method) => method.toUpperCase()))] : null,
      },
      pool: pool ?? null,
      redirect: redirect ?? null,
      upgrade: [...new Set(upgrade)],
      priority,
      rateLimit: limitOf(written),
    }),
  );
}

function frozen<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const inner of Object.values(value)) frozen(inner);
  }
  return value;
}
