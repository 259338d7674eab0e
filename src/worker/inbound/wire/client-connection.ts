/**
 * One connection of a client, HTTP/1.1 on a wire, as long as it lives.
 *
 * Requests are read one at a time: while one is served, what comes behind it is kept as bytes, and is not parsed before its
 * turn. So a client cannot occupy many backends with one packet, and keeps no more memory than twice what it sent.
 *
 * HEAD        idle, or a part of a head has come. Out: SERVING, LINGERING (bytes that are no request), DEAD.
 * SERVING     the proxy has the request, its body may still come. Out, with the last byte of the answer: HEAD; DISCARDING,
 *             where the rest of the body is short; LINGERING or DEAD, where the answer was the last one.
 * DISCARDING  the answer has left; the rest of a body that nobody wants is read into nothing. Out: HEAD, LINGERING, DEAD.
 * LINGERING   our FIN is out; what still comes is read into nothing for a while, because closing on unread bytes makes the
 *             kernel send a RST, which can take the answer with it (RFC 9112 §9.6). Out: DEAD.
 * DEAD        the wire is closed. Final.
 *
 * One deadline serves all states; what it means follows from the state.
 */
import type { DownstreamPeer } from '../../../contract/downstream.ts';
import type { RequestHead } from '../../../contract/request-head.ts';
import { PendingBytes } from '../../../http1/pending-bytes.ts';
import { Deadline } from '../../../infra/deadline-wheel.ts';
import { NOWHERE } from '../../../infra/placed-list.ts';
import type { Wire, WireEvents } from '../../../infra/wire/wire.ts';
import type { WriteWatch } from '../../../infra/wire/write-watch.ts';
import {
  type ConnectionOwner,
  type Failure,
  type InboundConnection,
  LINGER_IDLE_MS,
  mayLinger,
  peerOf,
  watchWrites,
} from '../engine.ts';
import { ClientBody } from './client-body.ts';
import { ClientHeads, skipEmptyLines } from './client-heads.ts';
import { ClientRequest, type RequestOwner } from './client-request.ts';

const HEAD = 0;
const SERVING = 1;
const DISCARDING = 2;
const LINGERING = 3;
const DEAD = 4;

/** Bytes that may wait behind the request that is served before the client is no longer read. */
const AHEAD_MAX_BYTES = 32_768;
/** Requests of one connection that may be answered before other connections have their turn. */
const TURN_MAX_REQUESTS = 32;

/** ClientConnection is made by the engine for each accepted socket, which then sets its wire. */
export class ClientConnection implements InboundConnection, RequestOwner, WireEvents {
  readonly peer: DownstreamPeer;
  sinceMs: number;
  counted = false;
  place = NOWHERE;
  wire!: Wire;

  readonly #owner: ConnectionOwner;
  readonly #deadline = new Deadline(() => this.#onDue());
  readonly #heads = new ClientHeads();
  readonly #unread = new PendingBytes();
  #state = HEAD;
  #current: ClientRequest | null = null;
  #body: ClientBody | null = null;
  /** The memory of the read under way or to come. */
  #lent: Buffer;
  #writeWatch: WriteWatch | null = null;
  /** Bytes have come since it became idle, or while it lingers. */
  #received = false;
  /** Bytes that have come behind the head or the piece of a body just read, without empty lines (RFC 9112 §2.2). */
  #restBytes = 0;
  #advancing = false;
  /** Heads looked for since the last read, or since it let others have their turn. */
  #turnRequests = 0;
  /** What is unread goes on in the next turn of the loop. */
  #yielding = false;
  /** A FIN came meanwhile. */
  #endWaits = false;
  /** It has served a request: until then the deadline of the first head runs. */
  #hasServed = false;
  #wirePaused = false;
  #readBytes = 0;
  /** #readBytes when it first answered in a drain: requests that began by then are served, later ones are not. */
  #drainedAtBytes: number | null = null;

  constructor(peerAddress: string | undefined, owner: ConnectionOwner) {
    this.#owner = owner;
    this.#lent = owner.buffers.shared;
    this.sinceMs = owner.clock.monotonicMs();
    this.peer = peerOf(peerAddress);
    // Not from the first byte on: a client has this long from its connection to its first whole head (B13).
    owner.wheel.arm(this.#deadline, owner.plan.timeouts.headersMs);
  }

  get idle(): boolean {
    return this.#state === HEAD || this.#state === DISCARDING;
  }

  get receiving(): boolean {
    return this.#state === HEAD && this.#received;
  }

  destroy(): void {
    // An answer without a length must not look complete.
    this.#current?.abort();
    this.#die();
  }

  nextBuffer(): Buffer {
    this.#lent = this.#body?.readable ?? this.#owner.buffers.shared;
    return this.#lent;
  }

  onRead(byteCount: number): void {
    if (!this.#received) this.#onFirstByte();
    this.#turnRequests = 0;
    this.#readBytes += byteCount;
    const unread = this.#unread;
    const buffer = this.#lent;
    if (unread.length > 0) {
      unread.append(buffer, 0, byteCount);
      this.#advanceUnread();
    } else {
      const at = this.#advance(buffer, 0, byteCount);
      if (at < byteCount && this.#state < LINGERING) unread.append(buffer, at, byteCount);
      this.#pace();
    }
    this.#body?.afterRead(byteCount);
    this.#owner.buffers.afterRead();
  }

  #onFirstByte(): void {
    this.#received = true;
    if (this.#state !== HEAD || !this.#hasServed) return;
    this.#owner.wheel.arm(this.#deadline, this.#owner.plan.timeouts.headersMs);
  }

  #advanceUnread(): void {
    if (this.#advancing) return;
    const unread = this.#unread;
    if (unread.length > 0 && !this.#yielding) {
      const { buffer, from, to } = unread;
      const at = this.#advance(buffer, from, to);
      // It may have died, and dropped everything, meanwhile.
      if (unread.buffer === buffer) unread.consumeTo(at);
    }
    this.#pace();
  }

  /** Goes through bytes from…to-1 as far as the states allow; returns where it stopped. */
  #advance(buffer: Buffer, from: number, to: number): number {
    this.#advancing = true;
    let at = from;
    while (at < to) {
      if (this.#state === HEAD) {
        const start = skipEmptyLines(buffer, at, to);
        if (start !== at) this.#heads.restart();
        at = start;
        if (at === to) break;
        if (++this.#turnRequests > TURN_MAX_REQUESTS) {
          // A heap of requests that are refused at once would hold the event loop.
          this.#yielding = true;
          setImmediate(() => this.#goOn());
          break;
        }
        const end = this.#readHead(buffer, at, to);
        if (end < 0) break;
        at = end;
      } else {
        const next = this.#state === LINGERING || this.#state === DEAD ? to : this.#readBody(buffer, at, to);
        if (next === at) break;
        at = next;
      }
    }
    this.#heads.forget();
    this.#restBytes = this.#state < LINGERING ? to - at : 0;
    this.#advancing = false;
    return at;
  }

  #goOn(): void {
    this.#yielding = false;
    this.#turnRequests = 0;
    if (this.#state === DEAD) return;
    this.#advanceUnread();
    if (!this.#endWaits || this.#yielding) return;
    this.#endWaits = false;
    this.onEnd();
  }

  /** Stops reading a client that is too far ahead, and reads on one that is not. */
  #pace(): void {
    if (this.#state === DEAD) return;
    const isAhead = this.#unread.length >= AHEAD_MAX_BYTES || this.#body?.paused === true;
    const paused = isAhead && (this.#state === SERVING || this.#yielding);
    if (paused === this.#wirePaused) return;
    this.#wirePaused = paused;
    if (!paused) this.wire.resume();
    else {
      this.wire.pause();
      this.#watchForReset();
    }
  }

  /** @returns the index behind a head that was served, or a negative number */
  #readHead(buffer: Buffer, at: number, to: number): number {
    const heads = this.#heads;
    const end = heads.read(buffer, at, to, this.#owner.plan.limits);
    if (end >= 0) {
      this.#restBytes = to - skipEmptyLines(buffer, end, to);
      this.#serve(heads.head);
    } else if (heads.failure !== null) this.#refuse(heads.failure);
    return end;
  }

  #serve(head: RequestHead): void {
    const request = new ClientRequest(head, this);
    this.#current = request;
    this.#state = SERVING;
    if (this.#wirePaused) this.#watchForReset();
    else this.#owner.wheel.disarm(this.#deadline);
    if (head.hasBody || head.hasBadFraming) this.#body ??= new ClientBody(this.#owner.buffers);
    this.#body?.begin(head);
    this.#owner.serve(request);
  }

  /** Bytes that are no request: the answer is ours, and the last one. */
  #refuse(failure: Failure): void {
    this.wire.writeText(this.#owner.refusalOf(this, failure));
    this.#linger();
  }

  readBody(): void {
    if (this.#body?.ask()) this.#advanceUnread();
  }

  pauseBody(): void {
    if (this.#body?.pause() && !this.#advancing) this.#pace();
  }

  resumeBody(): void {
    if (this.#body?.resume()) this.#advanceUnread();
  }

  dropBody(): void {
    // A client that sends on before it looks for an answer must not get stuck.
    if (this.#body?.drop()) this.#advanceUnread();
  }

  /** Passes on or drops what there is of the body; returns `at` where nothing of it may be touched now. */
  #readBody(buffer: Buffer, at: number, to: number): number {
    const body = this.#body;
    // Empty lines behind the request go as they come: to look at them again with each read would be quadratic.
    if (body === null || body.complete) return skipEmptyLines(buffer, at, to);
    const next = body.read(buffer, at, to);
    this.#restBytes = to - (next === at ? at : skipEmptyLines(buffer, next, to));
    if (next !== at) body.deliver(buffer, this.#current);
    if (this.#state === DISCARDING) {
      if (body.complete) this.#becomeIdle();
      else if (body.isOverlong) this.#linger();
    }
    return next;
  }

  mustClose(): boolean {
    const body = this.#body;
    if (body !== null && !body.complete && (!body.isRestShort || this.#owner.draining)) return true;
    if (!this.#owner.draining) return this.#restBytes === 0 && this.#owner.takeSurplus();
    // A client that always pipelines must not hold up the drain.
    this.#drainedAtBytes ??= this.#readBytes;
    return this.#readBytes - this.#restBytes >= this.#drainedAtBytes;
  }

  onBlocked(): void {
    this.#writeWatch ??= watchWrites(this.#owner, this.wire, () =>
      this.#current === null ? this.#die() : this.#current.stalled(),
    );
    this.#writeWatch.blocked();
  }

  onDrain(): void {
    this.#current?.drained();
  }

  onSent(request: ClientRequest): void {
    if (this.#current !== request || this.#state === DEAD) return;
    this.#current = null;
    const mayGoOn = !request.closing;
    if (this.#body?.complete === false) {
      if (mayGoOn) this.#discard();
      else this.#linger();
    } else if (mayGoOn) this.#becomeIdle();
    else if (this.#restBytes > 0) this.#linger();
    else this.#die();
    this.#advanceUnread();
  }

  #becomeIdle(): void {
    this.#state = HEAD;
    this.#hasServed = true;
    this.sinceMs = this.#owner.clock.monotonicMs();
    // Behind a FIN nothing comes.
    if (!this.wire.readable && !this.#endWaits) {
      this.#die();
      return;
    }
    const { wheel, plan } = this.#owner;
    const isPipelined = this.#restBytes > 0;
    this.#received = isPipelined;
    const { headersMs, keepAliveMs } = plan.timeouts;
    wheel.arm(this.#deadline, isPipelined ? headersMs : keepAliveMs);
  }

  #discard(): void {
    this.#state = DISCARDING;
    this.sinceMs = this.#owner.clock.monotonicMs();
    this.#body?.drop();
    this.#owner.wheel.arm(this.#deadline, this.#owner.plan.timeouts.headersMs);
  }

  #linger(): void {
    this.#state = LINGERING;
    this.#unread.clear();
    this.#restBytes = 0;
    this.#received = false;
    this.sinceMs = this.#owner.clock.monotonicMs();
    this.wire.end();
    if (this.wire.readable || this.wire.blocked) this.#owner.wheel.arm(this.#deadline, LINGER_IDLE_MS);
    else this.#die();
  }

  #onDue(): void {
    switch (this.#state) {
      case HEAD:
        // Connections opened in advance and never used are closed without a word; empty lines begin no head.
        if (this.#unread.length > 0) this.#refuse({ status: 408, method: null });
        else this.#die();
        break;
      case SERVING:
        this.#probe();
        break;
      case LINGERING:
        this.#lingerOn();
        break;
      default:
        this.#die();
    }
  }

  #lingerOn(): void {
    if (this.#received && mayLinger(this.#owner, this.sinceMs)) {
      this.#received = false;
      this.#owner.wheel.arm(this.#deadline, LINGER_IDLE_MS);
    } else this.#die();
  }

  /**
   * A wire that is not read says nothing of a reset, which shall end the request at once (B28): it is probed with each tick
   * of the wheel.
   */
  #watchForReset(): void {
    if (this.#state === SERVING) this.#owner.wheel.arm(this.#deadline, 0);
  }

  #probe(): void {
    if (!this.#wirePaused) return;
    // What waits to leave tells by itself.
    if (!this.wire.blocked) this.wire.probe();
    this.#watchForReset();
  }

  /**
   * A FIN ends the connection: while an answer is awaited it is a client abort, as a reset is. In the middle of a head it is
   * answered 400; behind an answer that is on its way that answer still leaves.
   */
  onEnd(): void {
    if (this.#yielding) this.#endWaits = true;
    else if (this.#state === HEAD && this.#unread.length > 0) this.#refuse({ status: 400, method: null });
    else if (this.#state !== SERVING || this.#current?.ended !== true) this.#die();
  }

  onWriteError(): void {
    this.#die();
  }

  onBroken(): void {
    this.#die();
  }

  cut({ byReset }: { byReset: boolean }): void {
    if (byReset) this.wire.reset();
    this.#die();
  }

  #die(): void {
    if (this.#state === DEAD) return;
    this.#state = DEAD;
    this.wire.close();
    this.#owner.wheel.forget(this.#deadline);
    this.#writeWatch?.forget();
    this.#unread.clear();
    const current = this.#current;
    this.#current = null;
    // In this order: the connection to the backend must be closed before the memory that it writes from is used again.
    current?.gone();
    this.#body?.close();
    this.#owner.onConnectionClosed(this);
  }
}
