/** Connections that were closed because no valid PROXY header came. */
import type { FaultLog } from '../../infra/logging/fault-log.ts';
import type { HeaderProblem } from '../../infra/proxy-protocol/proxy-header-reader.ts';
import type { WorkerMetrics } from '../../infra/worker-metrics.ts';

/**
 * Why a connection was closed. stranger: its peer is not in `from`. truncated: it ended within the header. timeout: the header took
 * longer than `timeouts.headers`.
 */
export type ProxyHeaderProblem = HeaderProblem | 'stranger' | 'truncated' | 'timeout';

/** ProxyHeaderFailures counts and logs, once per worker. */
export class ProxyHeaderFailures {
  readonly #metrics: WorkerMetrics;
  readonly #log: FaultLog;

  constructor(metrics: WorkerMetrics, log: FaultLog) {
    this.#metrics = metrics;
    this.#log = log;
  }

  note(reason: ProxyHeaderProblem, peer: string): void {
    this.#metrics.add(this.#metrics.series('sluice_proxy_protocol_errors_total', reason), 1);
    this.#log.note(reason, { reason, peer });
  }
}
