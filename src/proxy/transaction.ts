/**
 * The life of one request, and one access line at its end. States, in this order:
 *
 * admitting   the request is checked, its caller and its route are found, all in one turn of the loop.
 * limiting    the limiter decides, perhaps later.
 * forwarding  an attempt is under way; a failed one may be followed by another.
 * answering   the head of the answer was handed over; a failure can only cut the connection.
 * over        everything has left, or the client is gone. Late calls do nothing. Final.
 * tunnelling  in place of answering: the backend's answer was a 101, and the connections belong to a tunnel, which writes the
 *             access line at its end. Final.
 *
 * The first three may end in a refusal, which is an answer of our own. Every state before `over` may end in the loss of the client.
 */
import { systemClock } from '../contract/clock.ts';
import type { Downstream, DownstreamListener } from '../contract/downstream.ts';
import { type LbError, toError } from '../contract/errors.ts';
import { OUTCOMES, type Outcome } from '../contract/outcomes.ts';
import type { Wire } from '../contract/wire.ts';
import { withoutTrailer } from '../http1/chunk-writing.ts';
import { charge } from '../limit/charge.ts';
import type { Decision } from '../limit/decision.ts';
import type { ResponseHead, UpstreamRequest } from '../upstream/upstream-request.ts';
import { AccessRecord } from './access-record.ts';
import { Admission, KEY_AUTHORIZATION_LINES } from './admission.ts';
import { Attempts, type AttemptsOwner } from './attempts.ts';
import { backendRequestOf } from './backend-request.ts';
import { conclude, count, describe } from './conclusion.ts';
import { GrpcCall } from './grpc-call.ts';
import { limitOutcome } from './limit-outcome.ts';
import type { Plan } from './plan.ts';
import type { PlannedPool } from './plan-pool.ts';
import type { TransactionDeps } from './proxy-deps.ts';
import { RequestBody } from './request-body.ts';
import { beginSpan, noteSpan, type RequestSpan } from './request-span.ts';
import type { RouteCounters } from './request-stats.ts';
import { type OwnAnswer, outcomeOfStatus } from './responder.ts';
import { traceOf } from './trace.ts';
import { looksSwitched, switchProblem } from './tunnel/websocket.ts';

const CONTINUE_STATUS = 100;
const FIRST_NO_SUCCESS_STATUS = 300;

export class Transaction implements DownstreamListener, AttemptsOwner {
  readonly #deps: TransactionDeps;
  readonly #plan: Plan;
  readonly #downstream: Downstream;
  readonly #admission: Admission;
  /** The transaction also reads from it: the request id, the outcome, the bytes sent. */
  readonly #record: AccessRecord;
  readonly #startMs = systemClock.monotonicMs();
  #decision: Decision | null = null;
  /** null: the request has none. */
  body: RequestBody | null = null;
  /** null: the request is not sampled, or not forwarded. */
  span: RequestSpan | null = null;
  /** null until a backend is looked for. */
  #attempts: Attempts | null = null;
  /** null for any other request. */
  #grpc: GrpcCall | null = null;
  /** The name by which Overload counts it; null: it came without an overload. */
  #countedAs: string | null = null;
  /** The client has an interim answer of a backend. */
  #informed = false;
  #over = false;

  constructor(deps: TransactionDeps, plan: Plan, downstream: Downstream) {
    this.#deps = deps;
    this.#plan = plan;
    this.#downstream = downstream;
    const { head, client } = downstream;
    this.#admission = new Admission(head, plan.identifier.addressOf(client.address), client.scheme);
    this.#record = new AccessRecord(client.address, head.method);
  }

  /** run starts the transaction; the handler calls it once. */
  run(): void {
    this.#plan.enter();
    this.#deps.traffic.begin();
    this.#downstream.listen(this);
    const { head } = this.#admission;
    if (this.#admission.isGrpc) this.#grpc = new GrpcCall(head, this.#record, this.#deps.timer, this);
    const refusal = this.#admission.admit(this.#plan, this.#deps.challenges) ?? this.#shed();
    const { peer, caller, keyAuthorization } = this.#admission;
    if (caller !== null) {
      this.#deps.callers.requests.count(caller);
      this.#plan.identifier.noteSeen(caller);
    }
    this.#record.requestId = (peer.isTrusted && head.requestId) || this.#deps.requestIds.nextRequestId();
    const { requestId } = this.#record;
    if (refusal !== null) this.#refuse(refusal);
    else if (keyAuthorization !== '')
      this.#complete(this.#deps.responder.own(200, KEY_AUTHORIZATION_LINES, keyAuthorization, requestId));
    else this.#limit();
  }

  #shed(): Outcome | null {
    const { overload } = this.#deps;
    const { caller, route } = this.#admission;
    if (overload.level === 'none' || caller === null || route === null) return null;
    const { bucketName } = caller.match;
    if (!overload.admit(route.priorityIndex, bucketName)) return OUTCOMES.overload;
    this.#countedAs = bucketName;
    return null;
  }

  /** crash ends the request after an error of our own program. */
  crash(thrown: unknown): void {
    this.#record.requestId ||= this.#deps.requestIds.nextRequestId();
    const { requestId } = this.#record;
    this.#deps.logger.error({ err: toError(thrown), requestId }, 'request failed unexpectedly');
    this.giveUp(OUTCOMES.internal_error);
  }

  #limit(): void {
    const { caller, route } = this.#admission;
    if (caller === null || route?.limit == null || caller.mode === 'unlimited') {
      this.#forward();
      return;
    }
    const startMs = systemClock.monotonicMs();
    const taken = charge(this.#plan.limiter, caller, route.limit);
    if (!(taken instanceof Promise)) this.#decided(taken, startMs);
    else
      taken
        .then((decision) => {
          // Meanwhile the request may have been refused for the framing of its body.
          if (!this.#over && !this.#downstream.started) this.#decided(decision, startMs);
        })
        .catch((thrown) => this.crash(thrown));
  }

  #decided(decision: Decision, startMs: number): void {
    this.#decision = decision;
    this.#record.limiterMs = systemClock.monotonicMs() - startMs;
    if (decision.allowed) {
      this.#forward();
      return;
    }
    this.#refuse(limitOutcome(decision, this.#admission.caller, this.#record, this.#deps.callers));
  }

  #forward(): void {
    const { head, host, target, route } = this.#admission;
    const { responder, requestIds } = this.#deps;
    if (route?.redirectStatus != null) {
      const lines = `Location: ${this.#plan.httpsLocation.of(host, target)}\r\n${this.#limitLines('')}`;
      this.#complete(responder.own(route.redirectStatus, lines, '', this.#record.requestId));
      return;
    }
    const pool = route?.pool;
    if (pool == null) throw new Error('a request without a pool was admitted');
    const trace = traceOf(this.#admission, requestIds, this.#plan.tracing);
    this.span = beginSpan(trace, this.#plan.tracing, this.#admission, requestIds);
    const request = backendRequestOf(this.#admission, pool, this.#downstream, this.#record, trace);
    const { kept = null } = request;
    if (head.hasBody) this.body = new RequestBody(this.#downstream, kept, this.#plan, this);
    if (kept?.waits === true) this.body?.gather(() => this.#begin(pool, request));
    else this.#begin(pool, request);
  }

  #begin(pool: PlannedPool, request: UpstreamRequest): void {
    try {
      this.#attempts = new Attempts(this.#admission, pool, request, this);
      const noRoom = this.#attempts.tryNext();
      // #fail also stops a body that was gathered, which frees it.
      if (noRoom !== null) this.#fail(noRoom);
    } catch (thrown) {
      // After a gathered body this is a later turn of the loop, where nobody else would catch it.
      this.crash(thrown);
    }
  }

  // What the backend says (ResponseSink).

  onConnected(): void {
    this.#attempts?.connected();
  }

  onInformation(status: number, lines: string): void {
    // Sluice answers Expect itself and does not pass it on: this 100 is not for the client. HTTP/1.0 has no 1xx (RFC 9110 §15.2).
    if (status === CONTINUE_STATUS || this.#downstream.head.httpVersion <= 10) return;
    this.#informed = true;
    this.#downstream.inform(status, lines);
  }

  onHead(head: ResponseHead, completeBody: string | null): void {
    if (this.#attempts?.answered(head, completeBody, !this.#informed) === false) return;
    if (looksSwitched(this.#admission, head.status)) {
      this.giveUp(OUTCOMES.upstream_invalid);
      return;
    }
    const isEarly = this.body !== null && !this.body.done;
    // After an early answer that is complete, or an error, nobody needs the rest of the request (RFC 9112 §9.5).
    if (completeBody !== null || head.status >= FIRST_NO_SUCCESS_STATUS) this.body?.stop();
    else this.body?.answered();
    const { requestId } = this.#record;
    const limitLines = this.#limitLines(head.lines);
    const knownLength = completeBody?.length ?? -1;
    const start = this.#deps.responder.relay(head, knownLength, isEarly, requestId, limitLines);
    try {
      this.#record.status = head.status;
      this.#grpc?.onHead(head.lines);
      // Without content the head is all there is, although a backend of HTTP/2 may never end its stream. An upload goes on behind it.
      const body = completeBody ?? (head.hasBody || isEarly ? null : '');
      if (body === null) this.#downstream.start(start);
      else {
        this.#grpc?.onWhole();
        this.#record.bytesOut += body.length;
        this.#downstream.complete(start, body);
      }
    } catch (thrown) {
      this.#deps.logger.warn({ err: toError(thrown), requestId }, 'the answer of a backend cannot be sent');
      this.#record.bytesOut = 0;
      this.giveUp(OUTCOMES.upstream_invalid);
    }
  }

  onSwitch(head: ResponseHead, wire: Wire, rest: Buffer): void {
    const attempt = this.#attempts?.current;
    if (attempt == null) return;
    this.#attempts?.answered(head, null, false);
    const { upgrade: token, headerLines } = this.#admission;
    const { requestId } = this.#record;
    const problem = switchProblem(token, headerLines, head);
    if (problem !== null) {
      this.#deps.logger.debug({ requestId, problem }, 'a backend switches to what was not asked for');
      wire.reset();
      attempt.end();
      this.#fail(OUTCOMES.upstream_invalid);
      return;
    }
    const answer = this.#deps.responder.relay(head, -1, false, requestId, this.#limitLines(head.lines));
    answer.lines += `Upgrade: ${head.upgrade}\r\n`;
    this.#record.status = head.status;
    this.#describe();
    const { poolName, backend } = attempt.target;
    const start = { record: this.#record, startMs: this.#startMs, poolName, backend, token, wire };
    this.#deps.tunnels.open(start, (tunnel) => this.#downstream.switchProtocols(answer, tunnel), rest);
    this.#over = true;
    attempt.switched();
    this.#attempts?.close();
    count(this.#record, this.#stats, this.#deps.traffic);
    this.#leave();
  }

  /** @param backendLines '' for an answer of our own */
  #limitLines(backendLines: string): string {
    if (this.#decision === null) return '';
    return this.#plan.limitFields.lines(this.#decision, backendLines, systemClock);
  }

  onBody(chunk: Buffer): boolean {
    this.#record.bytesOut += chunk.length;
    return this.#downstream.write(chunk);
  }

  onEnd(rawTrailers: string[]): boolean {
    this.body?.stop();
    this.#grpc?.onTrailers(rawTrailers);
    // Before end(), which may end the transaction.
    this.#attempts?.current?.end();
    return this.#downstream.end(rawTrailers);
  }

  onRequestDrain(): void {
    this.body?.resume();
  }

  onError(error: LbError): void {
    const attempts = this.#attempts;
    if (attempts === null || this.#over) return;
    if (!attempts.failed(error)) {
      // This program has failed on the end of an answer. Nothing else follows the end of an attempt.
      if (error.code === 'internal_error') this.giveUp(OUTCOMES.internal_error);
      return;
    }
    if (!this.#downstream.started && !this.#informed && attempts.retry(error)) return;
    this.#fail(attempts.outcomeOf(error));
  }

  // What the client says (DownstreamListener).

  onRequestBody(piece: Buffer): void {
    this.body?.take(piece);
  }

  onRequestBodyEnd(rawTrailers: string[]): void {
    // A key in the trailers was not verified, and some backends take trailers for header fields.
    const { apiKeyHeader } = this.#plan;
    this.body?.finish(rawTrailers.length === 0 ? rawTrailers : withoutTrailer(rawTrailers, apiKeyHeader));
    this.#attempts?.current?.bodySent();
  }

  onRequestBodyInvalid(status: number): void {
    this.giveUp(outcomeOfStatus(status));
  }

  get undeliveredBytes(): number {
    return this.#attempts?.current?.exchange.undeliveredBytes ?? 0;
  }

  onFlushed(): void {
    this.#attempts?.current?.exchange.resume();
  }

  onSlow(): void {
    this.#attempts?.current?.freePlace();
  }

  onStalled(): void {
    this.giveUp(OUTCOMES.write_timeout);
  }

  onSent(): void {
    this.#attempts?.current?.answerSent(this.#deps.timer);
    this.#attempts?.current?.exchange.settled();
    this.#finish();
  }

  /** The exchange ends at once, and no failure of the backend is counted (B28). */
  onGone(): void {
    this.#attempts?.cancel({ memoryIsFree: true });
    this.#attempts?.current?.exchange.settled();
    this.body?.stop();
    if (this.#record.reason === 'ok') {
      const { reason, status } = this.#deps.stopping ? OUTCOMES.shutdown : OUTCOMES.client_abort;
      this.#record.reason = reason;
      this.#record.status = status;
    }
    this.#finish();
  }

  /** The client of a gRPC call waits no longer, unless it still reads an answer that came in time. */
  onDeadline(): void {
    if (!this.#attempts?.current?.exchange.whole) this.giveUp(OUTCOMES.upstream_timeout);
  }

  /** giveUp ends the attempt and the request. */
  giveUp(outcome: Outcome): void {
    if (this.#over) return;
    this.#attempts?.cancel({ memoryIsFree: false });
    this.#fail(outcome);
  }

  #fail(outcome: Outcome): void {
    this.body?.stop();
    if (!this.#downstream.started) {
      this.#refuse(outcome);
      return;
    }
    this.#record.reason = outcome.reason;
    // A client of gRPC takes no message that is incomplete, and learns from the status what happened.
    if (this.#grpc !== null && outcome !== OUTCOMES.write_timeout)
      this.#downstream.end(this.#grpc.failed(outcome));
    // Part of an answer has left, perhaps: the client must not take it for the whole.
    else this.#downstream.abort();
  }

  #refuse(outcome: Outcome): void {
    const { responder } = this.#deps;
    const { requestId } = this.#record;
    const moreLines = this.#admission.allowLine + this.#limitLines('');
    const answer =
      this.#grpc === null
        ? responder.refusal(outcome, requestId, this.#decision, moreLines)
        : responder.grpcRefusal(outcome, requestId, this.#decision, this.#grpc.refused(outcome) + moreLines);
    this.#record.reason = outcome.reason;
    if (outcome === OUTCOMES.queue_full) this.#admission.route?.pool?.countShed();
    this.#complete(answer);
  }

  #complete({ start, body }: OwnAnswer): void {
    this.#record.status = start.status;
    if (this.#downstream.head.method !== 'HEAD') this.#record.bytesOut = body.length;
    this.#downstream.complete(start, body);
  }

  #finish(): void {
    if (this.#over) return;
    this.#over = true;
    this.#attempts?.close();
    this.#describe();
    this.#grpc?.onWhole();
    conclude(this.#record, this.#stats, this.#plan, this.#deps);
    this.#leave();
  }

  #describe(): void {
    this.#record.totalMs = systemClock.monotonicMs() - this.#startMs;
    describe(this.#record, this.#admission, this.body, this.#attempts);
    const { tracing } = this.#plan;
    if (tracing !== null) noteSpan(this, tracing, this.#admission, this.#record, this.#deps.requestIds);
  }

  get #stats(): RouteCounters {
    return this.#admission.route?.stats ?? this.#plan.unmatchedStats;
  }

  #leave(): void {
    if (this.#countedAs !== null) this.#deps.overload.ended(this.#countedAs);
    this.#plan.leave();
  }
}
