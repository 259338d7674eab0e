/** The calls that reload the configuration and show the running one. */
import * as z from 'zod';
import { addressText, backendUrl, hostPort } from '../../contract/addresses.ts';
import type { PemFile, PoolSettings, PoolTlsSettings } from '../../contract/pool-settings.ts';
import type {
  AcmeSettings,
  ListenSettings,
  ListenTlsSettings,
  RouteSettings,
  Settings,
} from '../../contract/settings.ts';
import { type AdminApp, call } from './app.ts';
import type { AdminParts } from './parts.ts';
import { invalidFields } from './problems.ts';

/** A reload ends when every worker runs the new revision and every new backend has had its first probe. */
const RELOAD_TIMEOUT_MS = 60_000;

const reloadView = z.strictObject({
  revision: z.int().min(1),
  pendingWorkers: z
    .array(z.int().min(0))
    .meta({ description: 'Ids of the workers that have not acknowledged the revision within five seconds' }),
});

/** registerConfig adds the routes. */
export function registerConfig(app: AdminApp, { reloader }: AdminParts): void {
  const summary = 'Read the configuration file again and apply all of it, or nothing';
  app.post(
    '/api/v1/reload',
    {
      config: { timeoutMs: RELOAD_TIMEOUT_MS },
      ...call('configuration', summary, [422], { response: { 200: reloadView } }),
    },
    async () => {
      const outcome = await reloader.reload();
      if (outcome.ok) return { revision: outcome.revision, pendingWorkers: outcome.pendingWorkers };
      const { problems } = outcome;
      throw invalidFields(problems.map(({ path, line, message }) => ({ field: path ?? '', line, message })));
    },
  );
  app.get(
    '/api/v1/config',
    call('configuration', 'Show the running configuration as a configuration file, without secrets', [], {
      response: { 200: z.record(z.string(), z.unknown()) },
    }),
    async () => configView(reloader.current.settings),
  );
}

type View = Record<string, unknown>;

const HIDDEN = '***';

/**
 * configView is the body of `GET /api/v1/config`: settings, defaults too, as a configuration file without secrets. JSON is YAML,
 * so the view of settings that have no secrets can be loaded and gives the same settings again; a test checks that.
 */
export function configView({
  listen,
  acme,
  admin,
  pools,
  routes,
  rateLimit,
  redis,
  ...rest
}: Settings): View {
  const { host, port, ...adminRest } = admin;
  return {
    listen: listen.map(listenOf),
    ...(acme && { acme: acmeOf(acme) }),
    admin: { address: hostPort(host, port), ...adminRest, token: admin.token === null ? '' : HIDDEN },
    ...fileWords(rest),
    ...(pools.length > 0 && { pools: byName(pools, poolOf) }),
    routes: routes.map(routeOf),
    rateLimit: { ...rateLimit, policies: byName(rateLimit.policies, (policy) => policy) },
    ...(redis && { redis: redisOf(redis) }),
    database: { ...rest.database, url: rest.database.url === null ? '' : withoutSecrets(rest.database.url) },
    secrets: { apiKeys: rest.secrets.apiKeys === null ? '' : HIDDEN },
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

/** In the largest unit that is exact. */
function durationOf(ms: number): string {
  if (ms % 60_000 === 0 && ms > 0) return `${ms / 60_000}m`;
  return ms % 1000 === 0 ? `${ms / 1000}s` : `${ms}ms`;
}

function byName<T extends { name: string }>(items: T[], viewOf: (item: Omit<T, 'name'>) => View): View {
  return Object.fromEntries(items.map(({ name, ...item }) => [name, viewOf(item)]));
}

function poolOf({ backends, healthCheck, outlier, tls, ...rest }: Omit<PoolSettings, 'name'>): View {
  return {
    ...fileWords(rest),
    backends: backends.map(({ id, weight, backup, ...address }) => ({
      id,
      weight,
      backup,
      url: backendUrl(address),
    })),
    ...(healthCheck && { healthCheck: healthCheckOf(healthCheck) }),
    ...(outlier && { outlier: fileWords(outlier) }),
    ...(tls && { tls: tlsOf(tls) }),
  };
}

/** Files by their paths: what they hold is not shown. */
function tlsOf({ ca, cert, key, serverName, verify }: PoolTlsSettings): View {
  const pathOf = (file: PemFile | null): string => file?.path ?? '';
  return { ca: pathOf(ca), cert: pathOf(cert), key: pathOf(key), serverName: serverName ?? '', verify };
}

function healthCheckOf({
  expectStatus,
  path,
  host,
  headers,
  expectBody,
  ...rest
}: NonNullable<PoolSettings['healthCheck']>): View {
  const { from, to } = expectStatus;
  // The value of a query may be a secret; its name is not.
  const words = { ...fileWords(rest), host: host ?? '', expectBody: expectBody ?? '' };
  const shown = Object.fromEntries(Object.keys(headers).map((name) => [name, HIDDEN]));
  return {
    ...words,
    headers: shown,
    path: path.replace(/=[^&]*/g, `=${HIDDEN}`),
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

function redisOf({ servers, ...rest }: NonNullable<Settings['redis']>): View {
  const words = fileWords(rest);
  if (servers.kind === 'single') return { url: withoutSecrets(servers.url), ...words };
  const nodes = servers.urls.map(withoutSecrets);
  if (servers.kind === 'cluster') return { cluster: nodes, ...words };
  return { sentinel: { master: servers.master, nodes }, ...words };
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
