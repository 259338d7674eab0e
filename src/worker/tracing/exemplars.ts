import { bucketOf, type Exemplar, METRICS } from '../../contract/metrics.ts';
import { UNMATCHED_ROUTE } from '../../contract/settings.ts';
import type { RequestSpan } from '../../proxy/request-span.ts';

const { bucketsSec } = METRICS.sluice_request_duration_seconds;
const MS_PER_SEC = 1_000;

/** Exemplars keeps one request for each bucket of each route, until the next report; made by TraceExport. */
export class Exemplars {
  readonly #byBucket = new Map<string, Exemplar>();

  note({ record, traceId, endMs, wallOffsetMs }: RequestSpan): void {
    const { route, totalMs } = record;
    const seconds = totalMs / MS_PER_SEC;
    const exemplar = { route: route ?? UNMATCHED_ROUTE, traceId, seconds, atMs: endMs + wallOffsetMs };
    this.#byBucket.set(`${bucketOf(bucketsSec, seconds)} ${exemplar.route}`, exemplar);
  }

  take(): Exemplar[] {
    const taken = [...this.#byBucket.values()];
    this.#byBucket.clear();
    return taken;
  }
}
