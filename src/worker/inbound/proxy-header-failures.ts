/** Connections that were closed because no valid PROXY header came. */
import type { Logger } from '../../infra/logging/logger.ts';
import type { OncePerSecond } from '../../infra/logging/once-per-second.ts';
import type { HeaderProblem } from '../../infra/proxy-protocol/proxy-header-reader.ts';
import type { WorkerMetrics } from '../../infra/worker-metrics.ts';

/**
 * Why a connection was closed. stranger: its peer is not in `from`. truncated: it ended within the header. timeout: the header took
 * longer than `timeouts.headers`.
 */
export type ProxyHeaderProblem = HeaderProblem | 'stranger' | 'truncated' | 'timeout';

interface ProxyHeaderFailuresOptions {
  metrics: WorkerMetrics;
  logger: Logger;
  lines: OncePerSecond;
}

/** ProxyHeaderFailures counts and logs, once per worker. */
export class ProxyHeaderFailures {
  readonly #options: ProxyHeaderFailuresOptions;

  constructor(options: ProxyHeaderFailuresOptions) {
    this.#options = options;
  }

  /** note counts a connection, and logs each reason once per second at most. */
  note(reason: ProxyHeaderProblem, peer: string): void {
    const { metrics, logger, lines } = this.#options;
    metrics.add(metrics.series('sluice_proxy_protocol_errors_total', reason), 1);
    if (lines.allows(reason)) logger.warn({ reason, peer }, 'a connection without a valid PROXY header');
  }
}
