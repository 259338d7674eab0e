/** What the calls of the admin port answer, as far as the dashboard shows it. docs/admin-api.md describes all of it. */

export type Access = 'write' | 'read';

/** GET /api/v1/session */
export interface SessionAnswer {
  access: Access;
  /** false: the admin port asks nobody for a token. */
  tokenNeeded: boolean;
}

export interface List<T> {
  items: T[];
  next: string | null;
}

export interface Problem {
  code: string;
  severity: 'error' | 'warning';
  text: string;
  since: string | null;
}

/** Rates and quantiles; null: there were no requests to take them of. */
interface Traffic {
  requestsPerSec: number;
  errorsPerSec: number;
  limitedPerSec: number;
  p50Ms: number | null;
  p95Ms: number | null;
  p99Ms: number | null;
}

interface Now extends Traffic {
  inFlight: number;
  connections: number;
  tunnels: number;
  bytesInPerSec: number;
  bytesOutPerSec: number;
}

interface RouteTraffic extends Traffic {
  route: string;
}

export interface PolicyRates {
  policy: string;
  allowedPerSec: number;
  limitedPerSec: number;
  shadowPerSec: number;
  refusedPerSec: number;
}

export interface Worker {
  id: number;
  pid: number;
  state: string;
  uptimeSec: number;
  cpuRatio: number | null;
  busyRatio: number | null;
  residentBytes: number | null;
  loopDelayMs: number;
  connections: number;
  inFlight: number;
  requestsPerSec: number;
  overload: string;
}

export interface Backend {
  id: string;
  url: string;
  weight: number;
  backup: boolean;
  state: string;
  reason: string | null;
  enabled: boolean;
  ejectedUntil: string | null;
  lastProbe: { at: string; ok: boolean; durationMs: number; detail: string } | null;
  consecutivePasses: number;
  consecutiveFailures: number;
  inFlight: number;
  /** These three come with the samples alone. */
  requestsPerSec?: number | null;
  p99Ms?: number | null;
  share?: number | null;
}

export interface Pool {
  pool: string;
  balance: string;
  backends: Backend[];
}

/** The event `sample` of GET /api/v1/events, once a second. */
export interface Sample {
  now: Now;
  problems: Problem[];
  workers: Worker[];
  routes: RouteTraffic[];
  policies: PolicyRates[];
  slowestRoute: { route: string; p99Ms: number } | null;
  pools: Pool[];
}

/** The event `change` of GET /api/v1/events. */
export interface Change {
  number: number;
  at: string;
  kind: string;
  severity: string;
  text: string;
  subject: string | null;
  /** Who caused it through the admin port; null: nobody did. */
  actor: { who: string; from: string } | null;
}

/** GET /api/v1/status, without what the samples have too. */
export interface Status {
  version: string;
  node: string;
  instance: string;
  phase: string;
  revision: number;
  startedAt: string;
  uptimeSec: number;
  store: { kind: string; connected: boolean };
  database: { kind: string; connected: boolean };
}

export type Curve = (number | null)[];

/** GET /api/v1/history */
export interface History {
  stepSec: number;
  endsAt: string;
  series: Record<
    | 'requestsPerSec'
    | 'errorsPerSec'
    | 'limitedPerSec'
    | 'p50Ms'
    | 'p95Ms'
    | 'p99Ms'
    | 'inFlight'
    | 'connections',
    Curve
  >;
  workers: { id: number; cpuRatio: Curve; residentBytes: Curve; loopDelayMs: Curve }[];
}

export type Mode = 'limit' | 'unlimited' | 'blocked';

export interface Limits {
  capacity: number;
  refillPerSecond: number;
}

export interface Client {
  clientId: string;
  mode: Mode;
  capacity: number | null;
  refillPerSecond: number | null;
  limits: Record<string, Limits>;
  lastSeenAt?: string | null;
}

export interface Bucket extends Limits {
  policy: string;
  level: number;
  nextTokenMs: number;
}

export interface ApiKey {
  keyId: string;
  name: string | null;
  createdAt: string;
}

interface TopSender {
  client: string;
  kind: 'client' | 'address';
  requestsPerSec: number;
  limitedPerSec: number;
  share: number;
}

export interface Top {
  windowSec: number;
  totalPerSec: number;
  errorBoundPerSec: number;
  items: TopSender[];
}

/** The event `request` of GET /api/v1/requests: the fields of an access line that are shown. */
export interface AccessLine {
  time: string;
  requestId: string;
  clientIp: string | null;
  clientId: string | null;
  method: string | null;
  host: string | null;
  path: string | null;
  status: number;
  reason: string;
  totalMs: number;
  route: string | null;
  backend: string | null;
}

export interface Explanation {
  route: string | null;
  refusal: { status: number; reason: string; text: string } | null;
  client: { clientId: string | null; clientIp: string; mode: string; by: string; bucketName: string } | null;
  policies: (Limits & { policy: string; cost: number; level: number | null; shadow: boolean })[];
  pool: string | null;
  redirect: { status: number; location: string } | null;
  priority: string | null;
  backends: { id: string; state: string; wouldBeTried: boolean; why: string }[];
  routes: { route: string; matched: boolean; why: string }[];
  /** Routes and backends beyond the first 1,000. */
  leftOut: number;
  steps: string[];
}

export interface ConfigRoute {
  name: string;
  match: { host?: string; path?: string; methods?: string[] };
  pool?: string;
  redirect?: { scheme: string; status: number };
  priority?: string;
  upgrade?: string[];
  rateLimit: 'off' | { policy: string | string[]; cost: number };
}

export interface ConfigAnswer {
  routes: ConfigRoute[];
  rateLimit: {
    enabled: boolean;
    policies: Record<string, Limits & { shadow: boolean; onStoreFailure: string }>;
  };
  [block: string]: unknown;
}

export interface FileProblem {
  path: string | null;
  line: number | null;
  message: string;
}

export interface ConfigDiff {
  same: boolean;
  problems: FileProblem[];
  changes: { path: string; running: unknown; file: unknown }[];
}

export interface ConfigCheck {
  ok: boolean;
  problems: FileProblem[];
  warnings: FileProblem[];
}
