/** What the proxy is given. */
import type { DeadlineTimer } from '../infra/deadline-timer.ts';
import type { Logger } from '../infra/logging/logger.ts';
import type { WorkerMetrics } from '../infra/worker-metrics.ts';
import type { CallerRates } from '../limit/caller/caller-rates.ts';
import type { ConclusionDeps } from './conclusion.ts';
import type { Overload } from './overload.ts';
import type { RequestIds } from './request-id.ts';
import type { Responder } from './responder.ts';
import type { Tunnels } from './tunnel/tunnels.ts';

/** ProxyDeps is what the worker gives to the proxy. */
export interface ProxyDeps {
  timer: DeadlineTimer;
  metrics: WorkerMetrics;
  logger: Logger;
  accessLog: ConclusionDeps['accessLog'];
  live: ConclusionDeps['live'];
  audit: ConclusionDeps['audit'];
  /** Open challenges of certificate authorities: key authorizations by token. */
  challenges: ReadonlyMap<string, string>;
  overload: Overload;
}

/** TransactionDeps is what all transactions of a worker share; the handler makes it. */
export interface TransactionDeps extends ProxyDeps, ConclusionDeps {
  tunnels: Tunnels;
  callers: CallerRates;
  responder: Responder;
  requestIds: RequestIds;
  /** The worker is about to cut all connections: from now on it is not the client that ends a request. */
  stopping: boolean;
}
