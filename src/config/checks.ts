/** Rules about several keys at once. They see a draft without the wrong values, which have their own messages. */
import { isIPv4 } from 'node:net';
import { canonicalAddress, hostPort, isWildcard } from '../contract/addresses.ts';
import { MAX_FILL_SEC } from '../contract/clients.ts';
import type { ListenAddress } from '../contract/settings.ts';
import type { Finding, KeyPath } from './problems.ts';
import { type HostPort, isLoopback, isSameLocalhost } from './schema/addresses.ts';
import { parseName } from './schema/fields.ts';
import type { FileConfig } from './schema/schema.ts';
import { type Draft, isMapping } from './schema/schema-walk.ts';

type ConfigDraft = Draft<FileConfig>;
type ConfigPool = NonNullable<NonNullable<ConfigDraft['pools']>[string]>;
type Findings = Generator<Finding, void, void>;

/** Shortest token where other machines can reach the admin port. */
const MIN_TOKEN_LENGTH = 16;

/** checkDraft runs every rule. @param written the file as it is: it tells whether a value that the draft lacks is absent or wrong */
export function* checkDraft(draft: ConfigDraft, written: unknown): Findings {
  // The schema does not check names, because it would then skip the entries with a bad one.
  yield* checkNames(['pools'], draft.pools);
  yield* checkNames(['rateLimit', 'policies'], draft.rateLimit?.policies);
  yield* checkListen(draft, written);
  yield* checkAdmin(draft);
  yield* checkPools(draft);
  yield* checkOwnAddresses(draft);
  yield* checkPolicies(draft);
  yield* checkRoutes(draft, written);
  yield* checkRouteLimits(draft, isWritten(written, ['rateLimit']));
  yield* checkSecrets(draft);
  yield* checkRedis(draft);
  const { audit, database } = draft;
  if ((audit?.requests ?? 'off') !== 'off' && database?.url === null)
    yield { path: ['audit', 'requests'], message: 'needs database.url: the embedded database is too slow' };
  const { soften = 0, shed = 100 } = draft.overload?.heapPercent ?? {};
  if (soften > shed) yield { path: ['overload', 'heapPercent', 'soften'], message: 'must not be above shed' };
}

function isWritten(written: unknown, [first, ...rest]: KeyPath): boolean {
  if (first === undefined) return true;
  if (Array.isArray(written)) return typeof first === 'number' && isWritten(written[first] ?? {}, rest);
  return isMapping(written) && Object.hasOwn(written, first) && isWritten(written[first], rest);
}

function* checkNames(path: readonly string[], entries: object | undefined): Findings {
  for (const name of Object.keys(entries ?? {})) {
    const parsed = parseName(name);
    if ('message' in parsed) yield { path: [...path, name], message: parsed.message };
  }
}

function* checkListen({ listen = [] }: ConfigDraft, written: unknown): Findings {
  for (const [index, entry] of listen.entries()) {
    const clash = clashIn(listen, entry?.address);
    if (clash >= 0 && clash < index)
      yield { path: ['listen', index, 'address'], message: `is taken by listen[${clash}] already` };
    yield* checkListenTls(index, entry ?? {});
    if ((entry?.tls?.acme ?? []).length > 0 && !isWritten(written, ['acme']))
      yield {
        path: ['listen', index, 'tls', 'acme'],
        message: 'needs the block acme, which names the authority',
      };
  }
}

function* checkListenTls(
  index: number,
  { tls, http2, h2c }: NonNullable<NonNullable<ConfigDraft['listen']>[number]>,
): Findings {
  const path = ['listen', index];
  if (tls === undefined) {
    if (http2 === true) yield { path: [...path, 'http2'], message: 'needs tls; without it h2c is HTTP/2' };
    return;
  }
  if (h2c === true)
    yield { path: [...path, 'h2c'], message: 'is HTTP/2 without TLS; with tls http2 offers it' };
  const { certificates, acme, clientAuth = 'off', clientCa = null } = tls;
  if (certificates?.length === 0 && acme?.length === 0)
    yield {
      path: [...path, 'tls', 'certificates'],
      message: 'needs at least one certificate, or acme names',
    };
  if (clientAuth !== 'off' && clientCa === null)
    yield { path: [...path, 'tls', 'clientCa'], message: `is needed with clientAuth: ${clientAuth}` };
  if (clientAuth === 'off' && clientCa !== null)
    yield {
      path: [...path, 'tls', 'clientCa'],
      message: 'is used only with clientAuth: optional or require',
    };
}

/** The index of the first entry that listens at the address too; -1: none. */
function clashIn(listen: NonNullable<ConfigDraft['listen']>, own: ListenAddress | undefined): number {
  return listen.findIndex((entry) => own && entry?.address && clashes(own, entry.address));
}

function clashes(a: ListenAddress, b: ListenAddress): boolean {
  if (a.kind === 'unix') return b.kind === 'unix' && a.path === b.path;
  if (b.kind === 'unix' || a.port !== b.port || a.port === 0) return false;
  if (a.host === b.host || isSameLocalhost(a.host, b.host)) return true;
  return covers(a.host, b.host) || covers(b.host, a.host);
}

/** Whether a wildcard address takes the port of another host too. */
function covers(wildcard: string | null, host: string | null): boolean {
  if (wildcard === null || wildcard === '::') return true;
  return wildcard === '0.0.0.0' && host !== null && (host === 'localhost' || isIPv4(host));
}

function* checkAdmin({ admin: { address, token, readToken } = {}, listen = [] }: ConfigDraft): Findings {
  if (readToken) {
    if (token === null)
      yield { path: ['admin', 'readToken'], message: 'needs admin.token: without it, everybody may write' };
    if (token === readToken) yield { path: ['admin', 'readToken'], message: 'must differ from admin.token' };
  }
  if (address === undefined) return;
  const where = 'where admin.address is not a loopback address';
  for (const [name, text] of [
    ['token', token],
    ['readToken', readToken],
  ] as const) {
    const length = text?.length ?? 0;
    if (text === undefined || length >= MIN_TOKEN_LENGTH || isLoopback(address.host)) continue;
    if (length > 0)
      yield { path: ['admin', name], message: `must have at least ${MIN_TOKEN_LENGTH} characters ${where}` };
    else if (name === 'token') yield { path: ['admin', name], message: `is needed ${where}` };
  }
  const clash = clashIn(listen, { kind: 'tcp', ...address });
  if (clash >= 0) yield { path: ['admin', 'address'], message: `is taken by listen[${clash}] already` };
}

/** A backend that is Sluice itself would forward each request to Sluice again, until a limit ends the loop. */
function* checkOwnAddresses({ admin, listen = [], pools = {} }: ConfigDraft): Findings {
  const own = listen.map((entry, index) => ({ address: entry?.address, name: `listen[${index}]` }));
  if (admin?.address) own.push({ address: { kind: 'tcp', ...admin.address }, name: 'admin.address' });
  for (const [pool, { backends = [] } = {}] of Object.entries(pools)) {
    for (const [index, backend] of backends.entries()) {
      const url = backend?.url;
      const self = own.find(({ address }) => address && url && isReachedBy(address, url));
      if (self !== undefined)
        yield { path: ['pools', pool, 'backends', index, 'url'], message: `is Sluice itself (${self.name})` };
    }
  }
}

/** Other addresses of this machine are not known here. To connect to a wildcard is to connect to this machine. */
function isReachedBy(own: ListenAddress, { host: written, port }: HostPort): boolean {
  if (own.kind !== 'tcp' || port !== own.port) return false;
  const ownHost = own.host === null ? null : reachedBy(own.host);
  const host = reachedBy(written);
  if (ownHost === host || isSameLocalhost(ownHost, host)) return true;
  const isHere = isLoopback(host) || isWildcard(host);
  return isHere && covers(ownHost, host);
}

/** An IPv4 address in IPv6 reaches that address, and each name below localhost is a loopback address (RFC 6761 §6.3). */
function reachedBy(host: string): string {
  return canonicalAddress(host) ?? host.replace(/^(.+\.)?localhost\.?$/, 'localhost');
}

/** Machines that share a database must verify each other's keys, so each cannot make a secret of its own. */
function* checkSecrets({ rateLimit, secrets }: ConfigDraft): Findings {
  const isShared = (rateLimit?.instances ?? 1) > 1 && Boolean(rateLimit?.identify?.apiKeyHeader);
  if (!isShared || secrets?.apiKeys !== null) return;
  const message =
    'is needed where rateLimit.instances is above 1; or set rateLimit.identify.apiKeyHeader to "" and use no keys';
  yield { path: ['secrets', 'apiKeys'], message };
}

function* checkRedis({ redis }: ConfigDraft): Findings {
  const [, second] = (['url', 'cluster', 'sentinel'] as const).filter((key) => redis?.[key] !== undefined);
  if (second !== undefined)
    yield { path: ['redis', second], message: 'only one of url, cluster and sentinel may be given' };
}

function* checkPools({ pools = {} }: ConfigDraft): Findings {
  for (const [name, pool = {}] of Object.entries(pools)) {
    const { backends = [], healthCheck = {}, outlier = {}, protocol, proxyProtocol = 'off' } = pool;
    const ids = new Set<string>();
    for (const [index, { id: given, url } = {}] of backends.entries()) {
      const id = given ?? (url && hostPort(url.host, url.port));
      if (id === undefined) continue;
      const path = ['pools', name, 'backends', index, given === undefined ? 'url' : 'id'];
      if (ids.has(id)) yield { path, message: `a second backend of the pool with the id ${id}` };
      ids.add(id);
    }
    if (protocol === 'h2' && proxyProtocol !== 'off') {
      const message = 'must be off with protocol: h2, whose connections carry requests of many clients';
      yield { path: ['pools', name, 'proxyProtocol'], message };
    }
    const { baseEjection = 0, maxEjection = Number.POSITIVE_INFINITY } = outlier;
    if (baseEjection > maxEjection)
      yield {
        path: ['pools', name, 'outlier', 'maxEjection'],
        message: 'must not be shorter than baseEjection',
      };
    yield* checkProbe(name, healthCheck);
    const { timeout = 0, interval = Number.POSITIVE_INFINITY } = healthCheck;
    const path = ['pools', name, 'healthCheck', 'timeout'];
    if (timeout > interval) yield { path, message: 'must not be longer than the interval' };
  }
}

const FIELD_NAME = /^[!#$%&'*+.^`|~\w-]{1,128}$/;
/** They frame the request, or are about the connection. */
const PROBE_SETS =
  /^(host|connection|keep-alive|proxy-connection|te|trailer|transfer-encoding|content-length|upgrade|expect)$/i;
const MAX_PROBE_FIELDS = 32;

function* checkProbe(pool: string, healthCheck: NonNullable<ConfigPool['healthCheck']>): Findings {
  const { type = 'http', host, method = 'GET', headers = {}, expectBody } = healthCheck;
  const path = ['pools', pool, 'healthCheck'];
  const names = Object.keys(headers);
  if (names.length > MAX_PROBE_FIELDS)
    yield { path: [...path, 'headers'], message: `must be at most ${MAX_PROBE_FIELDS} fields` };
  for (const name of names) {
    if (!FIELD_NAME.test(name))
      yield { path: [...path, 'headers', name], message: 'is not the name of a header field' };
    else if (PROBE_SETS.test(name))
      yield { path: [...path, 'headers', name], message: 'is set by Sluice (Host by the key `host`)' };
  }
  const isHttp = type === 'http';
  if (type === 'tcp' && host)
    yield { path: [...path, 'host'], message: 'is used only with type: http or grpc' };
  if (type === 'tcp' && names.length > 0)
    yield { path: [...path, 'headers'], message: 'are used only with type: http or grpc' };
  if (!isHttp && method !== 'GET')
    yield { path: [...path, 'method'], message: 'is used only with type: http' };
  if (expectBody && (!isHttp || method === 'HEAD')) {
    const message = isHttp
      ? 'has no effect with method: HEAD, whose answers have no body'
      : 'is used only with type: http';
    yield { path: [...path, 'expectBody'], message };
  }
}

function* checkPolicies({ rateLimit }: ConfigDraft): Findings {
  const policies = Object.entries(rateLimit?.policies ?? {});
  for (const [name, { capacity = 0, refillPerSecond = 1 } = {}] of policies) {
    const path = ['rateLimit', 'policies', name, 'refillPerSecond'];
    if (capacity / refillPerSecond > MAX_FILL_SEC)
      yield { path, message: 'must fill the capacity within 30 days' };
  }
}

function* checkRoutes({ routes = [], pools }: ConfigDraft, written: unknown): Findings {
  const redirects = routes.map((_, index) => isWritten(written, ['routes', index, 'redirect']));
  if (
    isMapping(written) &&
    !isWritten(written, ['pools']) &&
    (routes.length === 0 || redirects.includes(false))
  )
    yield { path: ['pools'], message: 'is missing' };
  const poolNames = pools === undefined ? null : new Set(Object.keys(pools));
  if (routes.length === 0 && poolNames !== null && poolNames.size > 1)
    yield { path: ['routes'], message: 'are needed where there are several pools' };
  const seen = new Set<string>();
  for (const [index, { name, pool } = {}] of routes.entries()) {
    if (name !== undefined && seen.has(name))
      yield { path: ['routes', index, 'name'], message: `a second route with the name ${name}` };
    if (name !== undefined) seen.add(name);
    if (pool !== undefined && poolNames?.has(pool) === false)
      yield { path: ['routes', index, 'pool'], message: `there is no pool ${pool}` };
    const hasPool = isWritten(written, ['routes', index, 'pool']);
    if (hasPool && redirects[index])
      yield { path: ['routes', index, 'redirect'], message: 'only one of pool and redirect may be given' };
    else if (!hasPool && !redirects[index]) yield { path: ['routes', index, 'pool'], message: 'is missing' };
  }
}

function* checkRouteLimits({ routes = [], rateLimit }: ConfigDraft, rateLimitWritten: boolean): Findings {
  // null: they could not be read.
  const policies = rateLimit?.policies ?? (rateLimitWritten ? null : {});
  for (const [index, { rateLimit: limit } = {}] of routes.entries()) {
    if (limit === undefined || limit === 'off') continue;
    const path = ['routes', index, 'rateLimit'];
    const names = [limit.policy ?? []].flat();
    for (const [at, name] of names.entries()) {
      if (name === undefined) continue;
      const place = [...path, 'policy', ...(Array.isArray(limit.policy) ? [at] : [])];
      const isKnown = policies !== null && Object.hasOwn(policies, name);
      if (names.indexOf(name) < at) yield { path: place, message: `names the policy ${name} again` };
      else if (!isKnown && policies !== null) yield { path: place, message: `there is no policy ${name}` };
      const { capacity = Number.POSITIVE_INFINITY } = (isKnown && policies[name]) || {};
      if ((limit.cost ?? 0) > capacity)
        yield { path: [...path, 'cost'], message: `is above the capacity of the policy ${name}` };
    }
  }
}
