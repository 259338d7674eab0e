/** What the HTTP/1.1 connections of both engines have in common: one request at a time, the watch over writes, lingering. */
import { WriteWatch, type WriteWatchOptions } from '../../../infra/wire/write-watch.ts';
import { BaseConnection } from '../base-connection.ts';
import type { BaseRequest } from '../base-request.ts';
import type { Http1Request, RequestOwner } from './http1-request.ts';

/** A lingering connection is closed after LINGER_IDLE_MS without bytes, and after LINGER_MAX_MS in any case. */
export const LINGER_MAX_MS = 30_000;
export const LINGER_IDLE_MS = 2_000;

/** Http1Connection serves one request at a time, `current`. */
export abstract class Http1Connection<R extends Http1Request> extends BaseConnection implements RequestOwner {
  readonly protocol = 'http1';
  protected current: R | null = null;
  /** Where the bytes for the client wait. */
  abstract readonly wire: WriteWatchOptions['wire'];
  #writeWatch: WriteWatch | null = null;

  abstract cut(options: { byReset: boolean }): void;
  abstract onSent(request: BaseRequest): void;

  onBlocked(): void {
    this.#writeWatch ??= new WriteWatch({
      wire: this.wire,
      timer: this.owner.timer,
      idleMs: () => this.owner.plan.timeouts.writeIdleMs,
      onStalled: () => this.onStalled(),
    });
    this.#writeWatch.start();
  }

  /** onStalled is called when the client has taken nothing for `timeouts.writeIdle`. */
  protected onStalled(): void {
    this.current?.stalled();
  }

  protected beginLingering(): void {
    this.sinceMs = this.owner.timer.monotonicMs();
    this.arm(LINGER_IDLE_MS);
  }

  /** Whether a connection that still gets bytes may go on lingering. */
  protected get mayLinger(): boolean {
    const { timer, draining } = this.owner;
    return !draining && timer.monotonicMs() - this.sinceMs <= LINGER_MAX_MS;
  }

  /** stopWatching is called when somebody else begins to write. */
  protected stopWatching(): void {
    this.#writeWatch?.close();
  }

  /** leave tells the request, too. */
  protected override leave(): void {
    this.stopWatching();
    this.forgetDeadline();
    const { current } = this;
    this.current = null;
    current?.gone();
    super.leave();
  }
}
