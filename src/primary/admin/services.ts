/** What the admin port asks of the rest of the primary. admin-services.ts implements it; tests do so in memory. */
import type { ApiKeyService } from '../../clients/api-key-service.ts';
import type { ClientRepository } from '../../clients/client-repository.ts';
import type { Problem } from '../../config/problems.ts';
import type { BackendState } from '../../contract/health.ts';
import type { BackendSettings, PoolSettings, Settings } from '../../contract/settings.ts';
import type { Logger } from '../../infra/logging/logger.ts';
import type { BucketView } from '../../limit/bucket/bucket-peek.ts';

type MaybePromise<T> = T | Promise<T>;

/** ClientStore is the table of clients. Ids arrive checked and in canonical form. */
export type ClientStore = Pick<ClientRepository, 'list' | 'get' | 'create' | 'put' | 'patch' | 'remove'>;

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
  /** Revision of the configuration that it runs; null: none yet. */
  revision: number | null;
  connections: number;
  requestsTotal: number;
  inFlight: number;
  /** Longest delay of the event loop within the last second. */
  loopDelayMs: number;
}

export type ReloadOutcome =
  | {
      ok: true;
      revision: number;
      /** Numbers of the workers that have not said in time that they run it. They will apply it, or be replaced. */
      pendingWorkers: number[];
    }
  | { ok: false; problems: readonly Problem[] };

/** What Sluice can be without for a while; `backends`: some pool has none that takes requests. */
export type Dependency = 'redis' | 'postgres' | 'backends';

export interface Readiness {
  status: 'starting' | 'ready' | 'draining';
  /** Stores that are away; Sluice serves without them. */
  degraded: Dependency[];
  workers: { serving: number; wanted: number };
}

export interface AdminServices {
  readonly clients: ClientStore;
  readonly apiKeys: ApiKeyStore;
  readonly logger: Logger;
  /**
   * The live buckets that requests of a client or address take from, one per policy. Rejects with LbError client_not_found,
   * store_unavailable or store_timeout.
   */
  buckets(clientId: string): Promise<{ bucketName: string; items: BucketView[] }>;
  /** Fills them all; rejects as `buckets` does. */
  resetBuckets(clientId: string): Promise<void>;
  /** Counts an answered call. @param route the pattern of its path; the set of them is closed */
  countRequest(route: string, status: number): void;
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
