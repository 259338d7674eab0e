/** Counters of the calls to the bucket store. */
import type { WorkerMetrics } from '../../infra/metrics.ts';

export class StoreMeter {
  readonly #metrics: WorkerMetrics;
  readonly #ok: number;
  readonly #timeout: number;
  readonly #error: number;
  readonly #skipped: number;
  readonly #seconds: number;
  readonly #open: number;

  constructor(metrics: WorkerMetrics) {
    this.#metrics = metrics;
    this.#ok = metrics.series('sluice_ratelimit_store_calls_total', 'ok');
    this.#timeout = metrics.series('sluice_ratelimit_store_calls_total', 'timeout');
    this.#error = metrics.series('sluice_ratelimit_store_calls_total', 'error');
    this.#skipped = metrics.series('sluice_ratelimit_store_calls_total', 'skipped');
    this.#seconds = metrics.series('sluice_ratelimit_store_seconds');
    this.#open = metrics.series('sluice_ratelimit_breaker_open');
    metrics.set(this.#open, 0);
  }

  /** @param waitedSec from the first request's joining the queue to the reply */
  answered(waitedSec: number): void {
    this.#metrics.add(this.#ok, 1);
    this.#metrics.observe(this.#seconds, waitedSec);
  }

  timedOut(): void {
    this.#metrics.add(this.#timeout, 1);
  }

  failed(): void {
    this.#metrics.add(this.#error, 1);
  }

  /** A request that did not ask because the breaker is open. */
  skipped(): void {
    this.#metrics.add(this.#skipped, 1);
  }

  breaker(open: boolean): void {
    this.#metrics.set(this.#open, open ? 1 : 0);
  }
}
