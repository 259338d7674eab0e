/** Rules about several keys at once. They see a draft: what is missing in it was complained about already. */
import { isIPv4 } from 'node:net';
import { hostPort } from '../contract/addresses.ts';
import type { ListenAddress } from '../contract/settings.ts';
import type { KeyPath } from './problems.ts';
import { isLoopback } from './schema/addresses.ts';
import type { FileConfig } from './schema/schema.ts';
import type { Finding } from './schema/schema-issues.ts';
import { parseName } from './schema/schema-pools.ts';
import type { Draft } from './schema/schema-walk.ts';

export type ConfigDraft = Draft<FileConfig>;

/** A bucket's time to fill, which its key in the store outlives. */
const MAX_FILL_SEC = 30 * 24 * 3600;

/**
 * checkDraft runs every rule.
 *
 * @param rateLimitWritten whether the file has the block at all, sound or not
 */
export function checkDraft(draft: ConfigDraft, rateLimitWritten: boolean): Finding[] {
  const findings: Finding[] = [];
  // Here and not in the schema, which would not look into an entry with a bad name.
  checkNames(['pools'], draft.pools, findings);
  checkNames(['rateLimit', 'policies'], draft.rateLimit?.policies, findings);
  checkListen(draft, findings);
  checkAdmin(draft, findings);
  checkPools(draft, findings);
  checkPolicies(draft, findings);
  checkRoutes(draft, findings);
  checkRouteLimits(draft, findings, rateLimitWritten);
  checkSecrets(draft, findings);
  checkRedis(draft, findings);
  return findings;
}

function checkNames(path: readonly string[], entries: object | undefined, findings: Finding[]): void {
  for (const name of Object.keys(entries ?? {})) {
    const parsed = parseName(name);
    if ('message' in parsed) findings.push({ path: [...path, name], message: parsed.message });
  }
}

function checkListen({ listen = [] }: ConfigDraft, findings: Finding[]): void {
  const seen: (ListenAddress | null)[] = [];
  for (const [index, entry] of listen.entries()) {
    const address = soundAddress(entry?.address);
    const clash =
      address === null ? -1 : seen.findIndex((other) => other !== null && clashes(address, other));
    if (clash >= 0) {
      findings.push({ path: ['listen', index, 'address'], message: `is taken by listen[${clash}] already` });
    }
    seen.push(address);
  }
}

/** A text that parsed is whole; the draft's type cannot know. */
function soundAddress(address: Draft<ListenAddress> | undefined): ListenAddress | null {
  if (address?.kind === 'unix' && address.path !== undefined) return { kind: 'unix', path: address.path };
  if (address?.kind !== 'tcp' || address.port === undefined || address.host === undefined) return null;
  return { kind: 'tcp', host: address.host, port: address.port };
}

function clashes(a: ListenAddress, b: ListenAddress): boolean {
  if (a.kind === 'unix') return b.kind === 'unix' && a.path === b.path;
  if (b.kind === 'unix') return false;
  if (a.port !== b.port || a.port === 0) return false;
  return a.host === b.host || covers(a.host, b.host) || covers(b.host, a.host);
}

/** Whether a wildcard address takes the port of another host too. */
function covers(wildcard: string | null, host: string | null): boolean {
  if (wildcard === null || wildcard === '::') return true;
  return wildcard === '0.0.0.0' && host !== null && isIPv4(host);
}

function checkAdmin({ admin, listen = [] }: ConfigDraft, findings: Finding[]): void {
  const { host, port } = admin?.address ?? {};
  if (host === undefined || port === undefined) return;
  const hasNoToken = admin?.token === null || admin?.token === '';
  if (hasNoToken && !isLoopback(host)) {
    findings.push({
      path: ['admin', 'token'],
      message: 'is needed where admin.address is not a loopback address',
    });
  }
  const own: ListenAddress = { kind: 'tcp', host, port };
  const clash = listen.findIndex((entry) => {
    const address = soundAddress(entry?.address);
    return address !== null && clashes(own, address);
  });
  if (clash >= 0)
    findings.push({ path: ['admin', 'address'], message: `is taken by listen[${clash}] already` });
}

/** A key that one machine issues must be known to the others, so they cannot each make a secret of their own. */
function checkSecrets({ rateLimit, secrets }: ConfigDraft, findings: Finding[]): void {
  const { apiKeyHeader } = rateLimit?.identify ?? {};
  if ((rateLimit?.instances ?? 1) <= 1 || !apiKeyHeader) return;
  if (secrets?.apiKeys !== '' && secrets?.apiKeys !== null) return;
  findings.push({
    path: ['secrets', 'apiKeys'],
    message: 'is needed where rateLimit.instances is above 1, or rateLimit.identify.apiKeyHeader empty',
  });
}

function checkRedis({ redis }: ConfigDraft, findings: Finding[]): void {
  const [, second] = (['url', 'cluster', 'sentinel'] as const).filter((key) => redis?.[key] !== undefined);
  if (second === undefined) return;
  findings.push({ path: ['redis', second], message: 'only one of url, cluster and sentinel may be given' });
}

function checkPools({ pools = {} }: ConfigDraft, findings: Finding[]): void {
  for (const [name, pool] of Object.entries(pools)) {
    checkBackendIds(pool?.backends ?? [], ['pools', name, 'backends'], findings);
    const { timeout, interval } = pool?.healthCheck ?? {};
    if (timeout !== undefined && interval !== undefined && timeout > interval) {
      findings.push({
        path: ['pools', name, 'healthCheck', 'timeout'],
        message: 'must not be longer than the interval',
      });
    }
  }
}

type PoolDraft = NonNullable<NonNullable<ConfigDraft['pools']>[string]>;

function checkBackendIds(
  backends: NonNullable<PoolDraft['backends']>,
  path: readonly string[],
  findings: Finding[],
): void {
  const seen = new Set<string>();
  for (const [index, backend] of backends.entries()) {
    const { host, port } = backend?.url ?? {};
    const ofUrl = host === undefined || port === undefined ? undefined : hostPort(host, port);
    const id = backend?.id ?? ofUrl;
    if (id === undefined) continue;
    if (seen.has(id)) {
      const key = backend?.id === undefined ? 'url' : 'id';
      findings.push({
        path: [...path, index, key],
        message: `a second backend of the pool with the id ${id}`,
      });
    }
    seen.add(id);
  }
}

function checkPolicies({ rateLimit }: ConfigDraft, findings: Finding[]): void {
  for (const [name, policy] of Object.entries(rateLimit?.policies ?? {})) {
    const { capacity, refillPerSecond } = policy ?? {};
    if (capacity === undefined || refillPerSecond === undefined) continue;
    if (capacity / refillPerSecond > MAX_FILL_SEC) {
      findings.push({
        path: ['rateLimit', 'policies', name, 'refillPerSecond'],
        message: 'must fill the capacity within 30 days',
      });
    }
  }
}

function checkRoutes({ routes, pools }: ConfigDraft, findings: Finding[]): void {
  const poolNames = pools === undefined ? null : new Set(Object.keys(pools));
  if (routes?.length === 0 && poolNames !== null && poolNames.size > 1) {
    findings.push({ path: ['routes'], message: 'are needed where there are several pools' });
  }
  const seen = new Set<string>();
  for (const [index, route] of (routes ?? []).entries()) {
    if (route?.name !== undefined) {
      if (seen.has(route.name)) {
        findings.push({
          path: ['routes', index, 'name'],
          message: `a second route with the name ${route.name}`,
        });
      }
      seen.add(route.name);
    }
    if (route?.pool !== undefined && poolNames?.has(route.pool) === false) {
      findings.push({ path: ['routes', index, 'pool'], message: `there is no pool ${route.pool}` });
    }
  }
}

function checkRouteLimits(draft: ConfigDraft, findings: Finding[], rateLimitWritten: boolean): void {
  const policies = draft.rateLimit?.policies ?? (rateLimitWritten ? null : {});
  for (const [index, route] of (draft.routes ?? []).entries()) {
    const limit = route?.rateLimit;
    if (limit === undefined || limit === 'off') continue;
    checkRouteLimit(limit, ['routes', index, 'rateLimit'], policies, findings);
  }
}

type RouteLimitDraft = Exclude<
  NonNullable<NonNullable<ConfigDraft['routes']>[number]>['rateLimit'],
  'off' | undefined
>;
type PoliciesDraft = NonNullable<NonNullable<ConfigDraft['rateLimit']>['policies']>;

/** @param policies null: what they are could not be read */
function checkRouteLimit(
  { policy, cost }: RouteLimitDraft,
  path: KeyPath,
  policies: PoliciesDraft | null,
  findings: Finding[],
): void {
  const names = typeof policy === 'string' ? [policy] : (policy ?? []);
  for (const [at, name] of names.entries()) {
    if (name === undefined) continue;
    const place = [...path, 'policy', ...(typeof policy === 'string' ? [] : [at])];
    const known = policies !== null && Object.hasOwn(policies, name);
    if (names.indexOf(name) < at) findings.push({ path: place, message: `names the policy ${name} again` });
    else if (!known && policies !== null)
      findings.push({ path: place, message: `there is no policy ${name}` });
    const capacity = known ? policies[name]?.capacity : undefined;
    if (capacity !== undefined && cost !== undefined && cost > capacity)
      findings.push({ path: [...path, 'cost'], message: `is above the capacity of the policy ${name}` });
  }
}
