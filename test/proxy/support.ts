/**
 * The whole data path of a worker in the test's own process: InboundServer, Handler, plan, limiter with buckets in memory,
 * and backends on real sockets.
 */
import { createServer, type Server, type Socket } from 'node:net';
import type { TestContext } from 'node:test';
import type { Backend } from '../../src/balance/backend.ts';
import type { ApiKeyLookup, ClientLookup, ClientRecord } from '../../src/contract/clients.ts';
import { systemClock } from '../../src/contract/clock.ts';
import { STANDARD_METHODS } from '../../src/contract/metrics.ts';
import type {
  ListenAddress,
  PolicySettings,
  PoolSettings,
  RouteSettings,
  WorkerSettings,
} from '../../src/contract/settings.ts';
import { DeadlineWheel } from '../../src/infra/deadline-wheel.ts';
import { makeLogger } from '../../src/infra/logger.ts';
import { WorkerMetrics } from '../../src/infra/metrics.ts';
import type { TokenTaker } from '../../src/limit/charge.ts';
import { Limiter } from '../../src/limit/limiter.ts';
import { MemoryBucketStore } from '../../src/limit/memory-bucket-store.ts';
import type { AccessRecord } from '../../src/proxy/access-log.ts';
import { Handler } from '../../src/proxy/handler.ts';
import { buildPlan, type Plan } from '../../src/proxy/plan.ts';
import { headWriterFor } from '../../src/worker/response-heads.ts';
import { InboundServer } from '../../src/worker/server.ts';
import { connectRaw, type RawClient } from '../support/raw-http.ts';
import { waitFor } from '../support/wait.ts';

/** Ticks faster than the product's, so that tests of deadlines are short. */
const TICK_MS = 20;

export interface ProxyOptions {
  /** One pool named `app` with these; or `pools`. */
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
  listen?: ListenAddress;
  clients?: ClientRecord[];
  /** Name of the field, and the clients by their keys. */
  apiKeyHeader?: string;
  apiKeys?: ApiKeyLookup;
  access?: WorkerSettings['log']['access'];
  /** In place of the real limiter. */
  limiter?: TokenTaker;
}

export interface TestProxy {
  port: number;
  url: string;
  /** Access lines so far. */
  lines: AccessRecord[];
  failures: { pool: string; backend: string; detail: string }[];
  server: InboundServer;
  handler: Handler;
  plan(): Plan;
  backend(id: string): Backend;
  /** Cells of a metric summed over all label sets that hold these values. */
  metric(name: string, ...labels: string[]): number;
  reload(options: ProxyOptions): void;
  connect(): Promise<RawClient>;
}

/** route makes one with defaults. */
export function route(
  name: string,
  match: Partial<RouteSettings['match']> = {},
  more: Partial<RouteSettings> = {},
) {
  const any = { host: null, path: null, methods: null };
  return { name, match: { ...any, ...match }, pool: 'app', rateLimit: null, ...more };
}

/** pool makes one with defaults. */
export function pool(name: string, ports: number[], more: Partial<PoolSettings> = {}): PoolSettings {
  const backends = ports.map((port) => ({ id: `127.0.0.1:${port}`, host: '127.0.0.1', port, weight: 1 }));
  const timeouts = { connectMs: 5_000, responseMs: 10_000, idleMs: 10_000 };
  return { name, balance: 'round_robin', backends, healthCheck: null, timeouts, ...more };
}

function settingsOf(options: ProxyOptions): WorkerSettings {
  const listed = options.backends ?? [];
  const app = pool('app', []);
  app.backends = listed.map(({ port, id, weight }) => ({
    id: id ?? `127.0.0.1:${port}`,
    host: '127.0.0.1',
    port,
    weight: weight ?? 1,
  }));
  app.timeouts = { ...app.timeouts, ...options.poolTimeouts };
  app.healthCheck = options.healthCheck ?? null;
  return {
    listen: [],
    workers: 1,
    accept: 'shared',
    trustedProxies: options.trustedProxies ?? [],
    pools: options.pools ?? [app],
    routes: options.routes ?? [route('default')],
    rateLimit: {
      enabled: true,
      identify: { apiKeyHeader: options.apiKeyHeader ?? null, ipv4Prefix: 32, ipv6Prefix: 64 },
      policies: options.policies ?? [],
      instances: 1,
      leases: true,
      headers: options.limitHeaders ?? 'draft',
    },
    redis: null,
    limits: {
      bodyBytes: 1_048_576,
      targetBytes: 8192,
      headerBytes: 16_384,
      headerCount: 100,
      connections: 0,
      connectionsPerIp: 0,
      ...options.limits,
    },
    timeouts: {
      headersMs: 10_000,
      bodyIdleMs: 10_000,
      keepAliveMs: 75_000,
      drainGraceMs: 0,
      drainMs: 5_000,
      ...options.timeouts,
    },
    log: { level: 'error', format: 'json', access: options.access ?? { enabled: true, sample: 1 } },
  };
}

/** startProxy builds and starts everything; it is closed with the test, which fails if a request or backend count is left. */
export async function startProxy(t: TestContext, options: ProxyOptions): Promise<TestProxy> {
  const clock = systemClock;
  const metrics = new WorkerMetrics();
  const logger = makeLogger({ level: 'fatal', format: 'json' });
  const faults: unknown[] = [];
  const wheel = new DeadlineWheel({ clock, tickMs: TICK_MS, onError: (error) => faults.push(error) });
  wheel.start();
  const store = new MemoryBucketStore({ clock });
  const limiter = new Limiter({ store, timeoutMs: 200, workers: 1, instances: 1, clock, metrics, logger });
  const lookup = lookupOf(options.clients ?? []);
  const { apiKeys } = options;
  const given = { wheel, metrics, lookup, ...(apiKeys && { apiKeys }) };
  const deps = { ...given, workerIndex: 0, workerCount: 1, random: Math.random };
  const build = (given: ProxyOptions, previous: Plan | null): Plan => {
    const settings = settingsOf(given);
    limiter.configure(settings.rateLimit.policies, 1);
    return buildPlan({ settings, revision: 1, policyVersionUs: 1, previous, deps });
  };
  let plan = build(options, null);
  const lines: AccessRecord[] = [];
  const failures: TestProxy['failures'] = [];
  const handler = new Handler({
    plan: () => plan,
    limiter: options.limiter ?? limiter,
    wheel,
    clock,
    metrics,
    logger,
    accessLog: { write: (line) => lines.push(JSON.parse(line)) },
    random: Math.random,
    onBackendFailure: (poolName, backend, detail) => failures.push({ pool: poolName, backend, detail }),
  });
  const server = new InboundServer({
    plan: () => plan,
    handler,
    wheel,
    clock,
    metrics,
    logger,
    writeHead: headWriterFor(process.env),
  });
  const url = await server.listen(options.listen ?? { kind: 'tcp', host: '127.0.0.1', port: 0 });
  const clients: RawClient[] = [];
  const totals = new Totals(metrics);
  t.after(async () => {
    for (const client of clients) client.close();
    await server.drain({ graceMs: 0, drainMs: 1_000 });
    plan.close();
    await limiter.close();
    wheel.stop();
    const left = [...plan.backends()].map(({ backend }) => backend.inFlight);
    if (handler.requestsInFlight !== 0) throw new Error(`${handler.requestsInFlight} requests never ended`);
    if (left.some((count) => count !== 0)) throw new Error(`backends still count requests: ${left}`);
    if (faults.length > 0) throw new AggregateError(faults, 'deadlines threw');
  });
  return {
    port: options.listen === undefined ? Number(new URL(url).port) : 0,
    url,
    lines,
    failures,
    server,
    handler,
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

function lookupOf(clients: ClientRecord[]): ClientLookup {
  const byId = new Map(clients.map((client) => [client.clientId, client]));
  return {
    generation: 1,
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
    const gauges = ['sluice_requests_in_flight', 'sluice_connections_open'];
    const { series, cells } = this.#metrics.takeDelta();
    for (const { index, name: of, labels: values } of series)
      this.#series.set(index, { name: of, labels: values });
    for (let i = 0; i < cells.length; i += 2) {
      const index = cells[i] ?? 0;
      const isGauge = gauges.includes(this.#series.get(index)?.name ?? '');
      this.#values.set(index, (isGauge ? 0 : (this.#values.get(index) ?? 0)) + (cells[i + 1] ?? 0));
    }
    let total = 0;
    for (const [index, known] of this.#series) {
      if (known.name !== name || !labels.every((label) => known.labels.includes(label))) continue;
      total += this.#values.get(index) ?? 0;
    }
    return total;
  }
}

export interface CapturedRequest {
  method: string;
  target: string;
  version: string;
  /** Names as received, in order. */
  headers: [name: string, value: string][];
  header(name: string): string | null;
  all(name: string): string[];
  /** Without chunk framing. */
  body: string;
  trailers: string;
  /** Exactly as it arrived. */
  raw: string;
  /** Which of the backend's connections it came on, from 0. */
  connection: number;
}

export interface CapturingBackend {
  port: number;
  requests: CapturedRequest[];
  /** Bytes that came in, as one text per connection. */
  received: string[];
  connectionCount: number;
  /** Connections that are closed. */
  closedCount: number;
  sockets: Socket[];
  close(): Promise<void>;
}

type Answer = (request: CapturedRequest, socket: Socket) => string | null;

/**
 * startCapturingBackend reads requests strictly and records them. It answers each with `answer` (default: 200 with the
 * target as body); null leaves the socket to the test. Bytes that are no request become a request with method `?`.
 */
export async function startCapturingBackend(
  t: TestContext,
  answer: Answer = echoTarget,
): Promise<CapturingBackend> {
  const sockets: Socket[] = [];
  const backend: CapturingBackend = {
    port: 0,
    requests: [],
    received: [],
    connectionCount: 0,
    closedCount: 0,
    sockets,
    close: () => closeServer(server, sockets),
  };
  const server = createServer({ noDelay: true }, (socket) => {
    const connection = backend.connectionCount++;
    backend.received[connection] = '';
    let pending = '';
    sockets.push(socket);
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      backend.closedCount++;
    });
    socket.on('data', (chunk: Buffer) => {
      const text = chunk.toString('latin1');
      backend.received[connection] += text;
      pending += text;
      for (;;) {
        const found = takeRequest(pending, connection);
        if (found === null) return;
        pending = pending.slice(found.raw.length);
        backend.requests.push(found);
        const bytes = answer(found, socket);
        if (bytes !== null && socket.writable) socket.write(bytes, 'latin1');
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  backend.port = typeof address === 'object' && address !== null ? address.port : 0;
  t.after(() => backend.close());
  return backend;
}

/** ok is a plain 200 with a body. */
export function ok(body: string, headers = ''): string {
  return `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n${headers}\r\n${body}`;
}

function echoTarget(request: CapturedRequest): string {
  return ok(request.method === 'HEAD' ? '' : `${request.method} ${request.target}`);
}

function closeServer(server: Server, sockets: Socket[]): Promise<void> {
  for (const socket of sockets) socket.destroy();
  return new Promise((resolve) => {
    server.close(() => resolve());
  });
}

const KNOWN_METHODS: readonly string[] = [...STANDARD_METHODS, 'QUERY', 'PROPFIND', 'SOURCE'];

function takeRequest(text: string, connection: number): CapturedRequest | null {
  const headEnd = text.indexOf('\r\n\r\n');
  if (headEnd < 0) return null;
  const [line = '', ...lines] = text.slice(0, headEnd).split('\r\n');
  const [method = '', target = '', version = ''] = line.split(' ');
  const headers = lines.map((field): [string, string] => {
    const colon = field.indexOf(':');
    return [field.slice(0, colon), field.slice(colon + 1).trim()];
  });
  const all = (name: string) =>
    headers.filter(([key]) => key.toLowerCase() === name.toLowerCase()).map(([, value]) => value);
  const header = (name: string) => all(name)[0] ?? null;
  const start = headEnd + 4;
  const known = KNOWN_METHODS.includes(method) && version === 'HTTP/1.1';
  const body = known ? takeBody(text, start, header) : { body: '', trailers: '', end: start };
  if (body === null) return null;
  return {
    method: known ? method : '?',
    target,
    version,
    headers,
    header,
    all,
    body: body.body,
    trailers: body.trailers,
    raw: text.slice(0, body.end),
    connection,
  };
}

function takeBody(text: string, start: number, header: (name: string) => string | null) {
  if (header('transfer-encoding') === null) {
    const end = start + Number(header('content-length') ?? 0);
    return text.length < end ? null : { body: text.slice(start, end), trailers: '', end };
  }
  let body = '';
  let at = start;
  for (;;) {
    const lineEnd = text.indexOf('\r\n', at);
    if (lineEnd < 0) return null;
    const size = Number.parseInt(text.slice(at, lineEnd), 16);
    if (size === 0) {
      const end = text.startsWith('\r\n', lineEnd + 2) ? lineEnd : text.indexOf('\r\n\r\n', lineEnd + 2);
      if (end < 0 || text.length < end + 4) return null;
      return { body, trailers: end === lineEnd ? '' : text.slice(lineEnd + 2, end), end: end + 4 };
    }
    if (text.length < lineEnd + 2 + size + 2) return null;
    body += text.slice(lineEnd + 2, lineEnd + 2 + size);
    at = lineEnd + 2 + size + 2;
  }
}

/** lastLine waits for the access line of a request and returns it. */
export async function accessLineOf(
  proxy: TestProxy,
  match: (line: AccessRecord) => boolean,
): Promise<AccessRecord> {
  return waitFor('the access line', () => proxy.lines.find(match));
}
