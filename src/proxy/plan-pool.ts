/**
 * Pools as a worker uses them: backends with their connections and counters. A plan makes them, and takes over from the plan before
 * what did not change.
 */
import { isDeepStrictEqual } from 'node:util';
import { type Algorithm, makeAlgorithm } from '../balance/algorithm.ts';
import { type Backend, keepBackends } from '../balance/backend.ts';
import { hostPort } from '../contract/addresses.ts';
import { systemClock } from '../contract/clock.ts';
import type { PlaceAmongWorkers } from '../contract/messages.ts';
import type { PoolSettings, RetrySettings } from '../contract/pool-settings.ts';
import type { DeadlineTimer } from '../infra/deadline-timer.ts';
import { BackendTls } from '../infra/wire/backend-tls.ts';
import type { WireMaker } from '../infra/wire/wire-maker.ts';
import type { WorkerMetrics } from '../infra/worker-metrics.ts';
import { processBodyBuffers } from '../memory/body-buffers.ts';
import { ConnectionPool } from '../upstream/connection-pool.ts';
import type { BackendConnections } from '../upstream/exchange.ts';
import { H2Pool } from '../upstream/h2/h2-pool.ts';
import { AdaptiveLimit } from './adaptive-limit.ts';
import { LiveResults } from './live-results.ts';
import { RequestQueue } from './request-queue.ts';
import { backendCounters, type TimedCounters } from './request-stats.ts';
import { RetryBudget } from './retry-budget.ts';
import { RETRY_REASONS, type RetryReason } from './retry-policy.ts';
import { shareOf } from './share.ts';

const SECOND_MS = 1000;
/** A longer wait raises the latency of every request and serves no more of them. */
const ADAPTIVE_WAIT_MS = 100;

/** PoolDeps is what the worker gives to all pools. */
export interface PoolDeps extends PlaceAmongWorkers {
  timer: DeadlineTimer;
  metrics: WorkerMetrics;
  wires: WireMaker;
  /** Called with an error that only a bug of Sluice can cause, such as a sink that threw. */
  onFault: (error: Error) => void;
  /** See ConnectionSettings. */
  onOpening?: () => void;
  /** A connection to a backend could not be opened, and this machine was not the cause. */
  onConnectFailure: (pool: string, backend: Backend, detail: string) => void;
  /** Bounded by LiveResults. */
  onRequestError: (error: RequestError) => void;
}

/** RequestError is a request that a backend of a pool with `outlier` has failed. */
export interface RequestError {
  pool: string;
  backend: string;
  /** Errors in a row in this worker. */
  streak: number;
  detail: string;
}

/** PlannedBackend is a backend with its connections. */
export interface PlannedBackend {
  poolName: string;
  backend: Backend;
  connections: BackendConnections;
  stats: TimedCounters;
  results: LiveResults;
  /** null: the limit of the settings holds. */
  adaptive: AdaptiveLimit | null;
  /** What the connections were made with. */
  transport: Transport;
  /** Value of Host where a client sent none. */
  authority: string;
}

/** How to connect to a backend: with another one, its connections are made anew. */
type Transport = Pick<PoolSettings, 'timeouts' | 'tls' | 'protocol' | 'proxyProtocol'>;

export interface PlannedPool {
  name: string;
  algorithm: Algorithm;
  /** What the algorithm was made of. */
  choice: object;
  byBackend: ReadonlyMap<Backend, PlannedBackend>;
  slowStartMs: number;
  retry: RetrySettings;
  /** Statuses that are retried; null: none, as nearly always. */
  onStatus: ReadonlySet<number> | null;
  budget: RetryBudget;
  queue: RequestQueue;
  /** See PoolSettings.timeouts. */
  responseMs: number;
  /** Whether backends may give requests back unprocessed (HTTP/2), with any method. */
  mayGiveBack: boolean;
  timer: DeadlineTimer;
  /** countRetry counts one more attempt in sluice_retries_total. */
  countRetry(reason: RetryReason): void;
  /** countShed counts a request that found no room. */
  countShed(): void;
}

/** planPool is called by each plan. @param previous the pool of this name in the plan before */
export function planPool(pool: PoolSettings, previous: PlannedPool | undefined, deps: PoolDeps): PlannedPool {
  const known = previous?.byBackend ?? new Map<Backend, PlannedBackend>();
  const backends = keepBackends(pool, [...known.keys()]);
  const { metrics, timer } = deps;
  const { retry, limits, timeouts, tls, protocol, proxyProtocol } = pool;
  const { connectMs, responseMs, idleMs } = timeouts;
  // An attempt has no longer than the request.
  const times = {
    connectMs: Math.min(connectMs, responseMs),
    responseMs: Math.min(retry.perTryMs ?? responseMs, responseMs),
    idleMs,
  };
  const budget = previous?.budget ?? new RetryBudget();
  budget.configure(retry, deps);
  const queue = previous?.queue ?? new RequestQueue();
  const isAdaptive = pool.adaptive === 'latency';
  const waitMs = isAdaptive ? ADAPTIVE_WAIT_MS : Number.POSITIVE_INFINITY;
  queue.configure({ ...limits, queueTimeoutMs: Math.min(limits.queueTimeoutMs, waitMs) }, deps);
  const limit = shareOf(limits.maxConcurrentPerBackend, deps);
  const planned = backends.map((backend) => {
    const before = known.get(backend);
    const transport = { timeouts: times, tls: backend.tls ? tls : null, protocol, proxyProtocol };
    const isSame = before !== undefined && isDeepStrictEqual(before.transport, transport);
    const each = isSame ? before : planBackend(pool.name, backend, transport, deps);
    each.results.outlier = pool.outlier;
    backend.onRoom = () => queue.wake();
    backend.limit = limit;
    if (!isAdaptive) before?.adaptive?.stop();
    each.adaptive = isAdaptive
      ? (before?.adaptive ?? new AdaptiveLimit(backend, { clock: systemClock, timer }))
      : null;
    each.adaptive?.configure(limit);
    return each;
  });
  const shedCell = metrics.series('sluice_shed_total', 'queue');
  const refusedCell = metrics.series('sluice_queue_refusals_total', pool.name);
  const { workerIndex, workerCount } = deps;
  const choice = { balance: pool.balance, backends: pool.backends, workerIndex, workerCount };
  // Else frequent reloads would begin each round anew, at the same backend.
  const isSameChoice = previous !== undefined && isDeepStrictEqual(previous.choice, choice);
  const algorithm = isSameChoice ? previous.algorithm : makeAlgorithm(pool.balance, backends, deps);
  queue.algorithm = algorithm;
  return {
    name: pool.name,
    algorithm,
    choice,
    slowStartMs: pool.slowStartMs,
    byBackend: new Map(planned.map((each) => [each.backend, each])),
    retry,
    onStatus: retry.onStatus.length === 0 ? null : new Set(retry.onStatus),
    budget,
    queue,
    responseMs,
    mayGiveBack: protocol === 'h2',
    timer,
    countRetry: retryCounter(metrics, pool.name),
    countShed: () => {
      metrics.add(shedCell, 1);
      metrics.add(refusedCell, 1);
    },
  };
}

function retryCounter(metrics: WorkerMetrics, poolName: string): PlannedPool['countRetry'] {
  const cellOf = (reason: RetryReason) =>
    [reason, metrics.series('sluice_retries_total', poolName, reason)] as const;
  const cells = Object.fromEntries(RETRY_REASONS.map(cellOf)) as Record<RetryReason, number>;
  return (reason) => metrics.add(cells[reason], 1);
}

function planBackend(
  poolName: string,
  backend: Backend,
  transport: Transport,
  deps: PoolDeps,
): PlannedBackend {
  const { timer, metrics, onFault, onOpening, wires } = deps;
  const { host, port, id } = backend;
  const buffers = processBodyBuffers;
  const connectCell = metrics.series('sluice_upstream_connect_seconds', poolName, id);
  const onConnected = (connectMs: number): void => metrics.observe(connectCell, connectMs / SECOND_MS);
  const isH2 = transport.protocol === 'h2';
  const alpn = isH2 ? 'h2' : 'http/1.1';
  const tls = transport.tls === null ? undefined : new BackendTls(host, transport.tls, { protocol: alpn });
  const { timeouts, proxyProtocol } = transport;
  const settings = {
    host,
    port,
    tls,
    proxyProtocol,
    ...timeouts,
    timer,
    wires,
    buffers,
    onFault,
    ...(onOpening && { onOpening }),
    onConnected,
    onConnectFailed: (detail: string) => deps.onConnectFailure(poolName, backend, detail),
  };
  return {
    poolName,
    backend,
    connections: isH2 ? new H2Pool(settings) : new ConnectionPool(settings),
    stats: backendCounters(metrics, poolName, id),
    results: new LiveResults(backend, timer, (streak, detail) =>
      deps.onRequestError({ pool: poolName, backend: id, streak, detail }),
    ),
    adaptive: null,
    transport,
    authority: hostPort(host, port),
  };
}
