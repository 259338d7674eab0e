/** What the HTTP/1.1 connections of both engines have in common: one request at a time, the watch over writes, lingering. */
import { WriteWatch, type WriteWatchOptions } from '../../../infra/wire/write-watch.ts';
import type { BaseRequest } from '../base-request.ts';
import { LingeringConnection } from '../lingering-connection.ts';
import type { Http1Request, RequestOwner } from './http1-request.ts';

/** Http1Connection serves one request at a time, `current`. */
export abstract class Http1Connection<R extends Http1Request>
  extends LingeringConnection
  implements RequestOwner
{
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
      onSlow: () => this.current?.slow(),
      onStalled: () => this.onStalled(),
    });
    this.#writeWatch.start();
  }

  /** onStalled is called when the client has taken nothing for `timeouts.writeIdle`. */
  protected onStalled(): void {
    this.current?.stalled();
  }

  /** What comes is an upload that nobody wants, or further requests: it must not hold up a drain. */
  protected override lingerOn(): boolean {
    return !this.owner.draining && super.lingerOn();
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
