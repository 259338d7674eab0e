/**
 * IPC between primary and workers. The two tables of shapes are the protocol: both ends parse by them, and the types of messages
 * derive from them. A receiver logs a message that does not parse, and goes on.
 */
import { REQUEST_COLUMNS, REQUEST_ROWS } from './audited-requests.ts';
import { TAKE_REPLY, TAKE_REQUEST } from './buckets.ts';
import type { DataPath } from './data-path.ts';
import { EXPLAIN_QUERY, EXPLANATION } from './explain.ts';
import { BACKEND_AVAILABILITY, POOL_PANIC } from './health.ts';
import { EXEMPLAR, METRICS_DELTA } from './metrics.ts';
import type { OverloadLevel } from './overload.ts';
import { WATCH_REQUESTS, WATCHED_REQUESTS } from './request-watch.ts';
import type { LogSettings, WorkerSettings } from './settings.ts';
import { type Fitting, fits, type Shape, type Typed } from './shape.ts';
import { TLS_ADDRESS } from './tls.ts';
import { TOP_PART, TOP_QUERY } from './top-callers.ts';

/** The environment variable that holds a worker's WorkerPlace as JSON. */
export const WORKER_PLACE = 'SLUICE_WORKER_PLACE';

/** WorkerPlace is what the primary tells a worker before any message. */
export interface WorkerPlace {
  /** The primary's PROTOCOL_VERSION (infra/protocol-version.ts). */
  protocol: number;
  /** 0…workerCount - 1; a replacement has the index of the worker before it. */
  workerIndex: number;
  /** At the fork; the settings have the number in force. */
  workerCount: number;
  /** Whether it replaces a worker that had served. */
  replacement: boolean;
  dataPath: DataPath;
  /** As they are now; each settings message brings those in force. */
  log: Pick<LogSettings, 'level' | 'format' | 'file'>;
  /** Descriptors of the inherited, bound sockets by addressesByKey. The primary deals the connections of addresses without one. */
  listenFds: Record<string, number>;
  /** Where it waits for the next primary if this one dies (contract/orphans.ts); null: it ends with this one. */
  orphanFolder: string | null;
}

/** PlaceAmongWorkers is which worker this is, of how many: for its part of what holds per machine. */
export type PlaceAmongWorkers = Pick<WorkerPlace, 'workerIndex' | 'workerCount'>;

/** Some 1,500 clients, which a worker applies within 1 ms. */
export const CLIENTS_PART_BYTES = 65_536;

/** More names than have orders at once. */
export const MAX_ACME_CHALLENGES = 100;

const ACME_CHALLENGE = { fields: { token: 'string', keyAuthorization: 'string' } } as const;
/** AcmeChallenge is what a certificate authority asks for at a path, and the answer that it expects (RFC 8555 §8.3). */
export type AcmeChallenge = Fitting<typeof ACME_CHALLENGE>;

/** Clients in one message at most, which a worker looks up within 1 ms: those of a page of the admin port. */
export const SEEN_PART_MAX = 1_000;

/** Tunnels in one message at most. */
export const TUNNELS_PART_MAX = 200;
/** Characters of a path or a host in a view of a tunnel. */
export const TUNNEL_TEXT_MAX = 256;

const TUNNEL_VIEW = {
  fields: {
    /** Counts the tunnels of a worker, from 1. */
    number: 'number',
    route: 'string',
    pool: 'string',
    backend: 'string',
    clientIp: 'string',
    clientId: { nullOr: 'string' },
    host: { nullOr: 'string' },
    /** Without its query. */
    path: { nullOr: 'string' },
    /** The token of Upgrade. */
    protocol: 'string',
    /** Wall clock. */
    openedAtMs: 'number',
    bytesIn: 'number',
    bytesOut: 'number',
    /** Since the last byte in either direction, to a second. */
    idleMs: 'number',
  },
} as const;
/** TunnelView is what the admin port shows of a tunnel. */
export type TunnelView = Fitting<typeof TUNNEL_VIEW>;

const STRINGS = { listOf: 'string' } as const;
const STATES = { listOf: BACKEND_AVAILABILITY } as const;
const PANICS = { listOf: POOL_PANIC } as const;

/** What the primary tells a worker. */
const PRIMARY_SHAPES = {
  settings: {
    revision: 'number',
    /** The version of the policies' limits: when the file was loaded, on the database's clock. */
    policyVersionUs: 'number',
    /** config/ has checked them in the process that sends them. */
    settings: 'object' as Typed<'object', WorkerSettings>,
    /** Of all backends. */
    states: STATES,
    /** Of all pools. */
    panics: PANICS,
    /** As in `store-workers`; null: not known yet. */
    storeWorkers: { nullOr: 'number' },
  },
  /** Of the backends and the pools for which it has changed. */
  backends: { states: STATES, panics: PANICS },
  /** Asks what this worker has seen of a backend. */
  'ask-backend': { id: 'number', pool: 'string', backend: 'string' },
  clients: {
    /** Counts the messages to this worker from 1; the worker acknowledges it. */
    part: 'number',
    /** true: a set of all clients begins. The worker answers from the set before, if any, until it is complete. */
    begins: 'boolean',
    /** true: with this part the worker has the whole set. */
    complete: 'boolean',
    /** Changes, packed by src/clients/packed-record.ts: at most CLIENTS_PART_BYTES, in base64. */
    records: 'string',
  },
  /** The secret that verifies API keys; null: this machine has none and accepts no key. */
  'api-key-secret': { secret: { nullOr: 'string' } },
  /** All challenges of certificate authorities that are open now, at most MAX_ACME_CHALLENGES; acknowledged by its version. */
  'acme-challenges': { version: 'number', challenges: { listOf: ACME_CHALLENGE } },
  /** Certificates and ticket keys of all addresses with TLS; before the settings, and again with every change. */
  tls: { ticketKeys: 'string', addresses: { listOf: TLS_ADDRESS } },
  'bucket-replies': { id: 'number', replies: { listOf: { nullOr: TAKE_REPLY } } },
  /** An operator has refilled these buckets in the store: the worker forgets what it knows and holds of them. */
  'bucket-reset': { keys: STRINGS },
  /** Asks for the tunnels with the `limit` lowest numbers above `after`, at most TUNNELS_PART_MAX. */
  'list-tunnels': { id: 'number', after: 'number', limit: 'number' },
  /** Asks which way a request would take. */
  explain: { id: 'number', ...EXPLAIN_QUERY },
  /** Asks for the callers with the highest rates, at most TOP_PART_MAX. */
  'list-top': { id: 'number', ...TOP_QUERY },
  /** Asks when these clients were last seen, at most SEEN_PART_MAX. */
  'list-seen': { id: 'number', clientIds: STRINGS },
  /** A viewer wants to see requests as they end, until `unwatch-requests`. */
  'watch-requests': WATCH_REQUESTS,
  'unwatch-requests': { id: 'number' },
  /** Once a second if there are two workers or more: the mean of their client connections. */
  fleet: { meanConnections: 'number' },
  /** Workers of all instances that share Redis; sent when first known and at each change. */
  'store-workers': { count: 'number' },
  /** Comes with a connection that the primary accepted at an address, of addressesByKey. */
  connection: { address: 'string' },
  /** Comes with the bound socket of an address that the next settings have and those before had not; or answers `spare-sockets`. */
  'listen-socket': { address: 'string' },
  /** Answers the worker's message of the same name: no `connection` follows. */
  'no-more-connections': {},
  /** Start the thread that logs where this worker hangs, if it does; may come again. */
  'watch-loop': {},
  /** The level of the application log until the next settings. */
  'log-level': { level: 'string' as Typed<'string', LogSettings['level']> },
  /** The log file was moved away: open it anew. */
  'reopen-logs': {},
  /** patient: other workers serve, so that there is no hurry. */
  drain: { graceMs: 'number', drainMs: 'number', patient: 'boolean' },
  stop: {},
} as const;

/** What a worker tells the primary. */
const WORKER_SHAPES = {
  /** Never changes: by it a worker and a primary of different versions find that they are. */
  hello: { protocol: 'number', pid: 'number' },
  ready: { revision: 'number' },
  applied: { revision: 'number' },
  /** Every part up to this one was applied. */
  'clients-applied': { part: 'number' },
  /** Every request is answered from these challenges from now on. */
  'acme-challenges-applied': { version: 'number' },
  /** The worker has the `connection` and can take another. */
  'connection-taken': {},
  /** Asks for every bound socket once more, so that the worker can stop accepting for a while: it closes one and keeps the other. */
  'spare-sockets': {},
  /** The worker is about to close its listeners. */
  'no-more-connections': {},
  /** Why the worker cannot listen at an address, in one sentence. */
  'listen-failed': { reason: 'string' },
  /**
   * A backend of a pool with `outlier` has failed a request: counts for its ejection. streak: so many in a row in this worker. At most
   * a few per second.
   */
  'request-error': { pool: 'string', backend: 'string', streak: 'number', detail: 'string' },
  /** Answers `ask-backend`. okAgoMs: since its last success, null: none yet; errorsAgoMs: since each of the errors in a row. */
  'backend-results': { id: 'number', okAgoMs: { nullOr: 'number' }, errorsAgoMs: { listOf: 'number' } },
  /** No connection to a backend could be made: counts as a failed probe. At most `fall` of each backend per second. */
  'connect-failure': { pool: 'string', backend: 'string', detail: 'string' },
  /** Answers `list-tunnels`. more: there are tunnels with higher numbers. */
  tunnels: { id: 'number', items: { listOf: TUNNEL_VIEW }, more: 'boolean' },
  /** Answers `explain`; null: this worker cannot. */
  explained: { id: 'number', explanation: { nullOr: EXPLANATION } },
  /** Answers `list-top`. */
  'top-callers': { id: 'number', ...TOP_PART },
  /** Answers `list-seen`, in its order: seconds since the epoch; 0: not since this worker began. */
  'seen-clients': { id: 'number', seenSecs: { listOf: 'number' } },
  /** What a viewer wants to see; a few times a second at most. */
  'watched-requests': WATCHED_REQUESTS,
  /** Rows for the audit of requests. */
  'request-rows': REQUEST_ROWS,
  'bucket-takes': { id: 'number', takes: { listOf: TAKE_REQUEST } },
  /** Once a second, and once more before the worker exits. */
  report: {
    report: {
      fields: {
        metrics: METRICS_DELTA,
        exemplars: { listOf: EXEMPLAR },
        connections: 'number',
        /** Those of `connections` by protocol (CONNECTION_PROTOCOLS). */
        connectionsByProtocol: { fields: { pending: 'number', http1: 'number', h2: 'number' } },
        requestsTotal: 'number',
        inFlight: 'number',
        tunnels: 'number',
        /** The longest turn of the event loop since the report before. */
        loopDelayMaxMs: 'number',
        overload: 'string' as Typed<'string', OverloadLevel>,
        /** What is overloaded; null with the level `none`. */
        overloadReason: { nullOr: 'string' },
        /** Part of the time since the report before that the event loop did not wait, 0 to 1. */
        busyRatio: 'number',
        /** CPU time of the process, user and system. */
        cpuSec: 'number',
        residentBytes: 'number',
        heapUsedBytes: 'number',
        heapLimitBytes: 'number',
        /** Time for which the collection of garbage stopped the process, by kind. */
        gcSec: { fields: { minor: 'number', major: 'number', incremental: 'number', weak: 'number' } },
        /** Descriptors; 0: not counted yet. */
        openFiles: 'number',
        maxFiles: 'number',
        breakerOpen: 'boolean',
        /** Requests at each backend now. */
        backendsInFlight: { listOf: { fields: { pool: 'string', backend: 'string', count: 'number' } } },
      },
    },
  },
  draining: {},
  drained: {},
} as const;

/**
 * The shapes of messages. It has neither that of settings and of clients' records, nor the values of an enum: of these the product's
 * version stands for what both ends mean.
 */
export const PROTOCOL_TEXT = JSON.stringify([PRIMARY_SHAPES, WORKER_SHAPES, REQUEST_COLUMNS]);

type MessageOf<Shapes> = {
  [Name in keyof Shapes]: { type: Name } & Fitting<{ readonly fields: Shapes[Name] }>;
}[keyof Shapes];

export type PrimaryMessage = MessageOf<typeof PRIMARY_SHAPES>;
export type WorkerMessage = MessageOf<typeof WORKER_SHAPES>;
export type WorkerReport = Extract<WorkerMessage, { type: 'report' }>['report'];

/** parsePrimaryMessage is called by the worker; null for anything that is not a message of the primary. */
export function parsePrimaryMessage(raw: unknown): PrimaryMessage | null {
  return isMessage(PRIMARY_SHAPES, raw) ? (raw as PrimaryMessage) : null;
}

/** parseWorkerMessage is called by the primary; null for anything that is not a message of a worker. */
export function parseWorkerMessage(raw: unknown): WorkerMessage | null {
  return isMessage(WORKER_SHAPES, raw) ? (raw as WorkerMessage) : null;
}

function isMessage(shapes: Readonly<Record<string, Readonly<Record<string, Shape>>>>, raw: unknown): boolean {
  if (typeof raw !== 'object' || raw === null || !('type' in raw)) return false;
  const { type } = raw;
  if (typeof type !== 'string' || !Object.hasOwn(shapes, type)) return false;
  return fits({ fields: { type: 'string', ...shapes[type] } }, raw);
}
