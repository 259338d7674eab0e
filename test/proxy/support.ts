import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { Backend } from '../../src/balance/backend.ts';
import { SlowStart } from '../../src/balance/slow-start.ts';
import type { ApiKeyLookup, ClientLookup, ClientRecord } from '../../src/contract/clients.ts';
import { type Clock, systemClock } from '../../src/contract/clock.ts';
import type { EngineName } from '../../src/contract/data-path.ts';
import type { WorkerMessage } from '../../src/contract/messages.ts';
import { cellCount, METRICS, type MetricName } from '../../src/contract/metrics.ts';
import type { PoolSettings } from '../../src/contract/pool-settings.ts';
import type {
  ListenAddress,
  PolicySettings,
  RouteSettings,
  WorkerSettings,
} from '../../src/contract/settings.ts';
import type { TlsAddress } from '../../src/contract/tls.ts';
import { frameBuffers } from '../../src/http2/frame-buffers.ts';
import { DeadlineTimer } from '../../src/infra/deadline-timer.ts';
import { type Logger, makeLogger } from '../../src/infra/logging/logger.ts';
import { chooseDataPath, wiresOf } from '../../src/infra/wire/wire-choice.ts';
import { WorkerMetrics } from '../../src/infra/worker-metrics.ts';
import { Limiter } from '../../src/limit/limiter/limiter.ts';
import { MemoryBucketStore } from '../../src/limit/store/memory-bucket-store.ts';
import { accessLine } from '../../src/proxy/access-log.ts';
import type { AccessRecord } from '../../src/proxy/access-record.ts';
import { Handler } from '../../src/proxy/handler.ts';
import { LiveRequests } from '../../src/proxy/live-requests.ts';
import { Overload } from '../../src/proxy/overload.ts';
import { Plan, type PlanDeps } from '../../src/proxy/plan.ts';
import type { RequestError } from '../../src/proxy/plan-pool.ts';
import { RequestAudit } from '../../src/proxy/request-audit.ts';
import type { Tracing } from '../../src/proxy/request-span.ts';
import { http2Engine } from '../../src/worker/inbound/h2/http2-engine.ts';
import { wireEngine } from '../../src/worker/inbound/http1/wire-engine.ts';
import { nodeEngine } from '../../src/worker/inbound/node/node-engine.ts';
import { type Engine, InboundServer } from '../../src/worker/inbound/server.ts';
import { poison } from '../support/poisoned-buffers.ts';
import { connectRaw, type RawClient } from '../support/raw-http.ts';
import { plain, policySettings, poolSettings, routeSettings, workerSettings } from '../support/settings.ts';
import { makeTempFolder } from '../support/temp-folder.ts';
import { TLS_KEY, TLS_SETTINGS, tlsMaterial } from '../support/tls.ts';
import { waitFor } from '../support/wait.ts';

poison(frameBuffers);

/** As in a worker. */
export const dataPath = chooseDataPath(process.version, process.env);
const wires = wiresOf(dataPath.wire);

/** engineOf makes the engine of this name, as a worker does. */
export function engineOf(name: EngineName): Engine {
  return name === 'node' ? nodeEngine() : wireEngine(wires);
}

/** Faster than in the product, so that tests of deadlines are short. */
const TICK_MS = 20;

export interface ProxyOptions {
  /** Backends of the pool `app`; give these or `pools`. */
  backends?: { port: number; id?: string; weight?: number }[];
  pools?: PoolSettings[];
  routes?: RouteSettings[];
  policies?: PolicySettings[];
  limitHeaders?: WorkerSettings['rateLimit']['headers'];
  trustedProxies?: string[];
  limits?: Partial<WorkerSettings['limits']>;
  timeouts?: Partial<WorkerSettings['timeouts']>;
  poolTimeouts?: Partial<PoolSettings['timeouts']>;
  healthCheck?: PoolSettings['healthCheck'];
  /** More settings of the pool `app`. */
  app?: Partial<PoolSettings>;
  listen?: ListenAddress;
  /** HTTP/2 with prior knowledge. */
  h2c?: boolean;
  /** TLS at that address, with HTTP/2 unless `http2` is false. */
  tls?: TlsAddress;
  http2?: boolean;
  /** Peers whose connections begin with a PROXY header. */
  proxyProtocol?: string[];
  clients?: ClientRecord[];
  /** The header that carries API keys; default: none. */
  apiKeyHeader?: string;
  apiKeys?: ApiKeyLookup;
  access?: WorkerSettings['log']['access'];
  audited?: WorkerSettings['audit']['requests'];
  /** Open challenges of certificate authorities, by token. */
  challenges?: ReadonlyMap<string, string>;
  /** Replaces the real limiter. */
  limiter?: PlanDeps['limiter'];
  /** Default: no traces. */
  tracing?: Tracing;
  /** Replaces the system's. */
  clock?: Clock;
  /** Replaces the silent one. */
  logger?: Logger;
  /** Replaces the engine that a worker would have. */
  engine?: Engine;
}

export interface TestProxy {
  port: number;
  url: string;
  /** Access lines so far. */
  lines: AccessRecord[];
  failures: { pool: string; backend: string; detail: string }[];
  /** What `outlier` counts. */
  errors: RequestError[];
  /** Errors of the proxy's own, which fail the test at its end, unless it takes them out. */
  faults: unknown[];
  server: InboundServer;
  handler: Handler;
  live: LiveRequests;
  /** What it has sent to viewers so far. */
  watched: Extract<WorkerMessage, { type: 'watched-requests' }>[];
  /** Rows of the audit that it has sent so far, as lists of their columns. */
  rows: string[][];
  /** Not overloaded; tests set it. */
  overload: Overload;
  plan(): Plan;
  backend(id: string): Backend;
  /** What a metric (of a histogram its count) has over all label sets that hold these values. */
  metric(name: string, ...labels: string[]): number;
  reload(options: ProxyOptions): void;
  connect(): Promise<RawClient>;
}

/** policy makes the settings of one policy. */
export function policy(name: string, capacity: number, refillPerSecond: number): PolicySettings {
  return policySettings({ name, capacity, refillPerSecond });
}

export const route = routeSettings;

/** pool makes a pool of backends on loopback. */
export function pool(name: string, ports: number[], more: Partial<PoolSettings> = {}): PoolSettings {
  const backends = ports.map((port) => ({
    id: `127.0.0.1:${port}`,
    host: '127.0.0.1',
    port,
    tls: false,
    weight: 1,
    backup: false,
  }));
  return poolSettings({ name, backends, timeouts: TIMEOUTS, ...more });
}

const TIMEOUTS = { connectMs: 5_000, responseMs: 10_000, idleMs: 10_000 };

function settingsOf(options: ProxyOptions): WorkerSettings {
  const backends = (options.backends ?? []).map(({ port, id, weight }) => ({
    id: id ?? `127.0.0.1:${port}`,
    host: '127.0.0.1',
    port,
    tls: false,
    weight: weight ?? 1,
    backup: false,
  }));
  const timeouts = { ...TIMEOUTS, ...options.poolTimeouts };
  const app = poolSettings({ backends, timeouts, healthCheck: options.healthCheck ?? null, ...options.app });
  return workerSettings({
    trustedProxies: options.trustedProxies ?? [],
    pools: options.pools ?? [app],
    routes: options.routes ?? [route('default')],
    rateLimit: {
      identify: { apiKeyHeader: options.apiKeyHeader ?? null, ipv4Prefix: 32, ipv6Prefix: 64 },
      policies: options.policies ?? [],
      headers: options.limitHeaders ?? 'draft',
    },
    limits: options.limits ?? {},
    timeouts: { bodyIdleMs: 10_000, ...options.timeouts },
    log: { access: options.access ?? { enabled: true, sample: 1 } },
    audit: { adminChanges: true, requests: options.audited ?? 'off', retentionMs: 86_400_000 },
  });
}

/**
 * startUnixProxy starts a proxy that listens on a Unix socket. The socket's buffers are small and do not grow, so a reader that
 * stops blocks the proxy at once.
 */
export async function startUnixProxy(
  t: TestContext,
  options: ProxyOptions,
): Promise<{ path: string; proxy: TestProxy }> {
  const path = join(makeTempFolder(), 'front.sock');
  return { path, proxy: await startProxy(t, { ...options, listen: { kind: 'unix', path } }) };
}

/** startProxy starts a proxy for a test and closes it at the end. The test fails when a request or a backend's count is left over. */
export async function startProxy(t: TestContext, options: ProxyOptions): Promise<TestProxy> {
  const { clock = systemClock } = options;
  const metrics = new WorkerMetrics();
  const logger = options.logger ?? makeLogger({ level: 'fatal', format: 'json' });
  const faults: unknown[] = [];
  const timer = new DeadlineTimer({ clock, tickMs: TICK_MS, onError: (error) => faults.push(error) });
  timer.start();
  const store = new MemoryBucketStore(clock);
  const limiter = new Limiter({ store, timeoutMs: 200, clock, metrics, logger });
  const lookup = lookupOf(options.clients ?? [], options.apiKeys ?? null);
  const worker = { workerIndex: 0, workerCount: 1 };
  const onFault = (error: Error) => faults.push(error);
  const failures: TestProxy['failures'] = [];
  const onConnectFailure = (poolName: string, { id: backend }: Backend, detail: string) =>
    failures.push({ pool: poolName, backend, detail });
  const errors: TestProxy['errors'] = [];
  const onRequestError = (error: RequestError) => errors.push(error);
  const slowStart = new SlowStart(timer);
  const deps = {
    timer,
    slowStart,
    metrics,
    lookup,
    wires,
    onFault,
    onConnectFailure,
    onRequestError,
    limiter: options.limiter ?? limiter,
    tracing: options.tracing ?? null,
    ...worker,
  };
  const build = (given: ProxyOptions, previous: Plan | null): Plan => {
    const settings = settingsOf(given);
    limiter.configure(settings.rateLimit, 1);
    return new Plan(settings, previous, deps);
  };
  let plan = build(options, null);
  const lines: AccessRecord[] = [];
  const overload = new Overload(metrics);
  const watched: TestProxy['watched'] = [];
  const live = new LiveRequests((message, onLeft) => {
    if (message.type === 'watched-requests') watched.push(message);
    onLeft();
    return true;
  });
  const rows: TestProxy['rows'] = [];
  const audit = new RequestAudit({
    metrics,
    send: (message, onLeft) => {
      if (message.type === 'request-rows')
        for (const row of message.text.trimEnd().split('\n')) rows.push(row.split('\t'));
      onLeft();
      return true;
    },
  });
  const handler = new Handler({
    live,
    audit,
    plan: () => plan,
    timer,
    metrics,
    logger,
    accessLog: { write: (record) => lines.push(JSON.parse(accessLine(record))) },
    challenges: options.challenges ?? new Map(),
    overload,
  });
  const server = new InboundServer({
    plan: () => plan,
    handler,
    timer,
    metrics,
    logger,
    overload,
    engine: options.engine ?? engineOf(dataPath.engine),
    http2: http2Engine({ metrics, logger, wires }),
  });
  const address = {
    ...plain(options.listen ?? { kind: 'tcp', host: '127.0.0.1', port: 0 }),
    h2c: options.h2c ?? false,
    http2: options.http2 ?? options.tls !== undefined,
    tls: options.tls === undefined ? null : TLS_SETTINGS,
    proxyProtocol: options.proxyProtocol ?? null,
  };
  server.expect(new Map([[TLS_KEY, address]]));
  if (options.tls !== undefined) server.useTls(tlsMaterial(options.tls));
  const url = await server.listen(address, TLS_KEY);
  const clients: RawClient[] = [];
  const totals = new Totals(metrics);
  t.after(async () => {
    for (const client of clients) client.close();
    live.stop();
    await server.drain({ graceMs: 0, drainMs: 1_000 });
    plan.close();
    await limiter.close();
    timer.stop();
    const left = [...plan.backends()].map(({ backend }) => backend.inFlight);
    if (handler.traffic.inFlight !== 0) throw new Error(`${handler.traffic.inFlight} requests never ended`);
    if (left.some((count) => count !== 0)) throw new Error(`backends still count requests: ${left}`);
    if (faults.length > 0) throw new AggregateError(faults, 'unexpected errors');
  });
  return {
    port: options.listen === undefined ? Number(new URL(url).port) : 0,
    url,
    lines,
    failures,
    errors,
    faults,
    server,
    handler,
    live,
    watched,
    rows,
    overload,
    plan: () => plan,
    backend: (id) => {
      const found = [...plan.backends()].find(({ backend }) => backend.id === id);
      if (found === undefined) throw new Error(`no backend ${id}`);
      return found.backend;
    },
    metric: (name, ...labels) => totals.sum(name, labels),
    reload: (next) => {
      const previous = plan;
      plan = build(next, previous);
      previous.supersede(plan);
    },
    connect: async () => {
      const client = await connectRaw(options.listen?.kind === 'unix' ? { path: options.listen.path } : url);
      clients.push(client);
      return client;
    },
  };
}

function lookupOf(clients: ClientRecord[], apiKeys: ApiKeyLookup | null): ClientLookup & ApiKeyLookup {
  const byId = new Map(clients.map((client) => [client.clientId, client]));
  return {
    verify: (text) => apiKeys?.verify(text) ?? 'unknown',
    byName: (clientId) => apiKeys?.byName(clientId) ?? null,
    generation: 1,
    nowSec: 1,
    noteSeen: () => undefined,
    byAddress: (address, grouped) => {
      const client = byId.get(address) ?? null;
      return { client, bucketName: client?.clientId ?? grouped, tombstoneUs: 0 };
    },
  };
}

/** Adds deltas up, as the primary does. */
class Totals {
  readonly #metrics: WorkerMetrics;
  readonly #series = new Map<number, { name: string; labels: string[] }>();
  readonly #values = new Map<number, number>();

  constructor(metrics: WorkerMetrics) {
    this.#metrics = metrics;
  }

  sum(name: string, labels: string[]): number {
    const { series, cells } = this.#metrics.takeDelta();
    for (const { index, name: of, labels: values } of series)
      this.#series.set(index, { name: of, labels: values });
    for (let i = 0; i < cells.length; i += 2) {
      const index = cells[i] ?? 0;
      this.#values.set(index, (this.#values.get(index) ?? 0) + (cells[i + 1] ?? 0));
    }
    const metric = METRICS[name as MetricName];
    const at = metric.kind === 'histogram' ? cellCount(metric) - 2 : 0;
    let total = 0;
    for (const [index, known] of this.#series) {
      if (known.name !== name || !labels.every((label) => known.labels.includes(label))) continue;
      total += this.#values.get(index + at) ?? 0;
    }
    return total;
  }
}

/** lastLine waits for the access line of a request and returns it. */
export async function accessLineOf(
  proxy: TestProxy,
  match: (line: AccessRecord) => boolean,
): Promise<AccessRecord> {
  return waitFor('the access line', () => proxy.lines.find(match));
}
