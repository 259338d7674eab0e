/**
 * Settings: the whole configuration after parsing, defaults and checks. Plain JSON, so that it crosses IPC as it is;
 * frozen, so that the request path only reads. Made by config/, read by everybody. Durations are milliseconds, sizes
 * are bytes, CIDRs and addresses are in canonical form.
 * The words are those of docs/glossary.md.
 */
import type { BucketLimits } from './clients.ts';

export type ListenAddress =
  | { kind: 'tcp'; host: string | null; port: number }
  | { kind: 'unix'; path: string };

export interface AdminSettings {
  host: string;
  /** 0: any free port. */
  port: number;
  /** null: no token needed (loopback only). */
  token: string | null;
  publicMetrics: boolean;
  /** Further host names that `Host` and `Origin` may carry; lower case, without port. */
  hosts: string[];
}

export type BalanceAlgorithm = 'round_robin' | 'least_requests';

export interface BackendSettings {
  /** Unique in its pool; defaults to host:port. State survives reloads by it. */
  id: string;
  host: string;
  port: number;
  /** ≥ 1. */
  weight: number;
}

export interface HealthCheckSettings {
  type: 'http' | 'tcp';
  path: string;
  intervalMs: number;
  timeoutMs: number;
  rise: number;
  fall: number;
  expectStatus: { from: number; to: number };
}

export interface PoolSettings {
  name: string;
  balance: BalanceAlgorithm;
  backends: BackendSettings[];
  /** null: backends count as healthy. */
  healthCheck: HealthCheckSettings | null;
  timeouts: { connectMs: number; responseMs: number; idleMs: number };
}

export interface RouteMatch {
  /** Lower case without port; `*.example.com` matches one or more labels before it; null: any host. */
  host: string | null;
  /** Ends in `/`: prefix, else exact; null: any path. In normal form (B27). */
  path: string | null;
  /** Upper case; null: any method. */
  methods: string[] | null;
}

export interface RouteSettings {
  name: string;
  match: RouteMatch;
  pool: string;
  /** Names of policies, at least one, all different, charged together or not at all; null: not limited. */
  rateLimit: { policies: string[]; cost: number } | null;
}

export interface PolicySettings extends BucketLimits {
  name: string;
  /** While the store is away: every worker keeps its share of the limit, or lets pass, or refuses (503). */
  onStoreFailure: 'local' | 'allow' | 'deny';
  /** Counts and sends the fields, refuses nothing. */
  shadow: boolean;
}

export interface RateLimitSettings {
  enabled: boolean;
  /** apiKeyHeader: lower case; null: callers are told apart by their addresses alone. */
  identify: { apiKeyHeader: string | null; ipv4Prefix: number; ipv6Prefix: number };
  policies: PolicySettings[];
  /** Workers take tokens of busy buckets ahead. */
  leases: boolean;
  /** Machines that share the store; with the worker count it gives the local share while the store is away. */
  instances: number;
  /** RateLimit and RateLimit-Policy; X-RateLimit-*; none. */
  headers: 'draft' | 'legacy' | 'off';
}

/** Where the buckets are: URLs `redis://` or `rediss://`, `[[user]:password@]host[:port]`, a single one also `/db`. */
export type RedisServers =
  | { kind: 'single'; url: string }
  /** Some nodes of the Cluster; the others are learnt from them. The first URL's user and password hold for all. */
  | { kind: 'cluster'; urls: string[] }
  /** The sentinels; user and password of the first hold for them and for the servers that they watch. */
  | { kind: 'sentinel'; master: string; urls: string[] };

export interface RedisSettings {
  servers: RedisServers;
  prefix: string;
  timeoutMs: number;
}

export interface DatabaseSettings {
  /** null: the embedded one, kept in embeddedPath. */
  url: string | null;
  embeddedPath: string;
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
}

export interface TimeoutSettings {
  headersMs: number;
  bodyIdleMs: number;
  writeIdleMs: number;
  keepAliveMs: number;
  drainGraceMs: number;
  drainMs: number;
}

type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent';

export interface LogSettings {
  level: LogLevel;
  format: 'json' | 'pretty';
  /** sample: share of requests that get a line, 0…1. */
  access: { enabled: boolean; sample: number };
}

export interface Settings {
  listen: ListenAddress[];
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
  database: DatabaseSettings;
  limits: LimitSettings;
  timeouts: TimeoutSettings;
  log: LogSettings;
  /** null: none is set, and one of this machine is used. */
  secrets: { apiKeys: string | null };
}

/** WorkerSettings is what crosses IPC: no admin token, no database address; secrets come with what needs them. */
export type WorkerSettings = Omit<Settings, 'admin' | 'database' | 'secrets'>;

/** Label of a request that met no route. */
export const UNMATCHED_ROUTE = '_none';
/** Name of the implied route and of the policy that a route without a name of one has. */
export const DEFAULT_NAME = 'default';
