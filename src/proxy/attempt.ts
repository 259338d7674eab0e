/** One try of a request at one backend: what is under way there, and the counters of it. */
import type { Clock } from '../contract/clock.ts';
import type { ResponseSink, UpstreamExchange, UpstreamRequest } from '../upstream/exchange.ts';
import type { PlannedBackend } from './plan.ts';

/** Attempt is made by the transaction, which is the sink of the answer and tells what it hears. */
export class Attempt {
  readonly target: PlannedBackend;
  /** From the start to the response head; null before it. */
  upstreamMs: number | null = null;

  readonly #clock: Clock;
  readonly #startMs: number;
  #exchange: UpstreamExchange | null = null;
  #over = false;
  #unsettled = false;

  constructor(target: PlannedBackend, clock: Clock) {
    this.target = target;
    this.#clock = clock;
    this.#startMs = clock.monotonicMs();
  }

  /** start sends the request. @param fresh on a connection that has not served before (B10) */
  start(request: UpstreamRequest, sink: ResponseSink, options: { fresh: boolean }): void {
    this.target.backend.inFlight += 1;
    this.#exchange = this.target.connections.start(request, sink, options);
  }

  /** Open, so that body bytes may be sent; null before. */
  get connected(): UpstreamExchange | null {
    return this.#exchange?.connected === true ? this.#exchange : null;
  }

  /** answered: the head came, and with a complete answer all of it. */
  answered(status: number, isComplete: boolean): void {
    this.upstreamMs = this.#clock.monotonicMs() - this.#startMs;
    this.target.stats.answered(status, this.upstreamMs);
    if (isComplete) this.complete();
  }

  /** flushed: the client took everything it was given. */
  flushed(): void {
    if (!this.#over) this.#exchange?.resume();
  }

  /** complete: all of the answer has come. */
  complete(): void {
    this.#release();
  }

  /** awaitFlush: the last bytes of the answer are still on their way to the client, from memory of the exchange. */
  awaitFlush(): void {
    this.#unsettled = true;
  }

  /** settle: the last bytes of a complete answer have left, or the client is gone: their memory is free. */
  settle(): void {
    if (!this.#unsettled) return;
    this.#unsettled = false;
    this.#exchange?.settled();
  }

  /** failed: nothing more comes. @returns false where it was over before */
  failed(): boolean {
    if (this.#over) return false;
    this.#release();
    if (this.upstreamMs === null) this.target.stats.failed();
    return true;
  }

  /** cancel ends the attempt from our side; no failure of the backend. @param options see UpstreamExchange.destroy */
  cancel(options: { memoryIsFree: boolean }): void {
    if (this.#over) return;
    this.#release();
    this.#exchange?.destroy(options);
  }

  #release(): void {
    if (this.#over) return;
    this.#over = true;
    this.target.backend.inFlight -= 1;
  }
}
