/**
 * The whole configuration after parsing, defaults and checks; config/ makes it. It is plain JSON, so that it crosses IPC as it is,
 * and frozen. Addresses and CIDRs are canonical.
 */
import type { AuditedRequests } from './audited-requests.ts';
import type { BucketLimits } from './clients.ts';
import type { PemFile, PoolSettings } from './pool-settings.ts';

export type ListenAddress =
  | { kind: 'tcp'; host: string | null; port: number }
  | { kind: 'unix'; path: string };

/** ListenSettings is one entry of `listen`. */
export type ListenSettings = ListenAddress & {
  /** null: without TLS. */
  tls: ListenTlsSettings | null;
  /** HTTP/2 by ALPN, under TLS. */
  http2: boolean;
  /** HTTP/2 with prior knowledge, without TLS. */
  h2c: boolean;
  /** CIDRs whose connections begin with a PROXY header; null: none do. */
  proxyProtocol: string[] | null;
};

export interface ListenTlsSettings {
  /** As they were when the configuration was loaded. The first is the default. */
  certificates: { cert: PemFile; key: PemFile }[];
  /** Names whose certificates are fetched and renewed (ACME). */
  acme: string[];
  /** What a client gets that asks for a name of no certificate: the default one, or a refusal. */
  unknownNames: 'default' | 'refuse';
  minVersion: 'TLSv1.2' | 'TLSv1.3';
  clientAuth: 'off' | 'optional' | 'require';
  /** The authorities of client certificates; null with clientAuth off. */
  clientCa: PemFile | null;
}

/** AcmeSettings: an authority that issues certificates (RFC 8555). Its terms were agreed to. */
export interface AcmeSettings {
  /** URL of its directory, `https://…`. */
  directory: string;
  /** Contact of the account; null: none. */
  email: string | null;
  /** Folder of the account's key and the certificates. */
  storage: string;
  /** The authorities for the directory's own certificate; null: those that Node.js trusts. */
  ca: PemFile | null;
}

export interface AdminSettings {
  host: string;
  /** 0: any free port. */
  port: number;
  /** null: no token needed (loopback only). */
  token: string | null;
  /** Allows the calls that change nothing; null: there is none. Only with a token. */
  readToken: string | null;
  publicMetrics: boolean;
  /** Further host names that `Host` and `Origin` may carry; lower case, without port. */
  hosts: string[];
}

export interface RouteMatch {
  /** Lower case without port; `*.example.com` matches one or more labels before it; null: any host. */
  host: string | null;
  /** In normal form (B27). A prefix if it ends in `/`, else exact; null: any path. */
  path: string | null;
  /** Upper case; null: any method. */
  methods: string[] | null;
}

/** RedirectSettings sends clients that came without TLS to https; other requests go on to the next route. */
export interface RedirectSettings {
  scheme: 'https';
  status: 301 | 302 | 307 | 308;
}

/** What is shed last, in between, and first when a worker is overloaded. */
export type RoutePriority = 'critical' | 'normal' | 'low';

export interface RouteSettings {
  name: string;
  match: RouteMatch;
  /** null: the route redirects. */
  pool: string | null;
  /** null: the route has a pool. */
  redirect: RedirectSettings | null;
  /** Protocols to which a connection may switch, in lower case. */
  upgrade: string[];
  priority: RoutePriority;
  /** Names of policies, at least one, all different, charged together or not at all; null: not limited. */
  rateLimit: { policies: string[]; cost: number } | null;
}

export interface PolicySettings extends BucketLimits {
  name: string;
  /** While the store is away: every worker grants its share of the limit, or allows all, or refuses all (503). */
  onStoreFailure: 'local' | 'allow' | 'deny';
  /** The policy counts and sends its fields, and refuses nothing. */
  shadow: boolean;
}

export interface RateLimitSettings {
  enabled: boolean;
  /** apiKeyHeader: lower case; null: callers are told apart by their addresses alone. */
  identify: { apiKeyHeader: string | null; ipv4Prefix: number; ipv6Prefix: number };
  policies: PolicySettings[];
  /** Workers take tokens of busy buckets ahead. */
  leases: boolean;
  /** Machines that share the store; the local share is the limit over these and the workers of each. */
  instances: number;
  /** draft: RateLimit and RateLimit-Policy; legacy: X-RateLimit-*. */
  headers: 'draft' | 'legacy' | 'off';
}

/** Where the buckets are: URLs `redis://` or `rediss://`, `[[user]:password@]host[:port]`, a single one also `/db`. */
export type RedisServers =
  | { kind: 'single'; url: string }
  /** Some nodes of the Cluster, which name the others. The first URL's user and password are used for all. */
  | { kind: 'cluster'; urls: string[] }
  /** The sentinels. The first URL's user and password are used for them and for the servers that they watch. */
  | { kind: 'sentinel'; master: string; urls: string[] };

export interface RedisSettings {
  servers: RedisServers;
  prefix: string;
  timeoutMs: number;
}

export interface LimitSettings {
  bodyBytes: number;
  targetBytes: number;
  headerBytes: number;
  headerCount: number;
  /** Per worker; auto: half of the worker's file descriptor limit; 0: no cap. */
  connections: number | 'auto';
  /** Per worker; 0: no cap. Trusted proxies do not count. */
  connectionsPerIp: number;
  /** Lowest rate of a request body, in bytes per second; 0: none. */
  bodyMinRate: number;
}

/** OverloadSettings says from where on a worker turns work away (proxy/overload.ts). */
export interface OverloadSettings {
  eventLoopDelayMs: number;
  /** Percent of V8's heap limit, and of the memory limit of the control group. */
  heapPercent: { soften: number; shed: number };
}

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;

export interface LogSettings {
  level: (typeof LOG_LEVELS)[number];
  format: 'json' | 'pretty' | 'ecs';
  /** Path of the file of both logs; null: standard output. */
  file: string | null;
  /** sample: share of requests that get a line, 0…1. */
  access: { enabled: boolean; sample: number };
}

/** TracingSettings says which traces go where. */
export interface TracingSettings {
  /** Base URL of a collector that takes OTLP over HTTP, without a slash at its end. */
  endpoint: string;
  /** Share of the requests that are recorded, but for those whose trace a trusted peer has begun; 0…1. */
  sample: number;
}

export interface Settings {
  listen: ListenSettings[];
  /** null: no certificate is fetched. */
  acme: AcmeSettings | null;
  admin: AdminSettings;
  workers: number | 'auto';
  /** reuse_port: a listening socket per worker and TCP address; Unix sockets are shared then. */
  accept: 'shared' | 'round_robin' | 'reuse_port';
  trustedProxies: string[];
  pools: PoolSettings[];
  /** Never empty: without routes in the file there is the implied one, named `default`. */
  routes: RouteSettings[];
  rateLimit: RateLimitSettings;
  /** null: buckets live in the primary. */
  redis: RedisSettings | null;
  database: {
    /** null: the embedded one, kept in embeddedPath. */
    url: string | null;
    embeddedPath: string;
  };
  limits: LimitSettings;
  timeouts: {
    headersMs: number;
    bodyIdleMs: number;
    writeIdleMs: number;
    keepAliveMs: number;
    /** Longest silence of a tunnel in both directions. */
    tunnelIdleMs: number;
    drainGraceMs: number;
    drainMs: number;
  };
  overload: OverloadSettings;
  /** How long workers serve on after the death of the primary. */
  primary: { graceWithoutMs: number };
  log: LogSettings;
  /** null: no traces. */
  tracing: TracingSettings | null;
  /** Whether a change of the configuration file is a reload. */
  watch: boolean;
  /** adminChanges: whether events become rows in the database; requests: which requests do. */
  audit: { adminChanges: boolean; requests: AuditedRequests; retentionMs: number };
  /** null: a secret of this machine is used. */
  secrets: { apiKeys: string | null };
}

/** WorkerSettings is the part that workers need; it has no admin token, no database address and no authority. */
export type WorkerSettings = Omit<
  Settings,
  'workers' | 'acme' | 'admin' | 'database' | 'secrets' | 'watch'
> & {
  /** How many there are. */
  workers: number;
};

/** The label `route` of requests without a route. */
export const UNMATCHED_ROUTE = '_none';
/** Name of the implied route, and of the policy of routes that name none. */
export const DEFAULT_NAME = 'default';
