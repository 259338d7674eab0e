/** What the calls of the admin port answer, as far as the dashboard shows it. docs/admin-api.md describes all of it. */
import type { BucketLimits, SeenView } from '../../contract/client-view.ts';
import type { EventEntry } from '../../contract/events.ts';
import type { PoolView } from '../../contract/pool-view.ts';
import type { Failure, RequestEnd } from '../../contract/request-failure.ts';
import type { History, Live } from '../../contract/status.ts';

export type {
  BucketLimits as Limits,
  BucketView as Bucket,
  KeyView as ApiKey,
  SeenView as Client,
  WrittenView as WrittenClient,
} from '../../contract/client-view.ts';
export type { ConfigCheck, ConfigDiff, FileProblem } from '../../contract/config-file-view.ts';
export type { EventEntry as Change } from '../../contract/events.ts';
export type { ExplanationView as Explanation } from '../../contract/explain-view.ts';
export type { BackendView as Backend, PoolView as Pool } from '../../contract/pool-view.ts';
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

/** The event `sample` of GET /api/v1/events, once a second. */
export interface Sample extends Live {
  at: string;
  pools: PoolView[];
  /** Its newest second. */
  history: History;
}

export type Curve = (number | null)[];

export type Mode = SeenView['mode'];

/** The event `request` of GET /api/v1/requests: the fields of an access line that are shown. */
export interface AccessLine extends RequestEnd {
  failure: Failure;
  time: string;
  requestId: string;
  clientIp: string | null;
  clientId: string | null;
  method: string | null;
  host: string | null;
  path: string | null;
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
    policies: Record<string, BucketLimits & { shadow: boolean; onStoreFailure: string }>;
  };
  [block: string]: unknown;
}

/** Of GET /api/v1/audit. */
export interface AuditEntry extends EventEntry {
  /** The machine where it happened. */
  instance: string;
}
