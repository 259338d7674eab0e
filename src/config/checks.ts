/** Rules about several keys at once. They see a draft, in which wrong values are missing: those have their own messages. */
import { isIPv4 } from 'node:net';
import { hostPort } from '../contract/addresses.ts';
import type { ListenAddress } from '../contract/settings.ts';
import type { Finding, KeyPath } from './problems.ts';
import { isLoopback } from './schema/addresses.ts';
import type { FileConfig } from './schema/schema.ts';
import { parseName } from './schema/schema-pools.ts';
import type { Draft } from './schema/schema-walk.ts';

type ConfigDraft = Draft<FileConfig>;
type Findings = Generator<Finding, void, void>;

/** Longest time in which a bucket may fill; its key in the store lives longer. */
const MAX_FILL_SEC = 30 * 24 * 3600;
/** Of a token that can be tried from other machines. */
const MIN_TOKEN_LENGTH = 16;

/**
 * checkDraft runs every rule.
 *
 * @param rateLimitWritten whether the file has the block at all, sound or not
 */
export function* checkDraft(draft: ConfigDraft, rateLimitWritten: boolean): Findings {
  // Not in the schema, which would not look into an entry with a bad name.
  yield* checkNames(['pools'], draft.pools);
  yield* checkNames(['rateLimit', 'policies'], draft.rateLimit?.policies);
  yield* checkListen(draft);
  yield* checkAdmin(draft);
  yield* checkPools(draft);
  yield* checkOwnAddresses(draft);
  yield* checkPolicies(draft);
  yield* checkRoutes(draft);
  yield* checkRouteLimits(draft, rateLimitWritten);
  yield* checkSecrets(draft);
  yield* checkRedis(draft);
}

function* checkNames(path: readonly string[], entries: object | undefined): Findings {
  for (const name of Object.keys(entries ?? {})) {
    const parsed = parseName(name);
    if ('message' in parsed) yield { path: [...path, name], message: parsed.message };
  }
}

function* checkListen(draft: ConfigDraft): Findings {
  const addresses = listenAddresses(draft);
  for (const [index, address] of addresses.entries()) {
    const clash =
      address === null ? -1 : addresses.findIndex((other) => other !== null && clashes(address, other));
    if (clash >= 0 && clash < index)
      yield { path: ['listen', index, 'address'], message: `is taken by listen[${clash}] already` };
  }
}

/** In the order of the file; null: that one is wrong. */
function listenAddresses({ listen = [] }: ConfigDraft): (ListenAddress | null)[] {
  return listen.map((entry) => {
    const address = entry?.address;
    if (address?.kind === 'unix' && address.path !== undefined) return { kind: 'unix', path: address.path };
    if (address?.kind !== 'tcp' || address.port === undefined || address.host === undefined) return null;
    return { kind: 'tcp', host: address.host, port: address.port };
  });
}

function clashes(a: ListenAddress, b: ListenAddress): boolean {
  if (a.kind === 'unix') return b.kind === 'unix' && a.path === b.path;
  if (b.kind === 'unix' || a.port !== b.port || a.port === 0) return false;
  return a.host === b.host || covers(a.host, b.host) || covers(b.host, a.host);
}

/** Whether a wildcard address takes the port of another host too. */
function covers(wildcard: string | null, host: string | null): boolean {
  if (wildcard === null || wildcard === '::') return true;
  return wildcard === '0.0.0.0' && host !== null && isIPv4(host);
}

function* checkAdmin(draft: ConfigDraft): Findings {
  const { address: { host, port } = {}, token } = draft.admin ?? {};
  if (host === undefined || port === undefined) return;
  if (token !== undefined && !isLoopback(host)) {
    const length = token?.length ?? 0;
    const need = length === 0 ? 'is needed' : `must have at least ${MIN_TOKEN_LENGTH} characters`;
    if (length < MIN_TOKEN_LENGTH)
      yield { path: ['admin', 'token'], message: `${need} where admin.address is not a loopback address` };
  }
  const own: ListenAddress = { kind: 'tcp', host, port };
  const clash = listenAddresses(draft).findIndex((address) => address !== null && clashes(own, address));
  if (clash >= 0) yield { path: ['admin', 'address'], message: `is taken by listen[${clash}] already` };
}

/** A backend that is Sluice itself would forward each request to Sluice again, until a limit ends the loop. */
function* checkOwnAddresses(draft: ConfigDraft): Findings {
  const { host, port } = draft.admin?.address ?? {};
  const own = listenAddresses(draft).map((address, index) => ({ address, name: `listen[${index}]` }));
  if (host !== undefined && port !== undefined)
    own.push({ address: { kind: 'tcp', host, port }, name: 'admin.address' });
  for (const [pool, { backends = [] } = {}] of Object.entries(draft.pools ?? {})) {
    for (const [index, backend] of backends.entries()) {
      const self = own.find(({ address }) => address !== null && isReachedBy(address, backend?.url ?? {}));
      if (self !== undefined)
        yield { path: ['pools', pool, 'backends', index, 'url'], message: `is Sluice itself (${self.name})` };
    }
  }
}

/** Other addresses of this machine are not known here. */
function isReachedBy(own: ListenAddress, { host, port }: { host?: string; port?: number }): boolean {
  if (own.kind !== 'tcp' || host === undefined || port !== own.port) return false;
  if (own.host === host) return true;
  const isWildcard = own.host === null || own.host === '::' || own.host === '0.0.0.0';
  return (
    isLoopback(host) &&
    (isWildcard || own.host === 'localhost' || host === 'localhost') &&
    (isWildcard || isLoopback(own.host ?? ''))
  );
}

/** Machines that share a database must verify each other's keys, so each cannot make a secret of its own. */
function* checkSecrets({ rateLimit, secrets }: ConfigDraft): Findings {
  const { apiKeyHeader } = rateLimit?.identify ?? {};
  if (
    (rateLimit?.instances ?? 1) <= 1 ||
    !apiKeyHeader ||
    (secrets?.apiKeys !== '' && secrets?.apiKeys !== null)
  )
    return;
  const message = 'is needed where rateLimit.instances is above 1, or rateLimit.identify.apiKeyHeader empty';
  yield { path: ['secrets', 'apiKeys'], message };
}

function* checkRedis({ redis }: ConfigDraft): Findings {
  const [, second] = (['url', 'cluster', 'sentinel'] as const).filter((key) => redis?.[key] !== undefined);
  if (second !== undefined)
    yield { path: ['redis', second], message: 'only one of url, cluster and sentinel may be given' };
}

function* checkPools({ pools = {} }: ConfigDraft): Findings {
  for (const [name, pool] of Object.entries(pools)) {
    yield* checkBackendIds(pool?.backends ?? [], ['pools', name, 'backends']);
    const { timeout, interval } = pool?.healthCheck ?? {};
    if (timeout !== undefined && interval !== undefined && timeout > interval)
      yield {
        path: ['pools', name, 'healthCheck', 'timeout'],
        message: 'must not be longer than the interval',
      };
  }
}

type PoolDraft = NonNullable<NonNullable<ConfigDraft['pools']>[string]>;

function* checkBackendIds(backends: NonNullable<PoolDraft['backends']>, path: KeyPath): Findings {
  const seen = new Set<string>();
  for (const [index, backend] of backends.entries()) {
    const { host, port } = backend?.url ?? {};
    const ofUrl = host === undefined || port === undefined ? undefined : hostPort(host, port);
    const id = backend?.id ?? ofUrl;
    if (id === undefined) continue;
    const key = backend?.id === undefined ? 'url' : 'id';
    if (seen.has(id))
      yield { path: [...path, index, key], message: `a second backend of the pool with the id ${id}` };
    seen.add(id);
  }
}

function* checkPolicies({ rateLimit }: ConfigDraft): Findings {
  for (const [name, policy] of Object.entries(rateLimit?.policies ?? {})) {
    const { capacity, refillPerSecond } = policy ?? {};
    if (capacity === undefined || refillPerSecond === undefined) continue;
    const path = ['rateLimit', 'policies', name, 'refillPerSecond'];
    if (capacity / refillPerSecond > MAX_FILL_SEC)
      yield { path, message: 'must fill the capacity within 30 days' };
  }
}

function* checkRoutes({ routes, pools }: ConfigDraft): Findings {
  const poolNames = pools === undefined ? null : new Set(Object.keys(pools));
  if (routes?.length === 0 && poolNames !== null && poolNames.size > 1)
    yield { path: ['routes'], message: 'are needed where there are several pools' };
  const seen = new Set<string>();
  for (const [index, { name, pool } = {}] of (routes ?? []).entries()) {
    if (name !== undefined && seen.has(name))
      yield { path: ['routes', index, 'name'], message: `a second route with the name ${name}` };
    if (name !== undefined) seen.add(name);
    if (pool !== undefined && poolNames?.has(pool) === false)
      yield { path: ['routes', index, 'pool'], message: `there is no pool ${pool}` };
  }
}

type RouteLimitDraft = Exclude<
  NonNullable<NonNullable<ConfigDraft['routes']>[number]>['rateLimit'],
  'off' | undefined
>;
type PoliciesDraft = NonNullable<NonNullable<ConfigDraft['rateLimit']>['policies']>;

function* checkRouteLimits(draft: ConfigDraft, rateLimitWritten: boolean): Findings {
  const policies = draft.rateLimit?.policies ?? (rateLimitWritten ? null : {});
  for (const [index, route] of (draft.routes ?? []).entries()) {
    const limit = route?.rateLimit;
    if (limit !== undefined && limit !== 'off')
      yield* checkRouteLimit(limit, ['routes', index, 'rateLimit'], policies);
  }
}

/** @param policies null: they could not be read */
function* checkRouteLimit(
  { policy, cost }: RouteLimitDraft,
  path: KeyPath,
  policies: PoliciesDraft | null,
): Findings {
  const names = typeof policy === 'string' ? [policy] : (policy ?? []);
  for (const [at, name] of names.entries()) {
    if (name === undefined) continue;
    const place = [...path, 'policy', ...(typeof policy === 'string' ? [] : [at])];
    const known = policies !== null && Object.hasOwn(policies, name);
    if (names.indexOf(name) < at) yield { path: place, message: `names the policy ${name} again` };
    else if (!known && policies !== null) yield { path: place, message: `there is no policy ${name}` };
    const capacity = known ? policies[name]?.capacity : undefined;
    if (capacity !== undefined && cost !== undefined && cost > capacity)
      yield { path: [...path, 'cost'], message: `is above the capacity of the policy ${name}` };
  }
}
