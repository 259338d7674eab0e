/** One try of a request at one backend, and its part in the counters of that backend. */
import { systemClock } from '../contract/clock.ts';
import type { LbError } from '../contract/errors.ts';
import { Deadline, type DeadlineTimer } from '../infra/deadline-timer.ts';
import type { Exchange } from '../upstream/exchange.ts';
import type { ResponseSink, UpstreamRequest } from '../upstream/upstream-request.ts';
import { FIRST_ERROR_STATUS } from './live-results.ts';
import type { PlannedBackend } from './plan-pool.ts';
import type { RequestBody } from './request-body.ts';
import type { AttemptSpan } from './request-span.ts';
import { NO_STATUS } from './request-stats.ts';

/** For the end of an answer without content, once the client has it: a cancel costs the connection over HTTP/1.1. */
const END_MS = 1_000;
/** A body that is still awaited after this long comes slowly. */
const SLOW_BODY_MS = 250;

/** Attempt is made by Attempts. The transaction is the sink of the answer and says when the attempt is over. */
export class Attempt {
  readonly target: PlannedBackend;
  readonly exchange: Exchange;
  /** From the start to the response head; null before it. */
  upstreamMs: number | null = null;
  readonly startMs = systemClock.monotonicMs();

  #over = false;
  /** It counts against the limit of the backend. */
  #hasPlace = true;
  /** null: the request is not sampled. */
  readonly #span: AttemptSpan | null;
  /** It waits for the backend: the client does not send its body slowly, and the answer has not begun. */
  #isAwaited = true;

  /** The constructor sends the request. @param options fresh: on a connection that has not served before (B10) */
  constructor(
    target: PlannedBackend,
    request: UpstreamRequest,
    sink: ResponseSink,
    options: { fresh: boolean; span: AttemptSpan | null },
  ) {
    this.target = target;
    this.#span = options.span;
    this.exchange = target.connections.start(request, sink, options);
    target.backend.enter();
    target.results.begun();
  }

  /** answered: the response head came. @param body of the request */
  answered(status: number, body: RequestBody | null): void {
    const nowMs = systemClock.monotonicMs();
    this.upstreamMs = nowMs - this.startMs;
    this.target.stats.count(status, this.upstreamMs);
    this.target.results.answered(status, nowMs);
    if (this.#span !== null) this.#span.status = status;
    this.#sample(status, nowMs, body);
    this.#setAwaited(false);
  }

  /** watchBody is called at the start: while the client sends its body slowly, it takes no place of the limit that follows latency. */
  watchBody(body: RequestBody, timer: DeadlineTimer): void {
    if (this.target.adaptive === null || body.done) return;
    const due = new Deadline(() => {
      if (this.#over || this.upstreamMs !== null || body.done) return;
      this.#setAwaited(!body.awaitsClient);
      timer.arm(due, SLOW_BODY_MS);
    });
    timer.arm(due, SLOW_BODY_MS);
  }

  /** bodySent: now it is the backend's turn. */
  bodySent(): void {
    if (this.upstreamMs === null) this.#setAwaited(true);
  }

  #setAwaited(isAwaited: boolean): void {
    if (this.#over || !this.#hasPlace || this.#isAwaited === isAwaited) return;
    this.#isAwaited = isAwaited;
    this.target.backend.setAwaited(isAwaited);
  }

  #sample(status: number, nowMs: number, body: RequestBody | null): void {
    // A quick failure says nothing of how busy the backend is.
    if (this.target.adaptive === null || status >= FIRST_ERROR_STATUS) return;
    const latencyMs = this.#latencyMs(nowMs, body);
    if (latencyMs !== null) this.target.adaptive.sample(latencyMs);
  }

  /** Without the time that the client took to send; null: it has not sent all. */
  #latencyMs(nowMs: number, body: RequestBody | null): number | null {
    if (body === null) return nowMs - this.startMs;
    return body.doneMs === null ? null : nowMs - Math.max(this.startMs, body.doneMs);
  }

  /** end: nothing more comes. @returns false where the attempt was over before */
  end(): boolean {
    if (this.#over) return false;
    this.#over = true;
    if (this.#span !== null) this.#span.end();
    if (this.#hasPlace) this.target.backend.leave(this.#isAwaited);
    else this.target.backend.inFlight -= 1;
    return true;
  }

  /** freePlace: the client does not take the answer. It counts no more against the limit of the backend, or slow readers could take every place. */
  freePlace(): void {
    if (this.#over || !this.#hasPlace) return;
    this.#hasPlace = false;
    this.target.backend.free(this.#isAwaited);
  }

  /** switched: a tunnel goes on in its place, and counts as a request at the backend. */
  switched(): void {
    this.freePlace();
    this.#over = true;
  }

  /** failed: the exchange ended with an error. @returns false where the attempt was over before */
  failed(error: LbError): boolean {
    if (!this.end()) return false;
    if (this.#span !== null) this.#span.error = error.code;
    if (this.upstreamMs === null) this.target.stats.count(NO_STATUS, null);
    this.target.results.failed(error);
    if (error.code === 'upstream_timeout' && this.upstreamMs === null)
      this.target.adaptive?.sample(systemClock.monotonicMs() - this.startMs);
    return true;
  }

  /** answerSent: the client has the answer. One without content may have left before its backend has ended it. */
  answerSent(timer: DeadlineTimer): void {
    if (!this.#over) timer.arm(new Deadline(() => this.cancel({ memoryIsFree: true })), END_MS);
  }

  /** abandoned comes before cancel where nobody waits for the answer any more. @param body of the request */
  abandoned(body: RequestBody | null): void {
    const { adaptive } = this.target;
    if (this.#over || this.upstreamMs !== null || adaptive === null) return;
    const latencyMs = this.#latencyMs(systemClock.monotonicMs(), body);
    if (latencyMs !== null) adaptive.abandoned(latencyMs);
  }

  /** cancel ends the attempt from our side; no failure of the backend. @param options see Exchange.destroy */
  cancel(options: { memoryIsFree: boolean }): void {
    if (!this.end()) return;
    if (this.upstreamMs === null) this.target.results.undecided();
    this.exchange.destroy(options);
  }
}
