/**
 * What the admin port asks of the rest of the primary. `primary/main.ts` implements AdminServices over the repository,
 * the health checker, the supervisor and the reloader; tests implement it in memory.
 */
import type { ApiKeyService } from '../../clients/api-key-service.ts';
import type { ClientInput } from '../../clients/client-record.ts';
import type { ClientRecord } from '../../contract/clients.ts';
import type { BackendState } from '../../contract/health.ts';
import type { BackendSettings, PoolSettings, Settings } from '../../contract/settings.ts';
import type { Logger } from '../../infra/logging/logger.ts';
import type { BucketView } from '../../limit/bucket/bucket-peek.ts';

type MaybePromise<T> = T | Promise<T>;

/** ClientPatch: absent fields stay; `limits` replaces as a whole. One of capacity and refill may come alone. */
export type ClientPatch = Partial<ClientInput>;

interface ClientPage {
  /** In ascending order of clientId. */
  items: ClientRecord[];
  /** The `after` of the next page; null: this is the last. */
  next: string | null;
}

/**
 * ClientStore is the table of clients. Ids arrive checked and in canonical form. Rejects with LbError
 * `client_not_found`, `client_exists`, `database_unavailable`, `database_starting`, or `bad_request` where the table
 * refuses; a write that rejects has changed nothing, save when the connection broke while it was committed.
 */
export interface ClientStore {
  /** @param page limit 1…1000; after: the clientId behind which the page starts, null: the first one. */
  list(page: { limit: number; after: string | null }): Promise<ClientPage>;
  get(clientId: string): Promise<ClientRecord>;
  create(clientId: string, input: ClientInput): Promise<ClientRecord>;
  /** Creates or replaces. */
  put(clientId: string, input: ClientInput): Promise<{ record: ClientRecord; created: boolean }>;
  patch(clientId: string, patch: ClientPatch): Promise<ClientRecord>;
  remove(clientId: string): Promise<void>;
}

/**
 * ApiKeyStore issues, lists and revokes the keys of a client. Rejects with LbError `client_not_found`, `key_not_found`,
 * `too_many_keys`, `secret_missing`, `database_unavailable`, `database_starting`.
 */
export type ApiKeyStore = Pick<ApiKeyService, 'issue' | 'list' | 'revoke'>;

export interface BackendStatus {
  settings: BackendSettings;
  state: BackendState;
  /** Requests at it now, over all workers. */
  inFlight: number;
}

export interface PoolStatus {
  settings: PoolSettings;
  backends: BackendStatus[];
}

type WorkerState = 'starting' | 'serving' | 'draining';

export interface WorkerStatus {
  /** The number of the worker's place, 0 … n-1; its replacement has the same. */
  id: number;
  pid: number;
  state: WorkerState;
  uptimeSec: number;
  /** The configuration it acknowledged; null: none yet. */
  revision: number | null;
  connections: number;
  requestsTotal: number;
  inFlight: number;
  /** 99th percentile of the event loop's delay. */
  loopDelayMs: number;
}

/** ReloadProblem is one sentence about the file; null where it concerns no key or no line. */
interface ReloadProblem {
  line: number | null;
  path: string | null;
  message: string;
}

export type ReloadOutcome =
  | { ok: true; revision: number }
  | { ok: false; problems: readonly ReloadProblem[] };

export type Dependency = 'redis' | 'postgres';

export interface Readiness {
  status: 'starting' | 'ready' | 'draining';
  /** What is away while Sluice serves without it. */
  degraded: Dependency[];
  workers: { serving: number; wanted: number };
}

export interface AdminServices {
  readonly clients: ClientStore;
  readonly apiKeys: ApiKeyStore;
  readonly logger: Logger;
  /** The live buckets of a client, one per policy; rejects with LbError store_unavailable or store_timeout. */
  buckets(client: ClientRecord): Promise<BucketView[]>;
  /** Fills them all; rejects as `buckets` does. */
  resetBuckets(client: ClientRecord): Promise<void>;
  /** Names of the policies of the running configuration: the keys that `limits` may have. */
  policyNames(): readonly string[];
  /** In the order of the configuration. */
  pools(): readonly PoolStatus[];
  /** Takes a backend out of the rotation; null: there is no such pool or backend. Doing it twice is no error. */
  drainBackend(pool: string, backend: string): MaybePromise<BackendStatus | null>;
  /** Puts it back. */
  enableBackend(pool: string, backend: string): MaybePromise<BackendStatus | null>;
  workers(): readonly WorkerStatus[];
  /** Never rejects for a bad file. */
  reload(): Promise<ReloadOutcome>;
  /** The running settings, secrets included: the admin port redacts them. */
  config(): Settings;
  readiness(): Readiness;
  /** Everything in the Prometheus text format 0.0.4. */
  metricsText(): MaybePromise<string>;
}
