/** Counters of requests: labels are resolved to cells once, so that a request only adds numbers. */
import { OTHER_METHOD, STANDARD_METHODS } from '../contract/metrics.ts';
import type { Reason } from '../contract/outcomes.ts';
import type { WorkerMetrics } from '../infra/worker-metrics.ts';

const SECOND_MS = 1000;
/** Above every status. */
const STATUS_SPAN = 1000;
const METHOD_INDEX: ReadonlyMap<string, number> = new Map(STANDARD_METHODS.map((method, i) => [method, i]));
/** Above the statuses of HTTP: the statuses of gRPC, 0 to 16, and one number for what no specification knows. */
const FIRST_GRPC_CODE = 600;
const GRPC_OTHER = 17;
/** Why a request failed whose reason is `ok`: the backend has answered it so. */
const ANSWERED = 'answered';
/** Counts an attempt that ended without a response head. */
export const NO_STATUS = 0;

/** TimedCounters counts by number (a status, or requestNumber) and observes durations. A number's first count makes its cell. */
export class TimedCounters {
  readonly #metrics: WorkerMetrics;
  readonly #durationCell: number;
  readonly #makeCell: (number: number) => number;
  readonly #cells = new Map<number, number>();

  constructor(metrics: WorkerMetrics, durationCell: number, makeCell: (number: number) => number) {
    this.#metrics = metrics;
    this.#durationCell = durationCell;
    this.#makeCell = makeCell;
  }

  /** @param durationMs null: only the counter */
  count(number: number, durationMs: number | null): void {
    let cell = this.#cells.get(number);
    if (cell === undefined) {
      cell = this.#makeCell(number);
      this.#cells.set(number, cell);
    }
    this.#metrics.add(cell, 1);
    if (durationMs !== null) this.#metrics.observe(this.#durationCell, durationMs / SECOND_MS);
  }
}

/** RouteCounters counts the requests of one route, or those without a route, by requestNumber. */
export class RouteCounters extends TimedCounters {
  /** countFailure counts one that has failed, and not by its client; beside its count. */
  readonly countFailure: (reason: Reason) => void;

  constructor(metrics: WorkerMetrics, route: string) {
    super(metrics, metrics.series('sluice_request_duration_seconds', route), (number) => {
      const method = STANDARD_METHODS[Math.floor(number / STATUS_SPAN)] ?? OTHER_METHOD;
      return metrics.series('sluice_requests_total', route, method, codeOf(number % STATUS_SPAN));
    });
    this.countFailure = (reason) =>
      metrics.add(
        metrics.series('sluice_request_failures_total', route, reason === 'ok' ? ANSWERED : reason),
        1,
      );
  }
}

/** requestNumber packs method and status into one number. @param grpcStatus of a gRPC call that has one, in place of the status */
export function requestNumber(
  method: string | null,
  status: number,
  grpcStatus: number | null = null,
): number {
  const code = grpcStatus === null ? status : FIRST_GRPC_CODE + Math.min(grpcStatus, GRPC_OTHER);
  return (METHOD_INDEX.get(method ?? '') ?? STANDARD_METHODS.length) * STATUS_SPAN + code;
}

function codeOf(code: number): string {
  if (code < FIRST_GRPC_CODE) return String(code);
  return code - FIRST_GRPC_CODE < GRPC_OTHER ? `grpc_${code - FIRST_GRPC_CODE}` : 'grpc_other';
}

/** backendCounters counts the attempts at one backend by status, or NO_STATUS. */
export function backendCounters(metrics: WorkerMetrics, pool: string, backend: string): TimedCounters {
  return new TimedCounters(
    metrics,
    metrics.series('sluice_upstream_duration_seconds', pool, backend),
    (status) =>
      metrics.series('sluice_upstream_requests_total', pool, backend, String(status).padStart(3, '0')),
  );
}

/** TrafficStats holds the traffic counters without labels; one per worker. */
export class TrafficStats {
  /** Requests being served now. */
  inFlight = 0;
  /** Requests begun since the worker started. */
  total = 0;
  readonly #metrics: WorkerMetrics;
  readonly #bytesInCell: number;
  readonly #bytesOutCell: number;

  constructor(metrics: WorkerMetrics) {
    this.#metrics = metrics;
    this.#bytesInCell = metrics.series('sluice_bytes_total', 'in');
    this.#bytesOutCell = metrics.series('sluice_bytes_total', 'out');
  }

  begin(): void {
    this.total += 1;
    this.inFlight += 1;
  }

  end(bytesIn: number, bytesOut: number): void {
    this.inFlight -= 1;
    this.addBytes(bytesIn, bytesOut);
  }

  addBytes(bytesIn: number, bytesOut: number): void {
    if (bytesIn > 0) this.#metrics.add(this.#bytesInCell, bytesIn);
    if (bytesOut > 0) this.#metrics.add(this.#bytesOutCell, bytesOut);
  }
}
