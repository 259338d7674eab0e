/** Counters of requests: labels are resolved to cells once, so that a request only adds numbers. */
import { OTHER_METHOD, STANDARD_METHODS } from '../contract/metrics.ts';
import type { WorkerMetrics } from '../infra/metrics.ts';

const SECOND_MS = 1000;
/** Above every status: packs method and status into one number. */
const STATUS_SPAN = 1000;
const METHOD_INDEX: ReadonlyMap<string, number> = new Map(STANDARD_METHODS.map((method, i) => [method, i]));
const OTHER_INDEX = STANDARD_METHODS.length;

/** Counters by a number; the cell of a number is made when it is first counted. */
class NumberedCounters {
  readonly #metrics: WorkerMetrics;
  readonly #makeCell: (number: number) => number;
  readonly #cells = new Map<number, number>();

  constructor(metrics: WorkerMetrics, makeCell: (number: number) => number) {
    this.#metrics = metrics;
    this.#makeCell = makeCell;
  }

  increment(number: number): void {
    let cell = this.#cells.get(number);
    if (cell === undefined) {
      cell = this.#makeCell(number);
      this.#cells.set(number, cell);
    }
    this.#metrics.add(cell, 1);
  }
}

/** RouteStats counts the requests of one route, or those without a route. */
export class RouteStats {
  readonly #metrics: WorkerMetrics;
  readonly #durationCell: number;
  readonly #counters: NumberedCounters;

  constructor(metrics: WorkerMetrics, route: string) {
    this.#metrics = metrics;
    this.#durationCell = metrics.series('sluice_request_duration_seconds', route);
    this.#counters = new NumberedCounters(metrics, (number) => {
      const method = STANDARD_METHODS[Math.floor(number / STATUS_SPAN)] ?? OTHER_METHOD;
      return metrics.series('sluice_requests_total', route, method, String(number % STATUS_SPAN));
    });
  }

  /** count files a request that is over. */
  count(method: string, status: number, totalMs: number): void {
    this.#counters.increment((METHOD_INDEX.get(method) ?? OTHER_INDEX) * STATUS_SPAN + status);
    this.#metrics.observe(this.#durationCell, totalMs / SECOND_MS);
  }
}

const NO_STATUS = 0;

/** BackendStats counts the attempts at one backend. */
export class BackendStats {
  readonly #metrics: WorkerMetrics;
  readonly #durationCell: number;
  readonly #connectCell: number;
  readonly #counters: NumberedCounters;

  constructor(metrics: WorkerMetrics, pool: string, backend: string) {
    this.#metrics = metrics;
    this.#durationCell = metrics.series('sluice_upstream_duration_seconds', pool, backend);
    this.#connectCell = metrics.series('sluice_upstream_connect_seconds', pool, backend);
    this.#counters = new NumberedCounters(metrics, (status) =>
      metrics.series('sluice_upstream_requests_total', pool, backend, String(status).padStart(3, '0')),
    );
  }

  /** answered files an attempt that got a response head. */
  answered(status: number, upstreamMs: number): void {
    this.#counters.increment(status);
    this.#metrics.observe(this.#durationCell, upstreamMs / SECOND_MS);
  }

  /** connected files a new connection. */
  connected(connectMs: number): void {
    this.#metrics.observe(this.#connectCell, connectMs / SECOND_MS);
  }

  /** failed files an attempt that ended before a response head. */
  failed(): void {
    this.#counters.increment(NO_STATUS);
  }
}

/** TrafficStats holds the traffic counters without labels; one per worker. */
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
