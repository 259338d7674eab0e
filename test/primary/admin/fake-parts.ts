/** In-memory parts of the primary, with those rules of the real ones that the admin port relies on. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { pino } from 'pino';
import type { ApiKeyView } from '../../../src/clients/api-key-store.ts';
import type { ClientInput } from '../../../src/clients/client-record.ts';
import type { BucketLimits, ClientRecord } from '../../../src/contract/clients.ts';
import { LbError } from '../../../src/contract/errors.ts';
import type { Settings } from '../../../src/contract/settings.ts';
import type { AdminParts, Phase } from '../../../src/primary/admin/parts.ts';
import { EventLog } from '../../../src/primary/events/event-log.ts';
import { HealthRegistry } from '../../../src/primary/health/health-registry.ts';
import { MetricsCollector } from '../../../src/primary/metrics/metrics-collector.ts';
import type { Reloader, ReloadOutcome } from '../../../src/primary/reloader.ts';
import { StatusBoard } from '../../../src/primary/status/status-board.ts';
import type { Roll } from '../../../src/primary/workers/rolling-replacement.ts';
import type { ListedTunnel } from '../../../src/primary/workers/tunnel-list.ts';
import { reportOf } from '../workers/fixtures/report.ts';

type ClientStore = AdminParts['directory']['clients'];
type ApiKeyStore = AdminParts['directory']['apiKeys'];
type WorkerView = ReturnType<AdminParts['supervisor']['workers']>[number];

const NO_ROWS = { page: async () => ({ items: [], next: null }) };

export class FakeClients implements ClientStore {
  readonly rows = new Map<string, ClientInput>();
  /** Set: every call fails with it. */
  failure: Error | null = null;
  /** Set: every call waits for it first. */
  gate: Promise<void> | null = null;
  #clockUs = 1_000;

  async list({ limit, after, prefix = '' }: { limit: number; after: string | null; prefix?: string }) {
    await this.#pass();
    const ids = [...this.rows.keys()]
      .sort()
      .filter((id) => id.startsWith(prefix) && (after === null || id > after));
    const items = ids.slice(0, limit).map((id) => this.#recordOf(id));
    return { items, next: ids.length > limit ? (ids[limit - 1] ?? null) : null };
  }

  async get(clientId: string) {
    await this.#pass();
    return this.#recordOf(clientId);
  }

  async create(clientId: string, input: ClientInput) {
    await this.#pass();
    if (this.rows.has(clientId)) throw new LbError('client_exists', 'secret host db-7');
    this.rows.set(clientId, input);
    return this.#recordOf(clientId);
  }

  async put(clientId: string, input: ClientInput) {
    await this.#pass();
    const before = this.rows.has(clientId) ? this.#recordOf(clientId) : null;
    this.rows.set(clientId, input);
    return { before, record: this.#recordOf(clientId) };
  }

  async patch(clientId: string, patch: Partial<ClientInput>) {
    await this.#pass();
    const before = this.#recordOf(clientId);
    this.rows.set(clientId, { ...this.rows.get(clientId)!, ...patch });
    return { before, record: this.#recordOf(clientId) };
  }

  async remove(clientId: string) {
    await this.#pass();
    const before = this.#recordOf(clientId);
    this.rows.delete(clientId);
    return before;
  }

  async #pass() {
    if (this.failure !== null) throw this.failure;
    await this.gate;
  }

  #recordOf(clientId: string): ClientRecord {
    const row = this.rows.get(clientId);
    if (row === undefined) throw new LbError('client_not_found', 'secret host db-7');
    const { mode, capacity, refillPerSecond } = row;
    const limits: Record<string, BucketLimits> = { ...row.limits };
    if (capacity !== null && refillPerSecond !== null) limits.default = { capacity, refillPerSecond };
    return { clientId, mode, limits, versionUs: this.#clockUs++ };
  }
}

/** In-memory API keys; test/postgres/api-keys.test.ts tests the real ones. */
export class FakeApiKeys implements ApiKeyStore {
  readonly #clients: FakeClients;
  readonly #rows: { clientId: string; view: ApiKeyView }[] = [];
  /** Set: every call fails with it. */
  failure: Error | null = null;
  #count = 0;

  constructor(clients: FakeClients) {
    this.#clients = clients;
  }

  async issue(clientId: string, name: string | null) {
    await this.#check(clientId);
    this.#count++;
    const view = { keyId: `k${this.#count}`, name, createdAt: new Date(this.#count).toISOString() };
    this.#rows.push({ clientId, view });
    return { ...view, key: `secret-${this.#count}-key` };
  }

  async list(clientId: string, { limit, after }: { limit: number; after: string | null }) {
    await this.#check(clientId);
    const views = this.#rows.filter((row) => row.clientId === clientId).map(({ view }) => view);
    const items = views.slice(views.findIndex(({ keyId }) => keyId === after) + 1);
    const next = items.length > limit ? (items[limit - 1]?.keyId ?? null) : null;
    return { items: items.slice(0, limit), next };
  }

  async revoke(clientId: string, keyId: string) {
    await this.#check(clientId);
    const index = this.#rows.findIndex((row) => row.clientId === clientId && row.view.keyId === keyId);
    if (index < 0) throw new LbError('key_not_found', 'secret host db-7');
    this.#rows.splice(index, 1);
  }

  async #check(clientId: string) {
    if (this.failure !== null) throw this.failure;
    await this.#clients.get(clientId);
  }
}

export interface FakeParts extends AdminParts {
  events: EventLog;
  board: StatusBoard;
  collector: MetricsCollector;
  clients: FakeClients;
  apiKeys: FakeApiKeys;
  registry: HealthRegistry;
  reloader: Pick<Reloader, 'current' | 'last' | 'look' | 'reload' | 'setLogLevel'>;
  directory: AdminParts['directory'] & { feed: { loaded: boolean; failure: Error | null } };
  /** Set: every reset fails with it. */
  resetFailure: Error | null;
  /** What the workers say of clients. */
  seen: Map<string, string | null>;
  /** How often a call waited for the workers. */
  told: number;
  /** How often a call waited for the file of backends. */
  saved: number;
  /** Ids of the clients whose buckets were reset. */
  resets: string[];
  /** Routes and statuses of the calls that were answered. */
  counted: string[];
  outcome: () => Promise<ReloadOutcome>;
  /** What a reload would find; default: what runs. */
  file: AdminParts['reloader']['look'];
  roll: Roll | null;
  now: { phase: Phase; serving: number; storeConnected: boolean; databaseAway: boolean };
  settings: Settings;
  logLines: string[];
  metrics: () => Promise<string>;
  /** All state that a refused call must not change. */
  state(): string;
}

export function makeFakeParts(settings: Settings): FakeParts {
  const clients = new FakeClients();
  const registry = new HealthRegistry();
  registry.configure(settings.pools);
  const now: FakeParts['now'] = { phase: 'ready', serving: 2, storeConnected: true, databaseAway: false };
  const apiKeys = new FakeApiKeys(clients);
  const table = { get: () => null, longestRange: () => null };
  const logLines: string[] = [];
  const logger = pino({ level: 'info' }, { write: (line: string) => void logLines.push(line) });
  const events = new EventLog(logger);
  const collector = new MetricsCollector();
  const parts: Omit<FakeParts, 'board'> = {
    events,
    collector,
    clients,
    apiKeys,
    registry,
    now,
    settings,
    logLines,
    counted: [],
    resets: [],
    told: 0,
    saved: 0,
    health: {
      save: async () => {
        for (let turn = 0; turn < 20; turn++) await nextTurn();
        parts.saved++;
      },
    },
    resetFailure: null,
    outcome: async () => ({ ok: true, revision: 2, pendingWorkers: [] }),
    file: () => ({
      path: 'sluice.yaml',
      loaded: { settings: parts.settings, warnings: [], digest: '' },
      problems: [],
    }),
    roll: { begun: Promise.resolve(), ended: Promise.resolve() },
    metrics: async () => '# HELP up x\n# TYPE up gauge\nup 1\n',
    state: () => JSON.stringify([[...clients.rows].sort(), registry.states(), parts.settings]),
    logger,
    directory: {
      clients,
      apiKeys,
      whenTold: async () => {
        // An answer that does not wait would be here first.
        for (let turn = 0; turn < 20; turn++) await nextTurn();
        parts.told++;
        return [];
      },
      feed: {
        get degraded() {
          return now.databaseAway;
        },
        loaded: true,
        failure: null,
        table,
      },
    },
    supervisor: {
      workers: () => [fakeWorker(0), fakeWorker(1)],
      counts: () => ({ starting: 0, serving: now.serving, draining: 0, dead: 0 }),
    },
    reloader: {
      get current() {
        return { number: 1, settings: parts.settings, workerCount: 2, policyVersionUs: 1 };
      },
      last: { succeeded: true, problems: [], tookMs: 0, successAtMs: 0 },
      reload: () => parts.outcome(),
      look: () => parts.file(),
      setLogLevel: (level) => {
        parts.settings = { ...parts.settings, log: { ...parts.settings.log, level } };
      },
    },
    gauges: {
      text: () => parts.metrics(),
      countAdminRequest: (route, status) => void parts.counted.push(`${route} ${status}`),
    },
    store: {
      connection: {
        get ready() {
          return now.storeConnected;
        },
        failure: null,
      },
    },
    buckets: {
      of: async ({ client }) =>
        parts.settings.rateLimit.policies.map(({ name, capacity, refillPerSecond }) => ({
          policy: name,
          level: 99.5,
          capacity: client?.limits[name]?.capacity ?? capacity,
          refillPerSecond,
          nextTokenMs: 0,
        })),
      reset: async (bucketName) => {
        if (parts.resetFailure !== null) throw parts.resetFailure;
        parts.resets.push(bucketName);
      },
    },
    replaceWorkers: () => parts.roll,
    tunnels: {
      page: async (limit, { worker, number: after }) => {
        if (worker === 9) throw new LbError('worker_timeout', 'worker 9 is silent');
        const more = after + limit < FAKE_TUNNELS;
        const numbers = Array.from(
          { length: Math.min(limit, FAKE_TUNNELS - after) },
          (_, i) => after + 1 + i,
        );
        const next = { worker: 0, pid: 4711, number: after + limit };
        return { items: numbers.map(fakeTunnel), next: more ? next : null };
      },
    },
    explainer: { explain: () => Promise.reject(new LbError('worker_gone', 'no worker serves')) },
    topCallers: {
      top: async (by, limit) => {
        if (limit === 99) throw new LbError('worker_timeout', 'silent');
        const caller = { name: 'acme', isClient: true, requestsPerSec: 12.34567, limitedPerSec: 3 };
        const totalPerSec = by === 'requests' ? 24.69134 : 3;
        return { items: [caller].slice(0, limit), totalPerSec, errorPerSec: 0.5, silentWorkers: 0 };
      },
    },
    seen: new Map(),
    lastSeen: { of: async () => parts.seen },
    requestWatch: { open: () => () => undefined },
    audit: { whenWritten: async () => undefined, events: NO_ROWS, requests: NO_ROWS },
    phase: () => now.phase,
  };
  const board = new StatusBoard({
    ...parts,
    tls: { validities: () => [], fault: null },
    acme: { missing: [] },
    storeWorkers: () => 2,
    countLostLines: () => undefined,
  });
  return Object.assign(parts, { board });
}

const FAKE_TUNNELS = 3;

function fakeTunnel(number: number): ListedTunnel {
  const place = { worker: 0, pid: 4711, number, route: 'chat', pool: 'app', backend: 'one' };
  const caller = { clientIp: '192.0.2.1', clientId: null, host: 'example.com', path: '/chat' };
  const counts = { openedAtMs: 1_000, bytesIn: 5, bytesOut: 7, idleMs: 0.4 };
  return { ...place, ...caller, protocol: 'websocket', ...counts };
}

function fakeWorker(index: number): WorkerView {
  const backendsInFlight = [{ pool: 'app', backend: 'one', count: 2 }];
  const busy = { connections: 3, requestsTotal: 99, inFlight: 1, loopDelayMaxMs: 0.5, backendsInFlight };
  return {
    index,
    wanted: true,
    state: index === 0 ? 'serving' : 'starting',
    pid: 4711 + index,
    startedAtMs: performance.now() - 12_000,
    revision: index === 0 ? 1 : null,
    report: index === 0 ? reportOf(busy) : null,
  };
}
