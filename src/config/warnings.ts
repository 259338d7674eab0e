/** Warnings: what a file says without a mistake, and probably does not mean. */
import { accessSync, constants, existsSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { counted } from '../contract/counted.ts';
import { systemCodeOf } from '../contract/errors.ts';
import type { PoolSettings } from '../contract/pool-settings.ts';
import type { RouteSettings, Settings } from '../contract/settings.ts';
import { listenerWarnings } from './listener-certificates.ts';
import { certificateWarnings, keyWarnings } from './pem-files.ts';
import type { Finding } from './problems.ts';
import { isSameLocalhost } from './schema/addresses.ts';

/** warningsOf finds what is legal and probably not meant. */
export function* warningsOf(settings: Settings): Generator<Finding> {
  const { listen, pools, routes, log } = settings;
  yield* trustWarningsOf(settings);
  yield* limitWarningsOf(settings);
  yield* listenerWarnings(listen);
  yield* acmeWarningsOf(settings);
  for (const pool of pools) {
    yield* tlsWarningsOf(pool);
    yield* backendWarningsOf(pool, routes);
    yield* keysWithoutEffectOf(pool);
  }
  yield* routeWarningsOf(settings);
  const unwritable = log.file === null ? null : fileProblem(log.file);
  if (unwritable !== null)
    yield { path: ['log', 'file'], message: `cannot be opened, so Sluice would not start: ${unwritable}` };
}

function* trustWarningsOf({ trustedProxies, listen }: Settings): Generator<Finding> {
  const everywhere = trustedProxies.find((cidr) => cidr.endsWith('/0'));
  if (everywhere !== undefined) {
    const message = `${everywhere} lets every client choose its address by X-Forwarded-For`;
    yield { path: ['trustedProxies'], message };
  }
  for (const [index, { proxyProtocol }] of listen.entries()) {
    const open = proxyProtocol?.find((cidr) => cidr.endsWith('/0'));
    const message = `${open} lets every client choose its address by a PROXY header`;
    if (open !== undefined) yield { path: ['listen', index, 'proxyProtocol', 'from'], message };
  }
}

function* limitWarningsOf({ rateLimit, secrets, redis, database, routes }: Settings): Generator<Finding> {
  if (secrets.apiKeys !== null && rateLimit.identify.apiKeyHeader === null) {
    const message = 'no API key is read: rateLimit is absent, or rateLimit.identify.apiKeyHeader is empty';
    yield { path: ['secrets', 'apiKeys'], message };
  }
  if (rateLimit.enabled && rateLimit.instances > 1) {
    const path = ['rateLimit', 'instances'];
    if (redis === null) yield { path, message: 'without redis each instance admits the whole limit' };
    if (database.url === null)
      yield { path, message: 'without database.url each instance has clients of its own' };
  }
  for (const { name } of rateLimit.enabled ? rateLimit.policies : []) {
    const message = 'no route names this policy, so it limits nothing';
    if (!routes.some((route) => route.rateLimit?.policies.includes(name)))
      yield { path: ['rateLimit', 'policies', name], message };
  }
}

function* acmeWarningsOf({ acme, listen, rateLimit, database }: Settings): Generator<Finding> {
  if (acme === null) return;
  yield* certificateWarnings(['acme', 'ca'], acme.ca);
  if (!listen.some(({ tls }) => tls !== null && tls.acme.length > 0)) {
    const message = 'no address of listen has names in tls.acme, so no certificate is fetched';
    yield { path: ['acme'], message };
    return;
  }
  if (listen.every(({ kind, tls }) => kind === 'unix' || tls !== null)) {
    const message =
      'no address of listen is without tls, and the authority asks for its proofs at port 80 without TLS';
    yield { path: ['acme'], message };
  }
  if (rateLimit.instances > 1 && database.url === null) {
    const message =
      'without database.url only the instance that orders knows the proof, and the authority may ask any of them';
    yield { path: ['acme'], message };
  }
  const storage = folderProblem(acme.storage);
  if (storage !== null) {
    const kept = database.url === null ? 'cannot be kept' : 'are kept in the database alone';
    yield { path: ['acme', 'storage'], message: `certificates ${kept}: ${storage}` };
  }
}

function* routeWarningsOf({ listen, routes }: Settings): Generator<Finding> {
  const hasTls = listen.some(({ tls }) => tls !== null);
  for (const [index, route] of routes.entries()) {
    if (route.redirect !== null && !hasTls) {
      const message =
        'no address of listen has tls, so clients are sent to a port that Sluice does not serve';
      yield { path: ['routes', index, 'redirect'], message };
    }
    const hiding = hidingRoutes(routes).get(route.name);
    if (hiding === undefined) continue;
    const how = covers(route.match, hiding.match) ? 'matches the same requests' : 'matches all its requests';
    yield { path: ['routes', index], message: `is never reached: the route ${hiding.name} before it ${how}` };
  }
}

/** By the routes of a revision: the status asks once a second, and each route is compared with all before it. */
const hidingBy = new WeakMap<readonly RouteSettings[], ReadonlyMap<string, RouteSettings>>();

/** hidingRoutes has, by the name of each route that is never reached, the first one before it that takes all its requests. */
export function hidingRoutes(routes: readonly RouteSettings[]): ReadonlyMap<string, RouteSettings> {
  const known = hidingBy.get(routes);
  if (known !== undefined) return known;
  const found = new Map<string, RouteSettings>();
  for (const [index, route] of routes.entries()) {
    // Requests over TLS go on to the routes behind a redirect.
    const hides = (earlier: RouteSettings) => earlier.redirect === null || route.redirect !== null;
    const hiding = routes
      .slice(0, index)
      .find((earlier) => hides(earlier) && covers(earlier.match, route.match));
    if (hiding !== undefined) found.set(route.name, hiding);
  }
  hidingBy.set(routes, found);
  return found;
}

function* backendWarningsOf({ name, backends }: PoolSettings, routes: RouteSettings[]): Generator<Finding> {
  if (!routes.some(({ pool }) => pool === name))
    yield { path: ['pools', name], message: 'no route leads to this pool' };
  if (backends.every(({ weight }) => weight === 0))
    yield { path: ['pools', name], message: 'all its backends have weight 0: every request gets 503' };
  for (const [index, { host, port }] of backends.entries()) {
    if (host !== 'localhost') continue;
    if (!backends.some((each) => each.port === port && isSameLocalhost(host, each.host))) continue;
    const message = 'may be the same server as another backend of the pool';
    yield { path: ['pools', name, 'backends', index, 'url'], message };
  }
}

/** Keys of a pool that have no effect beside its other keys. */
function* keysWithoutEffectOf({
  name,
  backends,
  retry,
  outlier,
  timeouts,
}: PoolSettings): Generator<Finding> {
  const path = ['pools', name];
  if (retry.perTryMs !== null && retry.perTryMs >= timeouts.responseMs) {
    const message = 'has no effect: timeouts.response is not longer, and ends the whole request';
    yield { path: [...path, 'retry', 'perTry'], message };
  }
  if (retry.attempts === 0 && retry.onStatus.length > 0) {
    const message = 'has no effect with attempts: 0';
    yield { path: [...path, 'retry', 'onStatus'], message };
  }
  if (outlier !== null && (backends.length === 1 || outlier.maxEjectedPercent === 0)) {
    const why = backends.length === 1 ? 'the only backend of a pool never is' : 'maxEjectedPercent is 0';
    yield { path: [...path, 'outlier'], message: `no backend is ejected: ${why}` };
  }
  if (backends.every(({ backup }) => backup))
    yield { path, message: 'all its backends are backups, so none of them waits for another one to fail' };
}

function* tlsWarningsOf({ name, backends, tls }: PoolSettings): Generator<Finding> {
  if (tls === null) return;
  const path = ['pools', name, 'tls'];
  if (!backends.some((backend) => backend.tls)) yield { path, message: 'no backend of the pool is https://' };
  if (!tls.verify) {
    const message = 'certificates are not verified: whoever is on the way can read and change everything';
    yield { path: [...path, 'verify'], message };
  }
  for (const key of ['ca', 'cert'] as const) yield* certificateWarnings([...path, key], tls[key]);
  yield* keyWarnings([...path, 'key'], tls.key);
}

type Match = RouteSettings['match'];

/** Whether every request that fits the second match fits the first. */
function covers(wide: Match, narrow: Match): boolean {
  return (
    (wide.host === null || (narrow.host !== null && hostCovers(wide.host, narrow.host))) &&
    (wide.path === null || (narrow.path !== null && pathCovers(wide.path, narrow.path))) &&
    (wide.methods === null || narrow.methods?.every((method) => wide.methods?.includes(method)) === true)
  );
}

function hostCovers(wide: string, narrow: string): boolean {
  return wide === narrow || (wide.startsWith('*.') && narrow.endsWith(wide.slice(1)));
}

function pathCovers(wide: string, narrow: string): boolean {
  return wide === narrow || (wide.endsWith('/') && narrow.startsWith(wide));
}

/** summaryOf counts what a configuration has: `2 pools, 3 backends, 4 routes`. */
export function summaryOf({ pools, routes }: Settings): string {
  const backends = pools.flatMap((pool) => pool.backends);
  const counts = [
    counted(pools.length, 'pool'),
    counted(backends.length, 'backend'),
    counted(routes.length, 'route'),
  ];
  return counts.join(', ');
}

/** Why this user cannot append to a file, or cannot make it; null: nothing is seen that is in the way. */
function fileProblem(path: string): string | null {
  try {
    if (statSync(path).isDirectory()) return `${path} is a folder`;
    accessSync(path, constants.W_OK);
    return null;
  } catch (thrown) {
    if (systemCodeOf(thrown) !== 'ENOENT') return `this user may not write to ${path}`;
    const folder = dirname(path);
    return existsSync(folder) ? folderProblem(folder) : `there is no folder ${folder}`;
  }
}

/**
 * Why this user cannot write into a folder, or cannot make it; null: nothing is seen that is in the way.
 * It changes nothing, so it does not see everything.
 */
function folderProblem(path: string): string | null {
  for (let at = resolve(path); ; at = dirname(at)) {
    try {
      if (!statSync(at).isDirectory()) return `${at} is not a folder`;
      accessSync(at, constants.W_OK | constants.X_OK);
      return null;
    } catch (thrown) {
      const code = systemCodeOf(thrown);
      if (code !== 'ENOENT' && code !== 'ENOTDIR') return `this user may not write in ${at}`;
    }
  }
}
