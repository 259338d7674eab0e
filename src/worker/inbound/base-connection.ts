/** What the connections of both engines have in common: a place in the server, one deadline, the watch over writes, lingering. */
import { canonicalAddress, UNIX_PEER } from '../../contract/addresses.ts';
import { Deadline } from '../../infra/deadline-timer.ts';
import { NOWHERE } from '../../infra/placed-list.ts';
import { WriteWatch, type WriteWatchOptions } from '../../infra/wire/write-watch.ts';
import type { BaseRequest, RequestOwner } from './base-request.ts';
import type { ConnectionOwner, InboundConnection } from './engine.ts';

/** A lingering connection is closed after LINGER_IDLE_MS without bytes, and after LINGER_MAX_MS in any case. */
export const LINGER_MAX_MS = 30_000;
export const LINGER_IDLE_MS = 2_000;
/** The address of a peer that has none. */

/** BaseConnection serves one request at a time, `current`. What its deadline means depends on the engine's state. */
export abstract class BaseConnection<R extends BaseRequest> implements InboundConnection, RequestOwner {
  readonly peerAddress: string;
  sinceMs: number;
  counted = false;
  place = NOWHERE;

  protected readonly owner: ConnectionOwner;
  protected current: R | null = null;
  abstract readonly receiving: boolean;
  abstract readonly idle: boolean;
  /** Where the bytes for the client wait. */
  protected abstract readonly watched: WriteWatchOptions['wire'];

  readonly #deadline = new Deadline(() => this.onDue());
  #writeWatch: WriteWatch | null = null;

  /** @param remoteAddress as the system names it; undefined on a Unix socket */
  constructor(remoteAddress: string | undefined, owner: ConnectionOwner) {
    this.owner = owner;
    this.sinceMs = owner.clock.monotonicMs();
    const address = remoteAddress === undefined ? null : canonicalAddress(remoteAddress);
    this.peerAddress = address ?? UNIX_PEER;
  }

  abstract destroy(): void;
  abstract cut(options: { byReset: boolean }): void;
  abstract onSent(request: BaseRequest): void;
  /** onDue is called when the time that arm() gave is over. */
  protected abstract onDue(): void;

  /** arm sets the one deadline; 0: the next tick. */
  protected arm(delayMs: number): void {
    this.owner.timer.arm(this.#deadline, delayMs);
  }

  protected disarm(): void {
    this.owner.timer.disarm(this.#deadline);
  }

  onBlocked(): void {
    const { timer } = this.owner;
    this.#writeWatch ??= new WriteWatch({
      wire: this.watched,
      timer,
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
    this.sinceMs = this.owner.clock.monotonicMs();
    this.arm(LINGER_IDLE_MS);
  }

  /** Whether a connection that still gets bytes may go on lingering. */
  protected get mayLinger(): boolean {
    const { clock, draining } = this.owner;
    return !draining && clock.monotonicMs() - this.sinceMs <= LINGER_MAX_MS;
  }

  /** leave tells the request and the server that the connection has ended; called once. */
  protected leave(): void {
    this.owner.timer.remove(this.#deadline);
    this.#writeWatch?.close();
    const { current } = this;
    this.current = null;
    current?.gone();
    this.owner.onConnectionClosed(this);
  }
}
