/**
 * IPC between primary and workers: discriminated unions, parsed at both ends, with a protocol version. A message that
 * does not parse is an error of the build, never of a user: the receiver logs it and goes on.
 */
import type { TakeReply, TakeRequest } from './buckets.ts';
import type { BackendAvailability } from './health.ts';
import type { MetricsDelta } from './metrics.ts';
import type { WorkerSettings } from './settings.ts';
import { fits, type Shape } from './shape.ts';

/** Raised whenever a message changes shape; a worker of another version is refused at its hello. */
export const PROTOCOL_VERSION = 4;

/** Environment of a worker: which one it is (0…count - 1; a replacement has the number of the one before) of how many. */
export const WORKER_INDEX_ENV = 'SLUICE_WORKER_INDEX';
export const WORKER_COUNT_ENV = 'SLUICE_WORKER_COUNT';
/** `1` for a worker that replaces one that had served. */
export const WORKER_REPLACEMENT_ENV = 'SLUICE_WORKER_REPLACEMENT';
/** The DataPath as JSON. */
export const WORKER_DATA_PATH_ENV = 'SLUICE_WORKER_DATA_PATH';

/** Some 1,500 clients, which a worker takes in within 1 ms; the figures are in docs/architecture.md. */
export const CLIENTS_PART_BYTES = 65_536;

/** `1` where the worker inherits the sockets of its TCP addresses, bound; else node:cluster has them. */
export const WORKER_INHERITS_ENV = 'SLUICE_WORKER_INHERITS_SOCKETS';

/**
 * The descriptor under which a worker inherits the socket of the first TCP address of `listen`; those of further TCP addresses
 * follow. Below are the standard streams and the IPC channel.
 */
export const FIRST_LISTEN_FD = 4;

/** What the primary tells a worker. */
export type PrimaryMessage =
  | {
      type: 'settings';
      revision: number;
      /** Load time of the YAML on the database's clock: the version of the policies' limits. */
      policyVersionUs: number;
      settings: WorkerSettings;
    }
  | { type: 'backends'; states: BackendAvailability[] }
  | {
      type: 'clients';
      /** Number of the message, counted up from 1 for each worker; the worker acknowledges it. */
      part: number;
      /** true: with this part the worker knows everybody. Comes once; before it the worker knows nobody. */
      complete: boolean;
      /** What is so from now on, as src/clients/packed-record.ts packs it: at most CLIENTS_PART_BYTES, in base64. */
      records: string;
    }
  /** What digests of API keys are made with; null: this machine has no secret and accepts no key. */
  | { type: 'api-key-secret'; secret: string | null }
  | { type: 'bucket-replies'; id: number; replies: (TakeReply | null)[] }
  /** Buckets that an operator has refilled in the store: what is known of them, or held of them, counts no more. */
  | { type: 'bucket-reset'; keys: string[] }
  /** Once a second with two workers and more: client connections per worker on average. */
  | { type: 'fleet'; meanConnections: number }
  /** Workers of all instances that share Redis: when first known, at each change, and to each new worker. */
  | { type: 'store-workers'; count: number }
  | { type: 'drain'; graceMs: number; drainMs: number }
  | { type: 'stop' };

/** What a worker tells the primary. */
export type WorkerMessage =
  | { type: 'hello'; protocol: number; pid: number }
  | { type: 'ready'; addresses: string[]; revision: number }
  | { type: 'applied'; revision: number }
  /** Every part up to this one was taken in. */
  | { type: 'clients-applied'; part: number }
  /** Why it cannot listen at an address, in one sentence. */
  | { type: 'listen-failed'; reason: string }
  | { type: 'backend-failure'; pool: string; backend: string; detail: string }
  | { type: 'bucket-takes'; id: number; takes: TakeRequest[] }
  | { type: 'report'; report: WorkerReport }
  | { type: 'draining' }
  | { type: 'drained' };

/** WorkerReport comes once a second and once more before a worker exits. */
export interface WorkerReport {
  metrics: MetricsDelta;
  connections: number;
  requestsTotal: number;
  inFlight: number;
  loopDelayP99Ms: number;
  breakerOpen: boolean;
  /** Requests at each backend now. */
  backendsInFlight: { pool: string; backend: string; count: number }[];
}

const NUMBERS = (...names: string[]): Record<string, Shape> =>
  Object.fromEntries(names.map((name) => [name, 'number' as const]));
const STRINGS: Shape = { listOf: 'string' };

const PRIMARY_SHAPES: Record<PrimaryMessage['type'], Record<string, Shape>> = {
  // Settings are validated by config/ in the process that sends them.
  settings: { revision: 'number', policyVersionUs: 'number', settings: 'object' },
  backends: {
    states: {
      listOf: { fields: { pool: 'string', backend: 'string', healthy: 'boolean', enabled: 'boolean' } },
    },
  },
  clients: { part: 'number', complete: 'boolean', records: 'string' },
  'api-key-secret': { secret: { nullOr: 'string' } },
  'bucket-replies': {
    id: 'number',
    replies: {
      listOf: {
        nullOr: {
          fields: {
            ...NUMBERS('granted', 'ahead', 'levelMicro', 'retryUs'),
            ...NUMBERS('epoch', 'versionUs', 'capacity', 'rateMicro'),
          },
        },
      },
    },
  },
  'bucket-reset': { keys: STRINGS },
  fleet: { meanConnections: 'number' },
  'store-workers': { count: 'number' },
  drain: { graceMs: 'number', drainMs: 'number' },
  stop: {},
};

const TAKE: Shape = {
  fields: {
    key: 'string',
    partial: 'boolean',
    ...NUMBERS('capacity', 'rateMicro', 'versionUs', 'need', 'ahead', 'ret', 'spent', 'retEpoch'),
    ...NUMBERS('refund', 'refundEpoch'),
  },
};
const METRICS: Shape = {
  fields: {
    series: { listOf: { fields: { index: 'number', name: 'string', labels: STRINGS } } },
    cells: { listOf: 'number' },
  },
};
const REPORT: Shape = {
  fields: {
    metrics: METRICS,
    ...NUMBERS('connections', 'requestsTotal', 'inFlight', 'loopDelayP99Ms'),
    breakerOpen: 'boolean',
    backendsInFlight: { listOf: { fields: { pool: 'string', backend: 'string', count: 'number' } } },
  },
};

const WORKER_SHAPES: Record<WorkerMessage['type'], Record<string, Shape>> = {
  hello: { protocol: 'number', pid: 'number' },
  ready: { addresses: STRINGS, revision: 'number' },
  applied: { revision: 'number' },
  'clients-applied': { part: 'number' },
  'listen-failed': { reason: 'string' },
  'backend-failure': { pool: 'string', backend: 'string', detail: 'string' },
  'bucket-takes': { id: 'number', takes: { listOf: TAKE } },
  report: { report: REPORT },
  draining: {},
  drained: {},
};

/** parsePrimaryMessage is the worker's door; null for anything it does not know. */
export function parsePrimaryMessage(raw: unknown): PrimaryMessage | null {
  return isMessage(PRIMARY_SHAPES, raw) ? (raw as PrimaryMessage) : null;
}

/** parseWorkerMessage is the primary's door; null for anything it does not know. */
export function parseWorkerMessage(raw: unknown): WorkerMessage | null {
  return isMessage(WORKER_SHAPES, raw) ? (raw as WorkerMessage) : null;
}

function isMessage(shapes: Readonly<Record<string, Record<string, Shape>>>, raw: unknown): boolean {
  if (typeof raw !== 'object' || raw === null || !('type' in raw)) return false;
  const { type } = raw;
  if (typeof type !== 'string' || !Object.hasOwn(shapes, type)) return false;
  return fits({ fields: { type: 'string', ...shapes[type] } }, raw);
}
