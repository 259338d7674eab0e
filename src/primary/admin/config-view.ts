/**
 * Settings in the words of the configuration file, secrets redacted. It is a file: JSON is YAML, and loading the view of
 * settings without secrets gives the same settings again, which the tests hold it to.
 */
import { redactedConfig } from '../../config/redact.ts';
import { hostPort } from '../../contract/addresses.ts';
import type {
  ListenAddress,
  PoolSettings,
  RedisServers,
  RouteSettings,
  Settings,
} from '../../contract/settings.ts';

type View = Record<string, unknown>;

/** configView is the body of `GET /api/v1/config`. Values equal to a default are shown too. */
export function configView(settings: Settings): View {
  const shown = redactedConfig(settings);
  const { admin, limits, timeouts, database, log, secrets } = shown;
  return {
    listen: shown.listen.map((address) => ({ address: addressOf(address) })),
    admin: {
      address: hostPort(admin.host, admin.port),
      token: admin.token ?? '',
      publicMetrics: admin.publicMetrics,
      hosts: admin.hosts,
    },
    workers: shown.workers,
    accept: shown.accept,
    trustedProxies: shown.trustedProxies,
    pools: Object.fromEntries(shown.pools.map((pool) => [pool.name, poolOf(pool)])),
    routes: shown.routes.map(routeOf),
    rateLimit: rateLimitOf(shown),
    ...(shown.redis === null
      ? {}
      : {
          redis: {
            ...serversOf(shown.redis.servers),
            prefix: shown.redis.prefix,
            timeout: durationOf(shown.redis.timeoutMs),
          },
        }),
    database: { url: database.url ?? '', embeddedPath: database.embeddedPath },
    limits,
    timeouts: {
      headers: durationOf(timeouts.headersMs),
      bodyIdle: durationOf(timeouts.bodyIdleMs),
      writeIdle: durationOf(timeouts.writeIdleMs),
      keepAlive: durationOf(timeouts.keepAliveMs),
      drainGrace: durationOf(timeouts.drainGraceMs),
      drain: durationOf(timeouts.drainMs),
    },
    log,
    secrets: { apiKeys: secrets.apiKeys ?? '' },
  };
}

function poolOf({ balance, backends, healthCheck, timeouts }: PoolSettings): View {
  return {
    balance,
    backends: backends.map(({ id, host, port, weight }) => ({
      id,
      url: `http://${hostPort(host, port)}`,
      weight,
    })),
    ...(healthCheck === null
      ? {}
      : {
          healthCheck: {
            type: healthCheck.type,
            path: healthCheck.path,
            interval: durationOf(healthCheck.intervalMs),
            timeout: durationOf(healthCheck.timeoutMs),
            rise: healthCheck.rise,
            fall: healthCheck.fall,
            expectStatus: `${healthCheck.expectStatus.from}-${healthCheck.expectStatus.to}`,
          },
        }),
    timeouts: {
      connect: durationOf(timeouts.connectMs),
      response: durationOf(timeouts.responseMs),
      idle: durationOf(timeouts.idleMs),
    },
  };
}

function routeOf({ name, match, pool, rateLimit }: RouteSettings): View {
  const given = Object.entries(match).filter(([, value]) => value !== null);
  return { name, match: Object.fromEntries(given), pool, rateLimit: limitOf(rateLimit) };
}

function limitOf(rateLimit: RouteSettings['rateLimit']): View | 'off' {
  if (rateLimit === null) return 'off';
  const { policies, cost } = rateLimit;
  return { policy: policies.length === 1 ? policies[0] : policies, cost };
}

function rateLimitOf({ rateLimit }: Settings): View {
  const { policies, ...others } = rateLimit;
  const byName = policies.map(({ name, ...policy }) => [name, policy]);
  return { ...others, policies: Object.fromEntries(byName) };
}

function addressOf(address: ListenAddress): string {
  if (address.kind === 'unix') return `unix:${address.path}`;
  return address.host === null ? `:${address.port}` : hostPort(address.host, address.port);
}

/** In the largest unit that says it exactly. */
function durationOf(ms: number): string {
  if (ms % 60_000 === 0 && ms > 0) return `${ms / 60_000}m`;
  return ms % 1000 === 0 ? `${ms / 1000}s` : `${ms}ms`;
}

function serversOf(servers: RedisServers): object {
  if (servers.kind === 'single') return { url: servers.url };
  const { urls } = servers;
  return servers.kind === 'cluster'
    ? { cluster: urls }
    : { sentinel: { master: servers.master, nodes: urls } };
}
