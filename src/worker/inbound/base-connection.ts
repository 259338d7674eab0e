/** What the connections of both engines have in common: a place in the server, one deadline, the watch over writes, lingering. */
import type { Socket } from 'node:net';
import { canonicalAddress, UNIX_PEER } from '../../contract/addresses.ts';
import type { ClientFacts, Downstream } from '../../contract/downstream.ts';
import type { ListenAddress } from '../../contract/settings.ts';
import type { BodyBuffers } from '../../http1/body-buffers.ts';
import { Deadline, type DeadlineTimer } from '../../infra/deadline-timer.ts';
import { NOWHERE, type Placed } from '../../infra/placed-list.ts';
import { WriteWatch, type WriteWatchOptions } from '../../infra/wire/write-watch.ts';
import type { UnparsedRequest } from '../../proxy/handler.ts';
import type { Plan } from '../../proxy/plan.ts';
import type { BaseRequest, RequestOwner } from './base-request.ts';

/** A lingering connection is closed after LINGER_IDLE_MS without bytes, and after LINGER_MAX_MS in any case. */
export const LINGER_MAX_MS = 30_000;
export const LINGER_IDLE_MS = 2_000;

/** ConnectionOwner is what a connection needs of its server; InboundServer implements it. */
export interface ConnectionOwner {
  readonly timer: DeadlineTimer;
  readonly buffers: BodyBuffers;
  /** The plan in force: its limits and timeouts hold for what begins now. */
  readonly plan: Plan;
  readonly draining: boolean;
  /** takeSurplus: whether this connection should end with the answer under way, because other workers have fewer. */
  takeSurplus(): boolean;
  /** admit is called with each new connection before anything else. It may close it. */
  admit(connection: InboundConnection): void;
  serve(downstream: Downstream): void;
  /** onOverload counts a connection that is cut because too much waits in the worker. */
  onOverload(): void;
  /** refusalOf is the whole answer to bytes that are not a request; it counts and logs it. */
  refusalOf(connection: InboundConnection, request: UnparsedRequest): string;
  onConnectionClosed(connection: InboundConnection): void;
}

/** destroyIfGone: the client reset the TCP connection before it was accepted. It has no address, so no limit by address would hold. */
export function destroyIfGone(socket: Socket, kind: ListenAddress['kind']): boolean {
  const isGone = socket.remoteAddress === undefined && kind === 'tcp';
  if (isGone) socket.destroy();
  return isGone;
}

/** InboundConnection is what the server knows of a connection. */
export type InboundConnection = BaseConnection<BaseRequest>;

/** BaseConnection serves one request at a time, `current`. What its deadline means depends on the engine's state. */
export abstract class BaseConnection<R extends BaseRequest> implements Placed, RequestOwner {
  readonly client: ClientFacts;
  /** When it was opened, became idle or began to linger, whichever was last; monotonic. */
  sinceMs: number;
  /** Whether it counts against the cap per address; written by the server. */
  counted = false;
  place = NOWHERE;

  protected readonly owner: ConnectionOwner;
  protected current: R | null = null;
  /** Whether no answer is owed. Half a head (see receiving), or the rest of an unwanted body, may have come. */
  abstract readonly idle: boolean;
  /** Whether bytes have come since it became idle: it may be owed an answer soon. */
  abstract readonly receiving: boolean;
  /** Where the bytes for the client wait. */
  abstract readonly wire: WriteWatchOptions['wire'];

  readonly #deadline = new Deadline(() => this.onDue());
  #writeWatch: WriteWatch | null = null;

  /** @param remoteAddress as the system names it; undefined on a Unix socket */
  constructor(remoteAddress: string | undefined, owner: ConnectionOwner) {
    this.owner = owner;
    this.sinceMs = owner.timer.monotonicMs();
    const address = remoteAddress === undefined ? null : canonicalAddress(remoteAddress);
    this.client = { address: address ?? UNIX_PEER, scheme: 'http', certSubject: null };
  }

  /** destroy closes it, whatever is under way; onConnectionClosed follows. */
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

  /** leave tells the request and the server that the connection has ended. It is called once. */
  protected leave(): void {
    this.owner.timer.remove(this.#deadline);
    this.#writeWatch?.close();
    const { current } = this;
    this.current = null;
    current?.gone();
    this.owner.onConnectionClosed(this);
  }
}
