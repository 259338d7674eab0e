/**
 * The request body on its way from the client to a backend. It is read once the backend's connection is open, counted against the
 * limit before a byte goes on (B18), stopped while the backend takes no more, and given up if the client pauses too long (B14) or is too slow.
 * Where backends are busy, a body that has not come yet is gathered first, so that slow clients do not occupy them all.
 */
import { systemClock } from '../contract/clock.ts';
import type { Downstream } from '../contract/downstream.ts';
import { OUTCOMES, type Outcome } from '../contract/outcomes.ts';
import { Deadline, type DeadlineTimer } from '../infra/deadline-timer.ts';
import type { Exchange } from '../upstream/exchange.ts';
import type { KeptBody } from '../upstream/kept-body.ts';
import { BodyPace } from './body-pace.ts';
import type { Plan } from './plan.ts';

/** giveUp ends the request. */
type BodyOwner = { giveUp(outcome: Outcome): void };

/** RequestBody is made for requests that have one. */
export class RequestBody {
  receivedBytes = 0;
  /** All of it was handed to the backend's connection, or the rest was given up. */
  done = false;
  /** When it was done; monotonic. null: it is not. */
  doneMs: number | null = null;

  readonly #downstream: Downstream;
  readonly #timer: DeadlineTimer;
  readonly #plan: Plan;
  readonly #owner: BodyOwner;
  readonly #idle = new Deadline(() => this.onSlow());
  /** What was read; null: the request is sent once. */
  readonly #kept: KeptBody | null;
  /** null: there is no lowest rate. */
  readonly #pace: BodyPace | null;
  /** null: no backend takes it now. */
  #exchange: Exchange | null = null;
  #isRead = false;
  #answering = false;
  /** null: it is not gathered, or not any more. */
  #onGathered: (() => void) | null = null;

  constructor(downstream: Downstream, kept: KeptBody | null, plan: Plan, owner: BodyOwner) {
    this.#kept = kept;
    this.#downstream = downstream;
    this.#timer = plan.timer;
    this.#plan = plan;
    this.#owner = owner;
    const { bodyMinRate } = plan.limits;
    this.#pace = bodyMinRate === 0 ? null : new BodyPace(this, bodyMinRate, plan.timer);
  }

  /** The client pauses too long, or is too slow. */
  onSlow(): void {
    this.#owner.giveUp(OUTCOMES.body_timeout);
  }

  /** Whether another attempt could send all of it. */
  get isRepeatable(): boolean {
    return !this.#isRead || this.#kept?.isRepeatable === true;
  }

  /** Whether it is the client's turn: it is read, and the backend takes it. */
  get awaitsClient(): boolean {
    return this.#idle.armed;
  }

  /**
   * gather awaits the body before a backend is looked for: all of it, or KEPT_MAX_BYTES. The rest is read once a backend takes it. Only for
   * a body whose `kept` waits (see backendRequestOf).
   */
  gather(onGathered: () => void): void {
    this.#onGathered = onGathered;
    this.#read();
  }

  #read(): void {
    this.#isRead = true;
    this.#downstream.continueBody();
    this.#armIdle();
    this.#downstream.readBody();
  }

  #endGathering(): void {
    const onGathered = this.#onGathered;
    this.#onGathered = null;
    onGathered?.();
  }

  /** flowTo is called with the exchange of each attempt, and again when it is connected: then it has sent what was read before. */
  flowTo(exchange: Exchange): void {
    if (!exchange.connected) return;
    this.#exchange = exchange;
    if (this.#isRead) this.resume();
    else this.#read();
  }

  /** suspend is called between two attempts: what the client may still send is kept. */
  suspend(): void {
    this.#exchange = null;
    if (!this.#isRead || this.done) return;
    this.#kept?.wait();
    this.#rest();
    this.#downstream.pauseBody();
  }

  /** answered: the answer has begun. The client may pause while the backend goes on (an echo): the answer's deadline watches both. */
  answered(): void {
    this.#answering = true;
    this.#kept?.forget();
    this.#rest();
  }

  #armIdle(): void {
    if (this.#answering) return;
    this.#timer.arm(this.#idle, this.#plan.timeouts.bodyIdleMs);
    this.#pace?.run();
  }

  /** Nothing is awaited of the client. */
  #rest(): void {
    this.#timer.disarm(this.#idle);
    this.#pace?.rest();
  }

  /** take is called with each piece. */
  take(chunk: Buffer): void {
    if (this.done) return;
    this.receivedBytes += chunk.length;
    if (this.receivedBytes > this.#plan.limits.bodyBytes) this.#owner.giveUp(OUTCOMES.body_too_large);
    else if (this.#exchange === null) this.#keep(chunk);
    else if (this.#exchange.writeBody(chunk)) this.#armIdle();
    else {
      // Now the backend is late, not the client. Its connection has a deadline for that.
      this.#rest();
      this.#downstream.pauseBody();
    }
  }

  #keep(chunk: Buffer): void {
    if (this.#kept?.isFull === false) this.#kept.add(chunk);
    else this.#owner.giveUp(OUTCOMES.internal_error);
    if (this.#onGathered === null) return;
    this.#armIdle();
    if (this.#kept?.isGathered !== true) return;
    this.#rest();
    this.#downstream.pauseBody();
    this.#endGathering();
  }

  /** resume is called when the backend takes bytes again. */
  resume(): void {
    if (this.done) return;
    this.#armIdle();
    this.#downstream.resumeBody();
  }

  /** finish hands over the end; the exchange leaves out the trailers that may not pass (RFC 9110 §6.5.1). */
  finish(rawTrailers: string[]): void {
    if (this.done) return;
    this.#close();
    if (this.#exchange === null) this.#kept?.end(rawTrailers);
    else this.#exchange.endBody(rawTrailers);
    this.#endGathering();
  }

  /** stop gives the rest up; it has no effect on a body that is done. */
  stop(): void {
    this.#kept?.forget();
    if (this.done) return;
    this.#close();
    this.#downstream.stopBody();
  }

  #close(): void {
    this.done = true;
    this.doneMs = systemClock.monotonicMs();
    this.#timer.remove(this.#idle);
    this.#pace?.close();
  }
}
