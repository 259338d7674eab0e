/**
 * The life of one request: admit → limit → pick → attempt → relay, and one access line at its end.
 *
 * States: admitting, limiting (the decision is awaited), forwarding (an attempt is under way), answering (the head of
 * the answer is out), over. The client may go away in any of them; what comes late is ignored once it is over.
 */

import type { Backend } from '../balance/backend.ts';
import type { Downstream, DownstreamListener } from '../contract/downstream.ts';
import { ERRORS, type LbError, toError } from '../contract/errors.ts';
import { REASONS, type Reason } from '../contract/problems.ts';
import { charge } from '../limit/charge.ts';
import type { Decision } from '../limit/decision.ts';
import type { ResponseHead, ResponseSink, UpstreamRequest } from '../upstream/exchange.ts';
import { type AccessRecord, accessLine, loggedPath } from './access-log.ts';
import { Admission, refusalBy } from './admission.ts';
import { Attempt } from './attempt.ts';
import { forwardedLines, type Trace, traceOf } from './forwarded-headers.ts';
import type { Plan, PlannedBackend } from './plan.ts';
import { CLOSING_REASONS, problemBody, reasonOfStatus } from './problem.ts';
import { type BodyEvents, RequestBody } from './request-body.ts';
import type { Refusal } from './request-guard.ts';
import { decideRetry } from './retry-policy.ts';
import type { TransactionDeps } from './transaction-deps.ts';

const CLIENT_ABORT_STATUS = 499;
const CONTINUE_STATUS = 100;
const FIRST_NO_SUCCESS_STATUS = 300;

export class Transaction implements DownstreamListener, ResponseSink, BodyEvents {
  readonly #deps: TransactionDeps;
  readonly #plan: Plan;
  readonly #downstream: Downstream;
  readonly #admission: Admission;
  readonly #startMs: number;
  #requestId = '';
  #trace: Trace | null = null;
  #decision: Decision | null = null;
  #limiterMs: number | null = null;
  #request: UpstreamRequest | null = null;
  #body: RequestBody | null = null;
  #attempt: Attempt | null = null;
  #attempts = 0;
  #tried: Backend[] = [];
  #connectFailures = 0;
  #replaced = false;
  #status = 0;
  #reason: Reason = 'ok';
  #bytesOut = 0;
  #over = false;

  constructor(deps: TransactionDeps, plan: Plan, downstream: Downstream) {
    this.#deps = deps;
    this.#plan = plan;
    this.#downstream = downstream;
    this.#startMs = deps.clock.monotonicMs();
    this.#admission = new Admission(downstream, plan);
  }

  /** run begins; the handler calls it once. */
  run(): void {
    this.#plan.enter();
    this.#deps.traffic.begin();
    this.#downstream.listen(this);
    const refusal = this.#admission.admit();
    const { trusted, head } = this.#admission.guarded;
    this.#requestId = (trusted && head.requestId) || this.#deps.requestIds.nextRequestId();
    if (refusal !== null) this.#refuse(refusal);
    else this.#limit();
  }

  /** crash is for errors that should not exist: the request gets an end all the same. */
  crash(thrown: unknown): void {
    this.#requestId ||= this.#deps.requestIds.nextRequestId();
    this.#deps.logger.error(
      { err: toError(thrown), requestId: this.#requestId },
      'request failed unexpectedly',
    );
    if (this.#over) return;
    this.#attempt?.cancel({ memoryIsFree: false });
    this.#fail('upstream_invalid', ERRORS.upstream_invalid.status);
  }

  #limit(): void {
    const { caller, route } = this.#admission;
    if (caller === null || route?.limit == null || caller.mode === 'unlimited') {
      this.#forward();
      return;
    }
    const startMs = this.#deps.clock.monotonicMs();
    const taken = charge(this.#deps.limiter, caller, route.limit);
    if (!(taken instanceof Promise)) {
      this.#decided(taken, startMs);
      return;
    }
    taken
      .then((decision) => {
        // It may have been refused meanwhile, for the framing of its body.
        if (!this.#over && !this.#downstream.started) this.#decided(decision, startMs);
      })
      .catch((thrown) => this.crash(thrown));
  }

  #decided(decision: Decision, startMs: number): void {
    this.#decision = decision;
    this.#limiterMs = this.#deps.clock.monotonicMs() - startMs;
    const refusal = refusalBy(decision);
    if (refusal === null) this.#forward();
    else this.#refuse(refusal);
  }

  #forward(): void {
    const { guarded, caller } = this.#admission;
    const { head, peer } = this.#downstream;
    // Two are nobody's.
    const traceparent = head.traceparentCount > 1 ? '' : head.traceparent;
    this.#trace = traceOf(traceparent, this.#deps.requestIds);
    const origin = {
      peerAddress: peer.address,
      clientIp: caller?.clientIp ?? peer.address,
      requestId: this.#requestId,
      trace: this.#trace,
    };
    const { host, target, bodyLength } = guarded;
    const hostLine = host === '' ? '' : `Host: ${host}\r\n`;
    const headerLines = hostLine + guarded.headerLines + forwardedLines(guarded, origin);
    this.#request = { method: head.method, target, headerLines, bodyLength };
    if (bodyLength !== 0 && bodyLength >= -1) this.#body = this.#makeBody();
    if (!this.#attemptNext()) this.#refuse({ reason: 'no_backend', status: ERRORS.no_backend.status });
  }

  #makeBody(): RequestBody {
    const { limits, timeouts } = this.#plan;
    const bounds = { maxBytes: limits.bodyBytes, idleMs: timeouts.bodyIdleMs };
    return new RequestBody(this.#downstream, this.#deps.wheel, bounds, this);
  }

  /** @returns false when no backend is left that was not tried */
  #attemptNext(): boolean {
    const pool = this.#admission.route?.pool;
    const backend = pool?.set.pick(this.#tried) ?? null;
    const target = backend === null ? undefined : pool?.byBackend.get(backend);
    if (target === undefined) return false;
    this.#tried.push(target.backend);
    this.#attemptAt(target, { fresh: false });
    return true;
  }

  #attemptAt(target: PlannedBackend, options: { fresh: boolean }): void {
    const request = this.#request;
    if (request === null) return;
    this.#attempts += 1;
    const attempt = new Attempt(target, this.#deps.clock);
    this.#attempt = attempt;
    attempt.start(this.#admission.guarded.host === '' ? named(request, target) : request, this, options);
    this.onConnected();
  }

  // What the backend says (ResponseSink).

  onConnected(): void {
    const exchange = this.#attempt?.connected ?? null;
    if (exchange !== null) this.#body?.flowTo(exchange);
  }

  onInformation(status: number, _reason: string, lines: string): void {
    // The 100 that a client waits for is ours: its Expect was not passed on.
    if (status !== CONTINUE_STATUS) this.#downstream.inform(status, lines);
  }

  onHead(head: ResponseHead, completeBody: string | null): void {
    this.#attempt?.answered(head.status, completeBody !== null);
    const isEarly = this.#body !== null && !this.#body.done;
    // Behind an early answer that is over, or no success, the rest of the request is of no use (RFC 9112 §9.5).
    if (completeBody !== null || head.status >= FIRST_NO_SUCCESS_STATUS) this.#body?.stop();
    else this.#body?.answered();
    const closing = isEarly;
    const { limitFields } = this.#plan;
    const context = { requestId: this.#requestId, decision: this.#decision, limitFields, closing };
    const start = this.#deps.responder.relay(head, context, completeBody?.length ?? -1);
    try {
      this.#status = head.status;
      if (completeBody === null) this.#downstream.start(start);
      else {
        this.#bytesOut += completeBody.length;
        this.#downstream.complete(start, completeBody);
      }
    } catch (thrown) {
      this.#deps.logger.warn(
        { err: toError(thrown), requestId: this.#requestId },
        'answer cannot be sent on',
      );
      this.#attempt?.cancel({ memoryIsFree: false });
      this.#bytesOut = 0;
      this.#fail('upstream_invalid', ERRORS.upstream_invalid.status);
    }
  }

  onBody(chunk: Buffer): boolean {
    this.#bytesOut += chunk.length;
    return this.#downstream.write(chunk);
  }

  onEnd(rawTrailers: string[]): boolean {
    this.#body?.stop();
    // First: the last bytes may end the transaction when they leave.
    this.#attempt?.complete();
    const allOut = this.#downstream.end(rawTrailers);
    if (!allOut) this.#attempt?.awaitFlush();
    return allOut;
  }

  onRequestDrain(): void {
    this.#body?.resume();
  }

  onError(error: LbError): void {
    const attempt = this.#attempt;
    if (attempt === null || !attempt.failed() || this.#over) return;
    // With `overload` it is this worker that cannot make connections: another backend may have one that is parked.
    if (error.code === 'overload') this.#connectFailures += 1;
    if (error.code === 'connect_failed') this.#noteConnectFailure(attempt.target, error);
    if (!this.#downstream.started && this.#retry(attempt.target, error)) return;
    const reason = REASONS.find((known) => known === error.code);
    if (reason === undefined) this.#fail('upstream_invalid', ERRORS.upstream_invalid.status);
    else this.#fail(reason, error.status);
  }

  #noteConnectFailure({ poolName, backend }: PlannedBackend, error: LbError): void {
    this.#connectFailures += 1;
    this.#deps.onBackendFailure(poolName, backend.id, error.message);
  }

  /** @returns whether another attempt is under way */
  #retry(failed: PlannedBackend, error: LbError): boolean {
    const choice = decideRetry({
      code: error.code,
      retryable: error.retryable,
      method: this.#downstream.head.method,
      bodyUnread: this.#body?.unread ?? true,
      connectFailures: this.#connectFailures,
      replaced: this.#replaced,
    });
    const pool = this.#admission.route?.pool;
    if (choice === 'none' || pool === undefined) return false;
    if (choice === 'other') {
      if (!this.#attemptNext()) return false;
      this.#deps.metrics.add(pool.connectRetriesCell, 1);
      return true;
    }
    this.#deps.metrics.add(pool.freshRetriesCell, 1);
    this.#replaced = true;
    this.#attemptAt(failed, { fresh: true });
    return true;
  }

  // What the client says (DownstreamListener).

  onRequestBody(piece: Buffer): void {
    this.#body?.take(piece);
  }

  onRequestBodyEnd(rawTrailers: string[]): void {
    this.#body?.finish(rawTrailers);
  }

  onRequestBodyInvalid(status: number): void {
    this.#failClient(reasonOfStatus(status), status);
  }

  onBodyTooLarge(): void {
    this.#failClient('body_too_large', ERRORS.body_too_large.status);
  }

  onBodyStalled(): void {
    this.#failClient('body_timeout', ERRORS.body_timeout.status);
  }

  onFlushed(): void {
    this.#attempt?.flushed();
  }

  onStalled(): void {
    this.#failClient('write_timeout', ERRORS.write_timeout.status);
  }

  onSent(): void {
    this.#attempt?.settle();
    this.#finish();
  }

  /** Nobody's failure (B28): the backend hears of it at once, and nothing is counted against it. */
  onGone(): void {
    // Nobody writes to a client that is gone, so the memory of what was on its way is free.
    this.#attempt?.cancel({ memoryIsFree: true });
    this.#attempt?.settle();
    this.#body?.stop();
    if (this.#reason === 'ok') {
      this.#reason = 'client_abort';
      this.#status = CLIENT_ABORT_STATUS;
    }
    this.#finish();
  }

  #failClient(reason: Reason, status: number): void {
    if (this.#over) return;
    this.#attempt?.cancel({ memoryIsFree: false });
    this.#fail(reason, status);
  }

  #fail(reason: Reason, status: number): void {
    this.#body?.stop();
    if (!this.#downstream.started) {
      this.#refuse({ reason, status });
      return;
    }
    // Too late for an answer of our own: the client must not take what it has for a whole one.
    this.#reason = reason;
    this.#downstream.abort();
  }

  #refuse({ reason, status }: Refusal): void {
    this.#reason = reason;
    this.#status = status;
    const body = problemBody(reason, status, this.#requestId, this.#decision);
    if (this.#downstream.head.method !== 'HEAD') this.#bytesOut = body.length;
    const head = this.#deps.responder.problem(status, body.length, {
      requestId: this.#requestId,
      decision: this.#decision,
      limitFields: this.#plan.limitFields,
      closing: CLOSING_REASONS.has(reason),
      allow: this.#admission.allow,
    });
    this.#downstream.complete(head, body);
  }

  #finish(): void {
    if (this.#over) return;
    this.#over = true;
    const { method } = this.#downstream.head;
    const totalMs = this.#deps.clock.monotonicMs() - this.#startMs;
    const stats = this.#admission.route?.stats ?? this.#plan.unmatchedStats;
    stats.count(method, this.#status, totalMs);
    this.#deps.traffic.end(this.#body?.receivedBytes ?? 0, this.#bytesOut);
    const { enabled, sample } = this.#plan.accessLog;
    if (enabled && (sample >= 1 || this.#deps.random() < sample)) this.#log(totalMs);
    this.#plan.leave();
  }

  #log(totalMs: number): void {
    const { guarded, caller, route } = this.#admission;
    const record: AccessRecord = {
      time: this.#deps.dates.isoTime(),
      requestId: this.#requestId,
      traceId: this.#trace?.traceId ?? null,
      clientIp: caller?.clientIp ?? this.#downstream.peer.address,
      clientId: caller?.clientId ?? null,
      method: this.#downstream.head.method,
      host: guarded.host === '' ? null : guarded.host,
      path: loggedPath(guarded.target),
      status: this.#status,
      reason: this.#reason,
      bytesIn: this.#body?.receivedBytes ?? 0,
      bytesOut: this.#bytesOut,
      totalMs,
      upstreamMs: this.#attempt?.upstreamMs ?? null,
      queueMs: this.#attempts > 0 ? 0 : null,
      limiterMs: this.#limiterMs,
      backend: this.#attempt?.target.backend.id ?? null,
      attempts: this.#attempts,
      route: route?.name ?? null,
      userAgent: guarded.head.userAgent,
    };
    this.#deps.accessLog.write(accessLine(record));
  }
}

/** HTTP/1.0 clients may leave Host out; backends get one (RFC 9112 §3.2). */
function named(request: UpstreamRequest, { authority }: PlannedBackend): UpstreamRequest {
  return { ...request, headerLines: `Host: ${authority}\r\n${request.headerLines}` };
}
