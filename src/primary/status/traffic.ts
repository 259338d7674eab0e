/**
 * How much traffic there is now: the growth of the workers' counters over the last samples, by route, policy, backend and worker. Means
 * and quantiles are of ten samples, a second apart, so that a few requests make no jumps.
 */
import { backendKey, poolOf } from '../../contract/health.ts';
import { METRICS } from '../../contract/metrics.ts';
import type { Now, PolicyTraffic, RouteTraffic } from '../../contract/status.ts';
import type { MetricsCollector } from '../metrics/metrics-collector.ts';
import type { WorkerView } from '../workers/worker-slot.ts';
import { quantileMs } from './quantile.ts';
import { RateWindow } from './rate-window.ts';

const WINDOW_SAMPLES = 10;
const MINUTE_SAMPLES = 60;
/** Of rates: a text per second is made of them. */
const DECIMALS = 1_000;
const { bucketsSec: BOUNDS_SEC } = METRICS.sluice_request_duration_seconds;
const { bucketsSec: BACKEND_BOUNDS_SEC } = METRICS.sluice_upstream_duration_seconds;

/** The cells of a row of a route. */
const REQUESTS = 0;
const ERRORS = 1;
const LIMITED = 2;
const FIRST_BUCKET = 3;
const ROUTE_WIDTH = FIRST_BUCKET + BOUNDS_SEC.length + 1;
/** The row of all routes has two more. */
const BYTES_IN = ROUTE_WIDTH;
const BYTES_OUT = ROUTE_WIDTH + 1;
const TOTAL = 'total';
/** Of a backend: attempts, then buckets. */
const ATTEMPTS = 0;
const BACKEND_WIDTH = 1 + BACKEND_BOUNDS_SEC.length + 1;
/** The row of a pool has one more. */
const QUEUE_REFUSED = BACKEND_WIDTH;
/** Of a worker process. */
const BEGUN = 0;
const CPU_SEC = 1;
const DECISIONS = ['allowed', 'limited', 'shadow', 'refused'];
const SHADOW = DECISIONS.indexOf('shadow');

const LIMITED_CODES = new Set(['429', 'grpc_8']);

type RequestTraffic = Omit<RouteTraffic, 'route' | 'hiddenBy'>;

export interface BackendTraffic {
  /** Attempts. */
  requestsPerSec: number;
  /** Until the head of the answer; null: none came. */
  p99Ms: number | null;
  /** Of the attempts at its pool, 0 to 1; null: there were none. */
  share: number | null;
}

/** Traffic is made by the StatusBoard. Bounded by the configuration: some 2 KiB for a route, and for a backend. */
export class Traffic {
  readonly #collector: Pick<MetricsCollector, 'seriesOf'>;
  readonly #total: RateWindow;
  readonly #routes: RateWindow;
  readonly #policies: RateWindow;
  readonly #pools: RateWindow;
  readonly #backends: RateWindow;
  readonly #processes: RateWindow;
  #load = { inFlight: 0, connections: 0, tunnels: 0 };

  constructor(collector: Pick<MetricsCollector, 'seriesOf'>, nowMs: number) {
    const windowOf = (width: number, samples = WINDOW_SAMPLES) => new RateWindow(width, samples, nowMs);
    this.#collector = collector;
    this.#total = windowOf(ROUTE_WIDTH + 2);
    this.#routes = windowOf(ROUTE_WIDTH);
    this.#policies = windowOf(DECISIONS.length, MINUTE_SAMPLES);
    this.#pools = windowOf(QUEUE_REFUSED + 1);
    this.#backends = windowOf(BACKEND_WIDTH);
    this.#processes = windowOf(2);
  }

  /** take makes the sample of a second. @param nowMs monotonic @param workers all slots */
  take(nowMs: number, workers: readonly WorkerView[]): void {
    const parts = [this.#routes, this.#policies, this.#backends, this.#processes];
    const sums = [this.#total, this.#pools];
    for (const window of [...parts, ...sums]) window.begin(nowMs);
    this.#takeRoutes();
    this.#takePolicies();
    this.#takeBackends();
    this.#takeWorkers(workers);
    for (const window of parts) window.end();
    this.#total.addGrowth(this.#routes, () => TOTAL);
    this.#pools.addGrowth(this.#backends, poolOf);
    for (const window of sums) window.end();
  }

  /** lastSecond is the traffic of the last sample alone; for the history. */
  lastSecond(): RequestTraffic & Pick<Now, 'inFlight' | 'connections'> {
    const { inFlight, connections } = this.#load;
    return { ...trafficOf(this.#total, TOTAL, 1), inFlight, connections };
  }

  now(): Now {
    const grown = this.#total.growth(TOTAL, WINDOW_SAMPLES);
    const perSec = perSecondOf(this.#total, WINDOW_SAMPLES);
    return {
      ...trafficOf(this.#total, TOTAL, WINDOW_SAMPLES),
      ...this.#load,
      bytesInPerSec: perSec(grown[BYTES_IN]),
      bytesOutPerSec: perSec(grown[BYTES_OUT]),
    };
  }

  route(route: string): RequestTraffic & Pick<RouteTraffic, 'route'> {
    return { route, ...trafficOf(this.#routes, route, WINDOW_SAMPLES) };
  }

  policy(policy: string): PolicyTraffic {
    const [allowed, limited, shadow, refused] = this.#policies.growth(policy, WINDOW_SAMPLES);
    const lastMinute = this.#policies.growth(policy, MINUTE_SAMPLES);
    const perSec = perSecondOf(this.#policies, WINDOW_SAMPLES);
    return {
      policy,
      allowedPerSec: perSec(allowed),
      limitedPerSec: perSec(limited),
      shadowPerSec: perSec(shadow),
      shadowLastMinute: lastMinute[SHADOW] ?? 0,
      refusedPerSec: perSec(refused),
    };
  }

  /** @param id of the backend in its pool */
  backend(pool: string, id: string): BackendTraffic {
    const grown = this.#backends.growth(backendKey(pool, id), WINDOW_SAMPLES);
    const [attempts = 0] = grown;
    const ofPool = this.#pools.growth(pool, WINDOW_SAMPLES)[ATTEMPTS] ?? 0;
    return {
      requestsPerSec: perSecondOf(this.#backends, WINDOW_SAMPLES)(attempts),
      p99Ms: quantileMs(BACKEND_BOUNDS_SEC, grown, 0.99, 1),
      share: ofPool === 0 ? null : attempts / ofPool,
    };
  }

  /** queueRefusedPerSec are the requests that got queue_full. */
  queueRefusedPerSec(pool: string): number {
    const grown = this.#pools.growth(pool, WINDOW_SAMPLES);
    return perSecondOf(this.#pools, WINDOW_SAMPLES)(grown[QUEUE_REFUSED]);
  }

  /** @param samples 1 for the last second */
  worker(pid: number, samples = WINDOW_SAMPLES): { requestsPerSec: number; cpuRatio: number } {
    const grown = this.#processes.growth(String(pid), samples);
    const perSec = perSecondOf(this.#processes, samples);
    return { requestsPerSec: perSec(grown[BEGUN]), cpuRatio: perSec(grown[CPU_SEC]) };
  }

  #takeRoutes(): void {
    for (const { labels, cells } of this.#collector.seriesOf('sluice_requests_total')) {
      const [route = '', , code = ''] = labels;
      const [count = 0] = cells;
      this.#routes.add(route, REQUESTS, count);
      if (LIMITED_CODES.has(code)) this.#routes.add(route, LIMITED, count);
    }
    for (const { labels, cells } of this.#collector.seriesOf('sluice_request_failures_total'))
      this.#routes.add(labels[0] ?? '', ERRORS, cells[0] ?? 0);
    for (const { labels, cells } of this.#collector.seriesOf('sluice_request_duration_seconds')) {
      const [route = ''] = labels;
      this.#routes.addAll(route, FIRST_BUCKET, cells, BOUNDS_SEC.length + 1);
    }
    // They name the row also while no route has been counted yet: after a reload that has renamed all of them.
    for (const { labels, cells } of this.#collector.seriesOf('sluice_bytes_total'))
      this.#total.add(TOTAL, labels[0] === 'in' ? BYTES_IN : BYTES_OUT, cells[0] ?? 0);
  }

  #takePolicies(): void {
    for (const { labels, cells } of this.#collector.seriesOf('sluice_ratelimit_decisions_total')) {
      const [policy = '', result = ''] = labels;
      this.#policies.add(policy, DECISIONS.indexOf(result), cells[0] ?? 0);
    }
  }

  #takeBackends(): void {
    for (const { labels, cells } of this.#collector.seriesOf('sluice_upstream_requests_total')) {
      const [pool = '', backend = ''] = labels;
      const [count = 0] = cells;
      this.#backends.add(backendKey(pool, backend), 0, count);
    }
    for (const { labels, cells } of this.#collector.seriesOf('sluice_queue_refusals_total'))
      this.#pools.add(labels[0] ?? '', QUEUE_REFUSED, cells[0] ?? 0);
    for (const { labels, cells } of this.#collector.seriesOf('sluice_upstream_duration_seconds')) {
      const [pool = '', backend = ''] = labels;
      this.#backends.addAll(backendKey(pool, backend), 1, cells, BACKEND_BOUNDS_SEC.length + 1);
    }
  }

  #takeWorkers(workers: readonly WorkerView[]): void {
    this.#load = { inFlight: 0, connections: 0, tunnels: 0 };
    for (const { pid, report } of workers) {
      if (pid === null || report === null) continue;
      this.#load.inFlight += report.inFlight;
      this.#load.connections += report.connections;
      this.#load.tunnels += report.tunnels;
      // The start of a process takes seconds of CPU time, and its first report comes a moment after it.
      this.#processes.addElder(String(pid), CPU_SEC, report.cpuSec);
      this.#processes.add(String(pid), BEGUN, report.requestsTotal);
    }
  }
}

function trafficOf(window: RateWindow, key: string, samples: number): RequestTraffic {
  const grown = window.growth(key, samples);
  const perSec = perSecondOf(window, samples);
  const quantile = (part: number) => quantileMs(BOUNDS_SEC, grown, part, FIRST_BUCKET);
  return {
    requestsPerSec: perSec(grown[REQUESTS]),
    errorsPerSec: perSec(grown[ERRORS]),
    limitedPerSec: perSec(grown[LIMITED]),
    p50Ms: quantile(0.5),
    p95Ms: quantile(0.95),
    p99Ms: quantile(0.99),
  };
}

function perSecondOf(window: RateWindow, samples: number): (growth: number | undefined) => number {
  const seconds = window.seconds(samples);
  return (growth = 0) => (seconds > 0 ? Math.round((growth / seconds) * DECIMALS) / DECIMALS : 0);
}
