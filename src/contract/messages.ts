/**
 * IPC between primary and workers: discriminated unions, parsed at both ends, with a protocol version. A message that
 * does not parse is an error of the build, never of a user: the receiver logs it and goes on.
 */
import * as z from 'zod';
import type { TakeReply, TakeRequest } from './buckets.ts';
import type { ApiKeyRecord } from './clients.ts';
import type { BackendAvailability } from './health.ts';
import type { MetricsDelta } from './metrics.ts';
import type { WorkerSettings } from './settings.ts';

/** Raised whenever a message changes shape; a worker of another version is refused at its hello. */
export const PROTOCOL_VERSION = 2;

/** Environment of a worker: which one it is (0…count - 1; a replacement has the number of the one before) of how many. */
export const WORKER_INDEX_ENV = 'SLUICE_WORKER_INDEX';
export const WORKER_COUNT_ENV = 'SLUICE_WORKER_COUNT';
/** The DataPath as JSON. */
export const WORKER_DATA_PATH_ENV = 'SLUICE_WORKER_DATA_PATH';

/** Some 1,500 clients, which a worker takes in within 1 ms; the figures are in docs/architecture.md. */
export const CLIENTS_PART_BYTES = 65_536;

/**
 * The descriptor under which a worker inherits its own socket for the first TCP address of `listen` where accept is
 * reuse_port; those of further TCP addresses follow. Below are the standard streams and the IPC channel.
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
      /** The directory's version when it left; the worker has it with a change and with the last part of a full one. */
      version: number;
      /** true: a part of everything, gathered aside, which takes over with the last. false: a change, merged at once. */
      full: boolean;
      /** Of everything: begins anew. */
      first: boolean;
      last: boolean;
      /** Clients and tombstones as src/clients/packed-client.ts packs them, at most CLIENTS_PART_BYTES of them, in base64. */
      records: string;
    }
  | {
      type: 'api-keys';
      /** true: replaces all keys and the secret once the last part is there. */
      full: boolean;
      first: boolean;
      last: boolean;
      /** What digests are made with; null: this machine has no secret and accepts no key. Counts in full sets only. */
      secret: string | null;
      upserts: ApiKeyRecord[];
      /** Digests of keys that are revoked. */
      removed: string[];
    }
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
  | { type: 'clients-applied'; part: number; version: number }
  | { type: 'listen-failed'; code: string; address: string; detail: string }
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

const number = z.number();
const text = z.string();
const apiKey = z.strictObject({ digest: text, clientId: text });
const take = z.strictObject({
  key: text,
  capacity: number,
  rateMicro: number,
  versionUs: number,
  need: number,
  partial: z.boolean(),
  ahead: number,
  ret: number,
  spent: number,
  retEpoch: number,
  refund: number,
  refundEpoch: number,
});
const takeReply = z.strictObject({
  granted: number,
  ahead: number,
  levelMicro: number,
  retryUs: number,
  epoch: number,
  versionUs: number,
  capacity: number,
  rateMicro: number,
});
const metrics = z.strictObject({
  series: z.array(
    z.strictObject({
      index: number,
      name: z.custom<MetricsDelta['series'][number]['name']>(),
      labels: z.array(text),
    }),
  ),
  cells: z.array(number),
});
const report = z.strictObject({
  metrics,
  connections: number,
  requestsTotal: number,
  inFlight: number,
  loopDelayP99Ms: number,
  breakerOpen: z.boolean(),
  backendsInFlight: z.array(z.strictObject({ pool: text, backend: text, count: number })),
});

const primaryMessage = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('settings'),
    revision: number,
    policyVersionUs: number,
    // Validated by config/ in the process that sends it; only its being an object is checked again.
    settings: z.custom<WorkerSettings>((value) => typeof value === 'object' && value !== null),
  }),
  z.strictObject({
    type: z.literal('backends'),
    states: z.array(
      z.strictObject({ pool: text, backend: text, healthy: z.boolean(), enabled: z.boolean() }),
    ),
  }),
  z.strictObject({
    type: z.literal('clients'),
    part: number,
    version: number,
    full: z.boolean(),
    first: z.boolean(),
    last: z.boolean(),
    records: text,
  }),
  z.strictObject({
    type: z.literal('api-keys'),
    full: z.boolean(),
    first: z.boolean(),
    last: z.boolean(),
    secret: text.nullable(),
    upserts: z.array(apiKey),
    removed: z.array(text),
  }),
  z.strictObject({ type: z.literal('bucket-replies'), id: number, replies: z.array(takeReply.nullable()) }),
  z.strictObject({ type: z.literal('bucket-reset'), keys: z.array(text) }),
  z.strictObject({ type: z.literal('fleet'), meanConnections: number }),
  z.strictObject({ type: z.literal('store-workers'), count: number }),
  z.strictObject({ type: z.literal('drain'), graceMs: number, drainMs: number }),
  z.strictObject({ type: z.literal('stop') }),
]);

const workerMessage = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('hello'), protocol: number, pid: number }),
  z.strictObject({ type: z.literal('ready'), addresses: z.array(text), revision: number }),
  z.strictObject({ type: z.literal('applied'), revision: number }),
  z.strictObject({ type: z.literal('clients-applied'), part: number, version: number }),
  z.strictObject({ type: z.literal('listen-failed'), code: text, address: text, detail: text }),
  z.strictObject({ type: z.literal('backend-failure'), pool: text, backend: text, detail: text }),
  z.strictObject({ type: z.literal('bucket-takes'), id: number, takes: z.array(take) }),
  z.strictObject({ type: z.literal('report'), report }),
  z.strictObject({ type: z.literal('draining') }),
  z.strictObject({ type: z.literal('drained') }),
]);

/** parsePrimaryMessage is the worker's door; null for anything it does not know. */
export function parsePrimaryMessage(raw: unknown): PrimaryMessage | null {
  const parsed = primaryMessage.safeParse(raw);
  return parsed.success ? parsed.data : null;
}

/** parseWorkerMessage is the primary's door; null for anything it does not know. */
export function parseWorkerMessage(raw: unknown): WorkerMessage | null {
  const parsed = workerMessage.safeParse(raw);
  return parsed.success ? parsed.data : null;
}
