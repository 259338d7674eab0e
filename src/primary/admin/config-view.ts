/** The running configuration as a configuration file, for people: the calls of config.ts and its comparison with the file. */
import { addressText, backendUrl, hostPort } from '../../contract/addresses.ts';
import type { PemFile, PoolSettings, PoolTlsSettings } from '../../contract/pool-settings.ts';
import type {
  AcmeSettings,
  ListenSettings,
  ListenTlsSettings,
  RouteSettings,
  Settings,
} from '../../contract/settings.ts';

type View = Record<string, unknown>;
/** What is shown in place of a secret. */
type Hide = (secret: string) => string;

/** HIDDEN stands for a secret. */
export const HIDDEN = '***';

/**
 * configView is the body of `GET /api/v1/config`: settings, defaults too, as a configuration file without secrets. JSON is YAML,
 * so the view of settings that have no secrets can be loaded and gives the same settings again; a test checks that.
 */
export function configView(settings: Settings, hide: Hide = () => HIDDEN): View {
  const { listen, acme, admin, pools, routes, rateLimit, redis, tracing, ...rest } = settings;
  const { host, port, ...adminRest } = admin;
  const secret = (text: string | null): string => (text === null ? '' : hide(text));
  return {
    listen: listen.map(listenOf),
    ...(acme && { acme: acmeOf(acme) }),
    admin: {
      address: hostPort(host, port),
      ...adminRest,
      token: secret(admin.token),
      readToken: secret(admin.readToken),
    },
    ...fileWords(rest),
    ...(pools.length > 0 && { pools: byName(pools, (pool) => poolOf(pool, hide)) }),
    routes: routes.map(routeOf),
    rateLimit: { ...rateLimit, policies: byName(rateLimit.policies, (policy) => policy) },
    ...(redis && { redis: redisOf(redis, hide) }),
    ...(tracing && { tracing }),
    database: { ...rest.database, url: withoutSecrets(rest.database.url ?? '', hide) },
    secrets: { apiKeys: secret(rest.secrets.apiKeys) },
  };
}

function listenOf({ tls, http2, h2c, proxyProtocol, ...address }: ListenSettings): View {
  const from = proxyProtocol === null ? false : { from: proxyProtocol };
  const view = { address: addressText(address), h2c, proxyProtocol: from };
  return tls === null ? view : { ...view, tls: listenTlsOf(tls), http2 };
}

/** Files by their paths: what they hold is not shown. */
function listenTlsOf({ certificates, clientCa, ...rest }: ListenTlsSettings): View {
  const pairs = certificates.map(({ cert, key }) => ({ cert: cert.path, key: key.path }));
  return { certificates: pairs, ...rest, clientCa: clientCa?.path ?? '' };
}

/** Durations get the names and the form of the file; in the settings their names end in Ms. */
function fileWords(settings: object): View {
  return Object.fromEntries(
    Object.entries(settings).map(([key, value]) => {
      if (key.endsWith('Ms')) return [key.slice(0, -2), durationOf(Number(value))];
      const isBlock = typeof value === 'object' && value !== null && !Array.isArray(value);
      return [key, isBlock ? fileWords(value) : value];
    }),
  );
}

const UNITS = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1_000],
] as const;

/** In the largest unit that is exact. */
function durationOf(ms: number): string {
  if (ms === 0) return '0s';
  const [unit, unitMs] = UNITS.find(([, each]) => ms % each === 0) ?? ['ms', 1];
  return `${ms / unitMs}${unit}`;
}

function byName<T extends { name: string }>(items: T[], viewOf: (item: Omit<T, 'name'>) => View): View {
  return Object.fromEntries(items.map(({ name, ...item }) => [name, viewOf(item)]));
}

function poolOf(
  { backends, healthCheck, outlier, tls, ...rest }: Omit<PoolSettings, 'name'>,
  hide: Hide,
): View {
  return {
    ...fileWords(rest),
    backends: backends.map(({ id, weight, backup, ...address }) => ({
      id,
      weight,
      backup,
      url: backendUrl(address),
    })),
    ...(healthCheck && { healthCheck: healthCheckOf(healthCheck, hide) }),
    ...(outlier && { outlier: fileWords(outlier) }),
    ...(tls && { tls: tlsOf(tls) }),
  };
}

/** Files by their paths: what they hold is not shown. */
function tlsOf({ ca, cert, key, serverName, verify }: PoolTlsSettings): View {
  const pathOf = (file: PemFile | null): string => file?.path ?? '';
  return { ca: pathOf(ca), cert: pathOf(cert), key: pathOf(key), serverName: serverName ?? '', verify };
}

function healthCheckOf(check: NonNullable<PoolSettings['healthCheck']>, hide: Hide): View {
  const { expectStatus, path, host, headers, expectBody, ...rest } = check;
  const { from, to } = expectStatus;
  return {
    ...fileWords(rest),
    host: host ?? '',
    expectBody: expectBody ?? '',
    headers: Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, hide(value)])),
    // The value of a query may be a secret; its name is not.
    path: path.replace(/=([^&]*)/g, (_, value: string) => `=${hide(value)}`),
    expectStatus: `${from}-${to}`,
  };
}

function acmeOf(acme: AcmeSettings): View {
  const given = Object.entries({ ...acme, ca: acme.ca?.path ?? null }).filter(([, value]) => value !== null);
  return { ...Object.fromEntries(given), agreeToTerms: true };
}

function routeOf({ match, pool, redirect, rateLimit, ...rest }: RouteSettings): View {
  const given = Object.entries(match).filter(([, value]) => value !== null);
  const { policies = [], cost } = rateLimit ?? {};
  const limit = rateLimit && { policy: policies.length === 1 ? policies[0] : policies, cost };
  const action = redirect === null ? { pool } : { redirect };
  return { ...rest, match: Object.fromEntries(given), ...action, rateLimit: limit ?? 'off' };
}

function redisOf({ servers, ...rest }: NonNullable<Settings['redis']>, hide: Hide): View {
  const words = fileWords(rest);
  if (servers.kind === 'single') return { url: withoutSecrets(servers.url, hide), ...words };
  const nodes = servers.urls.map((url) => withoutSecrets(url, hide));
  if (servers.kind === 'cluster') return { cluster: nodes, ...words };
  return { sentinel: { master: servers.master, nodes }, ...words };
}

const SECRET_PARAMETER = /pass|secret|token|key/i;

function withoutSecrets(text: string, hide: Hide): string {
  if (text === '') return '';
  const url = URL.parse(text);
  if (url === null) return hide(text);
  if (url.password !== '') url.password = hide(url.password);
  for (const [name, value] of [...url.searchParams])
    if (SECRET_PARAMETER.test(name)) url.searchParams.set(name, hide(value));
  return url.href;
}
