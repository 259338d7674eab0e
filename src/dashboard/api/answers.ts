/** What the calls of the admin port answer, as far as the dashboard shows it. docs/admin-api.md describes all of it. */
import type { EventEntry } from '../../contract/events.ts';
import type { History, Live } from '../../contract/status.ts';

export type { EventEntry as Change } from '../../contract/events.ts';
export type { ExplanationView as Explanation } from '../../contract/explain-view.ts';
export type { History, PolicyTraffic, Problem, Status, WorkerLoad } from '../../contract/status.ts';
export type { TopView as Top } from '../../contract/top-view.ts';

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
  requestsPerSec: number;
  p99Ms: number | null;
  share: number | null;
}

export interface Pool {
  pool: string;
  balance: string;
  queueRefusedPerSec: number;
  backends: Backend[];
}

/** The event `sample` of GET /api/v1/events, once a second. */
export interface Sample extends Live {
  at: string;
  pools: Pool[];
  /** Its newest second. */
  history: History;
}

export type Curve = (number | null)[];

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
  /** null: not since the workers began; absent: not known. */
  lastSeenAt?: string | null;
  /** Of the answer to a write: the workers that do not know it yet; absent: all do. */
  pendingWorkers?: number[];
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

/** Of GET /api/v1/audit. */
export interface AuditEntry extends EventEntry {
  /** The machine where it happened. */
  instance: string;
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
