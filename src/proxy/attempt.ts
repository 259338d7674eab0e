/** One try of a request at one backend: the end that the upstream client talks to, and the count of what is under way. */
import type { Clock } from '../contract/clock.ts';
import type { LbError } from '../contract/errors.ts';
import type { ResponseHead, ResponseSink, UpstreamExchange, UpstreamRequest } from '../upstream/exchange.ts';
import type { PlannedBackend } from './plan.ts';

/** What the transaction hears of its attempt. */
export interface AttemptEvents {
  onAttemptConnected(exchange: UpstreamExchange): void;
  onAttemptInformation(status: number, lines: string): void;
  onAttemptHead(head: ResponseHead, completeBody: string | null): void;
  onAttemptBody(chunk: Buffer): boolean;
  onAttemptEnd(rawTrailers: string[]): boolean;
  onAttemptDrain(): void;
  /** The attempt is over; nothing follows. */
  onAttemptError(error: LbError): void;
}

export class Attempt implements ResponseSink {
  readonly target: PlannedBackend;
  /** From the start to the response head; null before it. */
  upstreamMs: number | null = null;

  readonly #events: AttemptEvents;
  readonly #clock: Clock;
  readonly #startMs: number;
  #exchange: UpstreamExchange | null = null;
  #over = false;
  #unsettled = false;

  constructor(target: PlannedBackend, events: AttemptEvents, clock: Clock) {
    this.target = target;
    this.#events = events;
    this.#clock = clock;
    this.#startMs = clock.monotonicMs();
  }

  /** start sends the request. @param fresh on a connection that has not served before (B10) */
  start(request: UpstreamRequest, options: { fresh: boolean }): void {
    this.target.backend.inFlight += 1;
    const exchange = this.target.connections.start(request, this, options);
    this.#exchange = exchange;
    if (exchange.connected) this.#events.onAttemptConnected(exchange);
  }

  /** flushed: the client took everything it was given. */
  flushed(): void {
    if (!this.#over) this.#exchange?.resume();
  }

  /** settle tells what became of an answer that was complete before all of it had left. */
  settle(ok: boolean): void {
    if (!this.#unsettled) return;
    this.#unsettled = false;
    this.#exchange?.settled(ok);
  }

  /** cancel ends the attempt from our side; no failure of the backend. */
  cancel(): void {
    if (this.#over) return;
    this.#release();
    this.#exchange?.destroy();
  }

  onConnected(): void {
    if (this.#exchange !== null) this.#events.onAttemptConnected(this.#exchange);
  }

  onInformation(status: number, _reason: string, lines: string): void {
    this.#events.onAttemptInformation(status, lines);
  }

  onHead(head: ResponseHead, completeBody: string | null): void {
    this.upstreamMs = this.#clock.monotonicMs() - this.#startMs;
    this.target.stats.answered(head.status, this.upstreamMs);
    if (completeBody !== null) this.#release();
    this.#events.onAttemptHead(head, completeBody);
  }

  onBody(chunk: Buffer): boolean {
    return this.#events.onAttemptBody(chunk);
  }

  onEnd(rawTrailers: string[]): boolean {
    this.#release();
    const allOut = this.#events.onAttemptEnd(rawTrailers);
    this.#unsettled = !allOut;
    return allOut;
  }

  onRequestDrain(): void {
    this.#events.onAttemptDrain();
  }

  onError(error: LbError): void {
    if (this.#over) return;
    this.#release();
    if (this.upstreamMs === null) {
      this.target.stats.failed();
    }
    this.#events.onAttemptError(error);
  }

  #release(): void {
    if (this.#over) return;
    this.#over = true;
    this.target.backend.inFlight -= 1;
  }
}
