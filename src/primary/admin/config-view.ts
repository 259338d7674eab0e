/**
 * Settings in the words of the configuration file, secrets redacted. The view is a configuration file, because JSON is
 * YAML: loading the view of settings without secrets gives the same settings again, and a test holds it to that.
 */
import { hostPort } from '../../contract/addresses.ts';
import type {
  AdminSettings,
  HealthCheckSettings,
  ListenAddress,
  PoolSettings,
  RedisServers,
  RouteSettings,
  Settings,
} from '../../contract/settings.ts';

type View = Record<string, unknown>;

const HIDDEN = '***';

/** configView is the body of `GET /api/v1/config`. Values equal to a default are shown too. */
export function configView({ listen, admin, pools, routes, rateLimit, redis, ...rest }: Settings): View {
  return {
    listen: listen.map((address) => ({ address: addressOf(address) })),
    admin: adminOf(admin),
    ...fileWords(rest),
    pools: Object.fromEntries(pools.map((pool) => [pool.name, poolOf(pool)])),
    routes: routes.map(routeOf),
    rateLimit: { ...rateLimit, policies: namedPolicies(rateLimit.policies) },
    ...(redis === null
      ? {}
      : {
          redis: {
            ...serversOf(redis.servers),
            ...fileWords({ prefix: redis.prefix, timeoutMs: redis.timeoutMs }),
          },
        }),
    database: { ...rest.database, url: rest.database.url === null ? '' : withoutSecrets(rest.database.url) },
    secrets: { apiKeys: hidden(rest.secrets.apiKeys) },
  };
}

/** Durations, whose names end in Ms, get the name and the form of the file. */
function fileWords(settings: object): View {
  return Object.fromEntries(
    Object.entries(settings).map(([key, value]) => {
      if (key.endsWith('Ms')) return [key.slice(0, -2), durationOf(Number(value))];
      const isBlock = typeof value === 'object' && value !== null && !Array.isArray(value);
      return [key, isBlock ? fileWords(value) : value];
    }),
  );
}

/** In the largest unit that says it exactly. */
function durationOf(ms: number): string {
  if (ms % 60_000 === 0 && ms > 0) return `${ms / 60_000}m`;
  return ms % 1000 === 0 ? `${ms / 1000}s` : `${ms}ms`;
}

function adminOf({ host, port, ...rest }: AdminSettings): View {
  return { address: hostPort(host, port), ...rest, token: hidden(rest.token) };
}

function hidden(secret: string | null): string {
  return secret === null ? '' : HIDDEN;
}

function addressOf(address: ListenAddress): string {
  if (address.kind === 'unix') return `unix:${address.path}`;
  return address.host === null ? `:${address.port}` : hostPort(address.host, address.port);
}

function poolOf({ balance, backends, healthCheck, timeouts }: PoolSettings): View {
  const urlOf = (host: string, port: number) => `http://${hostPort(host, port)}`;
  return {
    balance,
    backends: backends.map(({ id, host, port, weight }) => ({ id, url: urlOf(host, port), weight })),
    ...(healthCheck === null ? {} : { healthCheck: healthCheckOf(healthCheck) }),
    timeouts: fileWords(timeouts),
  };
}

function healthCheckOf({ expectStatus, path, ...rest }: HealthCheckSettings): View {
  const { from, to } = expectStatus;
  // The value of a query may be a secret; its name is not.
  return { ...fileWords(rest), path: path.replace(/=[^&]*/g, `=${HIDDEN}`), expectStatus: `${from}-${to}` };
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

function namedPolicies(policies: Settings['rateLimit']['policies']): View {
  return Object.fromEntries(policies.map(({ name, ...policy }) => [name, policy]));
}

function serversOf(servers: RedisServers): View {
  if (servers.kind === 'single') return { url: withoutSecrets(servers.url) };
  const nodes = servers.urls.map(withoutSecrets);
  return servers.kind === 'cluster' ? { cluster: nodes } : { sentinel: { master: servers.master, nodes } };
}

const SECRET_PARAMETER = /pass|secret|token|key/i;

function withoutSecrets(text: string): string {
  const url = URL.parse(text);
  if (url === null) return HIDDEN;
  if (url.password !== '') url.password = HIDDEN;
  for (const name of [...url.searchParams.keys()]) {
    if (SECRET_PARAMETER.test(name)) url.searchParams.set(name, HIDDEN);
  }
  return url.href;
}
