/** AdminServices in memory, with the rules of the real ones that the admin port relies on. */
import { pino } from 'pino';
import type { ApiKeyView } from '../../../src/clients/api-key-repository.ts';
import type { ClientInput } from '../../../src/clients/client-record.ts';
import type { BucketLimits, ClientRecord } from '../../../src/contract/clients.ts';
import { LbError } from '../../../src/contract/errors.ts';
import type { BackendState } from '../../../src/contract/health.ts';
import type { Settings } from '../../../src/contract/settings.ts';
import type {
  AdminServices,
  ApiKeyStore,
  BackendStatus,
  ClientStore,
  PoolStatus,
  Readiness,
  ReloadOutcome,
} from '../../../src/primary/admin/services.ts';

export class FakeClients implements ClientStore {
  readonly rows = new Map<string, ClientInput>();
  /** Set: every call fails with it. */
  failure: Error | null = null;
  /** Set: every call waits for it first. */
  gate: Promise<void> | null = null;
  #clockUs = 1_000;

  async list({ limit, after }: { limit: number; after: string | null }) {
    await this.#pass();
    const ids = [...this.rows.keys()].sort().filter((id) => after === null || id > after);
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
    const created = !this.rows.has(clientId);
    this.rows.set(clientId, input);
    return { record: this.#recordOf(clientId), created };
  }

  async patch(clientId: string, patch: Partial<ClientInput>) {
    await this.#pass();
    const row = this.rows.get(clientId);
    if (row === undefined) throw new LbError('client_not_found', 'secret host db-7');
    this.rows.set(clientId, { ...row, ...patch });
    return this.#recordOf(clientId);
  }

  async remove(clientId: string) {
    await this.#pass();
    if (!this.rows.delete(clientId)) throw new LbError('client_not_found', 'secret host db-7');
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

/** Keys of the clients in memory; the real ones are those of test/postgres/api-keys.test.ts. */
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

export interface FakeServices extends AdminServices {
  clients: FakeClients;
  apiKeys: FakeApiKeys;
  /** Ids of the clients whose buckets were reset. */
  resets: string[];
  /** Routes and statuses of the calls that were answered. */
  counted: string[];
  poolList: PoolStatus[];
  outcome: ReloadOutcome;
  ready: Readiness;
  settings: Settings;
  logLines: string[];
  metrics: () => Promise<string>;
  /** Everything that a refused call must not change. */
  state(): string;
}

export function makeFakeServices(settings: Settings): FakeServices {
  const logLines: string[] = [];
  const poolList = settings.pools.map((pool) => ({
    settings: pool,
    backends: pool.backends.map((backend) => ({
      settings: backend,
      state: freshState(pool.name, backend.id),
      inFlight: 0,
    })),
  }));
  const setEnabled = (pool: string, id: string, enabled: boolean): BackendStatus | null => {
    const found = poolList
      .find((each) => each.settings.name === pool)
      ?.backends.find((each) => each.settings.id === id);
    if (found === undefined) return null;
    found.state.enabled = enabled;
    found.state.reason = enabled ? null : 'drained by an operator';
    return found;
  };
  const clients = new FakeClients();
  const services: FakeServices = {
    clients,
    apiKeys: new FakeApiKeys(clients),
    logger: pino({ level: 'info' }, { write: (line: string) => void logLines.push(line) }),
    poolList,
    outcome: { ok: true, revision: 2, pendingWorkers: [] },
    ready: { status: 'ready', degraded: [], workers: { serving: 2, wanted: 2 } },
    settings,
    logLines,
    metrics: async () => '# HELP up x\n# TYPE up gauge\nup 1\n',
    buckets: async (clientId) => {
      const client = await clients.get(clientId);
      const items = settings.rateLimit.policies.map(({ name, capacity, refillPerSecond }) => ({
        policy: name,
        level: 99.5,
        capacity: client.limits[name]?.capacity ?? capacity,
        refillPerSecond,
        nextTokenMs: 0,
      }));
      return { bucketName: clientId, items };
    },
    resetBuckets: async (clientId) => void services.resets.push((await clients.get(clientId)).clientId),
    countRequest: (route, status) => void services.counted.push(`${route} ${status}`),
    counted: [],
    resets: [],
    policyNames: () => settings.rateLimit.policies.map(({ name }) => name),
    pools: () => poolList,
    drainBackend: (pool, id) => setEnabled(pool, id, false),
    enableBackend: async (pool, id) => setEnabled(pool, id, true),
    workers: () => [
      {
        id: 0,
        pid: 4711,
        state: 'serving',
        uptimeSec: 12,
        revision: 1,
        connections: 3,
        requestsTotal: 99,
        inFlight: 1,
        loopDelayMs: 0.5,
      },
    ],
    reload: async () => services.outcome,
    config: () => services.settings,
    readiness: () => services.ready,
    metricsText: () => services.metrics(),
    state: () => JSON.stringify([[...services.clients.rows].sort(), poolList, services.settings]),
  };
  return services;
}

function freshState(pool: string, backend: string): BackendState {
  return {
    pool,
    backend,
    health: 'unknown',
    enabled: true,
    reason: null,
    consecutivePasses: 0,
    consecutiveFailures: 0,
    lastProbe: null,
  };
}
