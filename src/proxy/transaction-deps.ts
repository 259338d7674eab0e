/** What every transaction of a worker shares; put together by the handler. */
import type { Clock } from '../contract/clock.ts';
import type { DeadlineWheel } from '../infra/deadline-wheel.ts';
import type { Logger } from '../infra/logging/logger.ts';
import type { WorkerMetrics } from '../infra/metrics.ts';
import type { TokenTaker } from '../limit/charge.ts';
import type { DateCache } from './date-cache.ts';
import type { RequestIds } from './request-id.ts';
import type { TrafficStats } from './request-stats.ts';
import type { Responder } from './responder.ts';

export interface TransactionDeps {
  limiter: TokenTaker;
  wheel: DeadlineWheel;
  clock: Clock;
  /** Uniform in [0, 1); for the sampling of access lines. */
  random: () => number;
  logger: Logger;
  metrics: WorkerMetrics;
  traffic: TrafficStats;
  dates: DateCache;
  responder: Responder;
  requestIds: RequestIds;
  accessLog: { write(line: string): void };
  /** A backend could not be connected: counts as a failed probe in the primary. */
  onBackendFailure: (pool: string, backendId: string, detail: string) => void;
}
