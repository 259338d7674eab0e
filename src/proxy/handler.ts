/** The entrance of the proxy: each request of a client's connection gets a transaction. */
import { systemClock } from '../contract/clock.ts';
import type { Downstream } from '../contract/downstream.ts';
import type { ExplainQuery, Explanation } from '../contract/explain.ts';
import { OUTCOMES, type Reason } from '../contract/outcomes.ts';
import { CallerRates } from '../limit/caller/caller-rates.ts';
import { AccessRecord } from './access-record.ts';
import { conclude, writeLine } from './conclusion.ts';
import { DateCache } from './date-cache.ts';
import { explain } from './explain/explain.ts';
import type { Plan } from './plan.ts';
import type { ProxyDeps, TransactionDeps } from './proxy-deps.ts';
import { RequestIds } from './request-id.ts';
import { TrafficStats } from './request-stats.ts';
import { outcomeOfStatus, Responder } from './responder.ts';
import { Transaction } from './transaction.ts';
import { Tunnels } from './tunnel/tunnels.ts';

/** UnparsedRequest is what the parser, or a deadline, refused before there was a request. */
export interface UnparsedRequest {
  status: number;
  /** null where it is not known. */
  method: string | null;
  /** Where the status does not say it. */
  reason?: Reason;
}

/** Handler is made once per worker (worker/data-plane.ts) and called by the inbound server. */
export class Handler {
  readonly traffic: TrafficStats;
  readonly tunnels: Tunnels;
  readonly callers = new CallerRates(systemClock.monotonicMs());
  readonly #plan: () => Plan;
  readonly #deps: TransactionDeps;

  /** @param deps plan: the plan in force, asked once per request */
  constructor({ plan, ...deps }: ProxyDeps & { plan: () => Plan }) {
    this.#plan = plan;
    this.traffic = new TrafficStats(deps.metrics);
    const dates = new DateCache();
    const { traffic } = this;
    const onEnd = (record: AccessRecord): void => writeLine(record, plan(), { ...deps, dates });
    this.tunnels = new Tunnels({ plan, timer: deps.timer, traffic, onEnd });
    this.#deps = {
      ...deps,
      dates,
      responder: new Responder(dates),
      requestIds: new RequestIds(),
      traffic,
      tunnels: this.tunnels,
      callers: this.callers,
      stopping: false,
    };
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

  /** explain says which way a request would take now. */
  explain(query: ExplainQuery): Explanation {
    return explain(query, this.#plan(), this.#deps);
  }

  /** stop is called before the connections are cut: requests that this ends are logged as `shutdown`. */
  stop(): void {
    this.#deps.stopping = true;
  }

  /**
   * refuseUnparsed counts and logs bytes that never became a request, and returns the whole answer to them (latin1). The
   * connection must close after it.
   * @param totalMs since its protocol took the connection over, or it last became idle
   */
  refuseUnparsed(
    { status, method, reason }: UnparsedRequest,
    clientAddress: string,
    totalMs: number,
  ): string {
    const outcome = reason === undefined ? outcomeOfStatus(status) : OUTCOMES[reason];
    const { requestIds, traffic, responder } = this.#deps;
    const plan = this.#plan();
    const requestId = requestIds.nextRequestId();
    const { answer, bodyBytes } = responder.rawRefusal(outcome, requestId);
    const record = new AccessRecord(clientAddress, method);
    Object.assign(record, { requestId, status, reason: outcome.reason, bytesOut: bodyBytes, totalMs });
    traffic.begin();
    conclude(record, plan.unmatchedStats, plan, this.#deps);
    return answer;
  }
}
