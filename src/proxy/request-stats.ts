/** Counting of requests: label sets are resolved to cells on first sight, a request then only adds numbers. */
import { OTHER_METHOD, STANDARD_METHODS } from '../contract/metrics.ts';
import type { WorkerMetrics } from '../infra/metrics.ts';

const SECOND_MS = 1000;
/** Statuses are below this; makes one number of method and status. */
const STATUS_SPAN = 1000;
const METHOD_INDEX: ReadonlyMap<string, number> = new Map(STANDARD_METHODS.map((method, i) => [method, i]));
const OTHER_INDEX = STANDARD_METHODS.length;

/** RouteStats counts the requests of one route, or of those that met none; one object per name and worker. */
export class RouteStats {
  readonly #metrics: WorkerMetrics;
  readonly #route: string;
  readonly #duration: number;
  readonly #cells = new Map<number, number>();

  constructor(metrics: WorkerMetrics, route: string) {
    this.#metrics = metrics;
    this.#route = route;
    this.#duration = metrics.series('sluice_request_duration_seconds', route);
  }

  /** count files a request that is over; 499 for one that the client gave up. */
  count(method: string, status: number, totalMs: number): void {
    const methodIndex = METHOD_INDEX.get(method) ?? OTHER_INDEX;
    const key = methodIndex * STATUS_SPAN + status;
    let cell = this.#cells.get(key);
    if (cell === undefined) {
      const label = STANDARD_METHODS[methodIndex] ?? OTHER_METHOD;
      cell = this.#metrics.series('sluice_requests_total', this.#route, label, String(status));
      this.#cells.set(key, cell);
    }
    this.#metrics.add(cell, 1);
    this.#metrics.observe(this.#duration, totalMs / SECOND_MS);
  }
}

/** No status came. */
const NO_STATUS = 0;

/** BackendStats counts attempts at one backend. */
export class BackendStats {
  readonly #metrics: WorkerMetrics;
  readonly #labels: [pool: string, backend: string];
  readonly #duration: number;
  readonly #cells = new Map<number, number>();

  constructor(metrics: WorkerMetrics, pool: string, backend: string) {
    this.#metrics = metrics;
    this.#labels = [pool, backend];
    this.#duration = metrics.series('sluice_upstream_duration_seconds', pool, backend);
  }

  /** answered files an attempt that got a response head. */
  answered(status: number, upstreamMs: number): void {
    this.#count(status);
    this.#metrics.observe(this.#duration, upstreamMs / SECOND_MS);
  }

  /** failed files an attempt that ended before one. */
  failed(): void {
    this.#count(NO_STATUS);
  }

  #count(status: number): void {
    let cell = this.#cells.get(status);
    if (cell === undefined) {
      const code = String(status).padStart(3, '0');
      cell = this.#metrics.series('sluice_upstream_requests_total', ...this.#labels, code);
      this.#cells.set(status, cell);
    }
    this.#metrics.add(cell, 1);
  }
}

/** TrafficStats holds the numbers without labels that come from traffic; one per worker. */
export class TrafficStats {
  readonly #metrics: WorkerMetrics;
  readonly #inFlightCell: number;
  readonly #bytesInCell: number;
  readonly #bytesOutCell: number;
  #inFlight = 0;
  #total = 0;

  constructor(metrics: WorkerMetrics) {
    this.#metrics = metrics;
    this.#inFlightCell = metrics.series('sluice_requests_in_flight');
    this.#bytesInCell = metrics.series('sluice_bytes_total', 'in');
    this.#bytesOutCell = metrics.series('sluice_bytes_total', 'out');
  }

  /** Requests being served now. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /** Requests begun since the worker started. */
  get total(): number {
    return this.#total;
  }

  begin(): void {
    this.#total += 1;
    this.#inFlight += 1;
    this.#metrics.set(this.#inFlightCell, this.#inFlight);
  }

  end(bytesIn: number, bytesOut: number): void {
    this.#inFlight -= 1;
    this.#metrics.set(this.#inFlightCell, this.#inFlight);
    if (bytesIn > 0) this.#metrics.add(this.#bytesInCell, bytesIn);
    if (bytesOut > 0) this.#metrics.add(this.#bytesOutCell, bytesOut);
  }
}
