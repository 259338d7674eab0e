/** The proxy's front: takes requests from the listeners and hands each to a transaction of its own. */
import type { Clock } from '../contract/clock.ts';
import type { Downstream } from '../contract/downstream.ts';
import type { DeadlineWheel } from '../infra/deadline-wheel.ts';
import type { Logger } from '../infra/logging/logger.ts';
import type { WorkerMetrics } from '../infra/metrics.ts';
import type { TokenTaker } from '../limit/charge.ts';
import { accessLine } from './access-log.ts';
import { DateCache } from './date-cache.ts';
import type { Plan } from './plan.ts';
import { reasonOfStatus } from './problem.ts';
import { RequestIds } from './request-id.ts';
import { TrafficStats } from './request-stats.ts';
import { Responder } from './responder.ts';
import { Transaction } from './transaction.ts';
import type { TransactionDeps } from './transaction-deps.ts';

export interface HandlerDeps {
  /** The plan in force; asked once per request. */
  plan: () => Plan;
  limiter: TokenTaker;
  wheel: DeadlineWheel;
  clock: Clock;
  metrics: WorkerMetrics;
  logger: Logger;
  accessLog: { write(line: string): void };
  /** Uniform in [0, 1). */
  random: () => number;
  onBackendFailure: (pool: string, backendId: string, detail: string) => void;
}

/** UnparsedRequest is what the parser, or a deadline, refused before there was a request. */
export interface UnparsedRequest {
  peerAddress: string;
  status: number;
  method: string | null;
  /** Since the connection was opened or became idle. */
  totalMs: number;
}

/** Handler is made once per worker by its main and given to the inbound server. */
export class Handler {
  readonly #plan: () => Plan;
  readonly #deps: TransactionDeps;

  constructor({ plan, ...deps }: HandlerDeps) {
    this.#plan = plan;
    const dates = new DateCache(deps.clock);
    this.#deps = {
      ...deps,
      dates,
      responder: new Responder(dates),
      requestIds: new RequestIds(deps.random),
      traffic: new TrafficStats(deps.metrics),
    };
  }

  /** Requests being served now. */
  get requestsInFlight(): number {
    return this.#deps.traffic.inFlight;
  }

  /** Requests begun since the worker started. */
  get requestsTotal(): number {
    return this.#deps.traffic.total;
  }

  /** handle serves one request to its end; never throws. */
  handle(downstream: Downstream): void {
    const transaction = new Transaction(this.#deps, this.#plan(), downstream);
    try {
      transaction.run();
    } catch (thrown) {
      transaction.crash(thrown);
    }
  }

  /** refuseUnparsed counts and logs such a request and returns the whole answer (latin1); the connection closes after it. */
  refuseUnparsed({ peerAddress, status, method, totalMs }: UnparsedRequest): string {
    const reason = reasonOfStatus(status);
    const { requestIds, traffic, responder, dates, accessLog, random } = this.#deps;
    const plan = this.#plan();
    const requestId = requestIds.nextRequestId();
    const answer = responder.rawProblem(reason, status, requestId);
    const bytesOut = answer.length - answer.indexOf('\r\n\r\n') - '\r\n\r\n'.length;
    traffic.begin();
    traffic.end(0, bytesOut);
    plan.unmatchedStats.count(method ?? '', status, totalMs);
    const { enabled, sample } = plan.accessLog;
    if (enabled && (sample >= 1 || random() < sample)) {
      accessLog.write(
        accessLine({
          ...NOTHING_KNOWN,
          time: dates.isoTime(),
          requestId,
          clientIp: peerAddress,
          method,
          status,
          reason,
          bytesOut,
          totalMs,
        }),
      );
    }
    return answer;
  }
}

const NOTHING_KNOWN = {
  traceId: null,
  clientId: null,
  host: null,
  path: null,
  bytesIn: 0,
  upstreamMs: null,
  queueMs: null,
  limiterMs: null,
  backend: null,
  attempts: 0,
  route: null,
  userAgent: null,
} as const;
