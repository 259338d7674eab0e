/**
 * One connection of a client, HTTP/1.1 on a wire.
 *
 * Requests are read one at a time. While one is served the bytes after it are kept unparsed: one packet cannot occupy many
 * backends, and what waits of a client takes memory in proportion to its bytes (PendingBytes).
 *
 * State       entered by    what it means
 * HEAD        #becomeIdle   no request; a part of a head may have come.
 * SERVING     #serve        the proxy has the request; its body may still come.
 * DISCARDING  #discard      the answer has left; the short rest of an unwanted body is discarded.
 * LINGERING   #linger       our FIN is out; what still comes is discarded for a while. To close on unread bytes would
 *                           make the kernel send a RST, which can take the answer with it (RFC 9112 §9.6).
 * TUNNEL      switchTo      the wire belongs to a tunnel, which ends this state (onTunnelOver).
 * DEAD        #die          the wire is closed. Final.
 *
 * From HEAD: SERVING with a head, LINGERING with bytes that can be none. From SERVING: TUNNEL with a 101; or, when the answer has
 * left, HEAD, DISCARDING, LINGERING or DEAD (onSent). From DISCARDING: HEAD at the end of the body, LINGERING where it is
 * too long. Any state ends in DEAD when the client is gone or its time is over. One deadline serves all states (onDue).
 */
import type { SwitchedClient, TunnelEnd } from '../../../contract/downstream.ts';
import type { RequestHead } from '../../../contract/request-head.ts';
import { CR, LF } from '../../../http1/head-bytes.ts';
import { HEAD_MALFORMED } from '../../../http1/head-reader.ts';
import type { UnparsedRequest } from '../../../proxy/handler.ts';
import { ClientBody } from './client-body.ts';
import { ClientInput } from './client-input.ts';
import { ClientRequest, type WireRequestOwner } from './client-request.ts';

const HEAD = 0;
const SERVING = 1;
const DISCARDING = 2;
const LINGERING = 3;
const TUNNEL = 4;
const DEAD = 5;

/** ClientConnection is made by the engine for each accepted socket. */
export class ClientConnection extends ClientInput implements WireRequestOwner, SwitchedClient {
  #state = HEAD;
  #hasServed = false;
  /** readBytes at the first answer in a drain: requests that began later are not served. */
  #drainedAtBytes: number | null = null;
  #tunnel: TunnelEnd | null = null;

  get idle(): boolean {
    return this.#state === HEAD || this.#state === DISCARDING;
  }

  get receiving(): boolean {
    return this.#state === HEAD && this.received;
  }

  // Called by the input.

  protected override onFirstByte(): void {
    if (this.#state === HEAD && this.#hasServed) this.arm(this.owner.plan.timeouts.headersMs);
  }

  protected override step(buffer: Buffer, at: number, to: number): number {
    switch (this.#state) {
      case HEAD: {
        const start = skipEmptyLines(buffer, at, to);
        if (start !== at) this.heads.restart();
        return start === at ? this.#readHead(buffer, at, to) : start;
      }
      case SERVING:
      case DISCARDING:
        return this.#readBody(buffer, at, to);
      default:
        return to;
    }
  }

  #readHead(buffer: Buffer, at: number, to: number): number {
    // Many pipelined requests that are answered at once would hold the event loop.
    if (!this.takeTurn()) return at;
    const heads = this.heads;
    const end = heads.read(buffer, at, to, this.owner.plan.limits);
    if (end === HEAD_MALFORMED) {
      const method = heads.head.method === 'CONNECT' ? heads.head.method : null;
      this.#refuse({ status: heads.problemStatus, method });
      return to;
    }
    if (end >= 0) {
      this.restBytes = to - skipEmptyLines(buffer, end, to);
      this.#serve(heads.head);
    }
    return end;
  }

  #readBody(buffer: Buffer, at: number, to: number): number {
    const body = this.body;
    // After an upgrade they may be the other protocol's. A request with a body never switches.
    const head = this.current?.head;
    if (head !== undefined && head.upgrade !== '' && !head.hasBody) return at;
    // Empty lines after a request are dropped as they come: to look at them again with each read would be quadratic.
    if (body === null || body.complete) return skipEmptyLines(buffer, at, to);
    const next = body.read(buffer, at, to);
    this.restBytes = to - (next === at ? at : skipEmptyLines(buffer, next, to));
    if (next !== at) body.deliver(buffer, this.current);
    if (this.#state === DISCARDING) {
      if (body.complete) this.#becomeIdle();
      else if (body.isOverlong) this.#linger();
    }
    return next;
  }

  // Called by the request.

  mustClose(): boolean {
    const body = this.body;
    if (body !== null && !body.complete && (!body.isRestShort || this.owner.draining)) return true;
    if (!this.owner.draining) return this.restBytes === 0 && this.owner.endsWithAnswer(this);
    // A client that always pipelines must not hold up the drain.
    this.#drainedAtBytes ??= this.readBytes;
    return this.readBytes - this.restBytes >= this.#drainedAtBytes;
  }

  // Transitions.

  #serve(head: RequestHead): void {
    const request = new ClientRequest(head, this);
    this.current = request;
    this.#state = SERVING;
    this.disarm();
    this.watchForEnd();
    if (head.hasBody || head.hasBadFraming) this.body ??= new ClientBody(this.owner.buffers, this);
    this.body?.begin(head);
    this.owner.serve(request);
  }

  onSent(request: ClientRequest): void {
    if (this.current !== request || this.#state === DEAD) return;
    this.current = null;
    const mayGoOn = !request.closing;
    if (this.body?.complete === false) {
      if (mayGoOn) this.#discard();
      else this.#linger();
    } else if (mayGoOn) this.#becomeIdle();
    else if (this.restBytes > 0) this.#linger();
    else this.#die();
    this.advancePending();
  }

  /** begin serves a request that node:http has read, which must be the last one here. @param early what came behind its head */
  begin(head: RequestHead, early: Buffer): void {
    if (early.length > 0) this.pending.append(early, 0, early.length);
    this.restBytes = early.length;
    this.#serve(head);
  }

  switchTo(tunnel: TunnelEnd): SwitchedClient {
    this.#state = TUNNEL;
    this.#tunnel = tunnel;
    this.current = null;
    this.forgetDeadline();
    this.stopWatching();
    this.wire.handTo(tunnel.events);
    return this;
  }

  takeEarly(): Buffer {
    const { buffer, from, to } = this.pending;
    const early = buffer.subarray(from, to);
    this.pending.clear();
    return early;
  }

  onTunnelOver(): void {
    this.#tunnel = null;
    this.#die();
  }

  #becomeIdle(): void {
    this.#state = HEAD;
    this.#hasServed = true;
    this.sinceMs = this.owner.timer.monotonicMs();
    // After a FIN nothing comes.
    if (!this.wire.readable && !this.endWaits) {
      this.#die();
      return;
    }
    this.received = this.restBytes > 0;
    const { headersMs, keepAliveMs } = this.owner.plan.timeouts;
    this.arm(this.received ? headersMs : keepAliveMs);
  }

  #discard(): void {
    this.#state = DISCARDING;
    this.sinceMs = this.owner.timer.monotonicMs();
    this.body?.drop();
    this.arm(this.owner.plan.timeouts.headersMs);
  }

  /** Answers bytes that are not a request, and ends the connection. */
  #refuse(unparsed: UnparsedRequest): void {
    this.wire.writeText(this.owner.refusalOf(this, unparsed));
    this.#linger();
  }

  #linger(): void {
    this.#state = LINGERING;
    this.pending.clear();
    this.restBytes = 0;
    this.wire.end();
    if (this.wire.readable || this.wire.blocked) this.beginLingering();
    else this.#die();
  }

  #die(): void {
    if (this.#state === DEAD) return;
    this.#state = DEAD;
    this.wire.close();
    this.pending.clear();
    // The request first: it closes the connection to the backend, which may still write from the memory of the body.
    this.leave();
    this.body?.close();
  }

  // Times and ends.

  protected override onDue(): void {
    switch (this.#state) {
      case HEAD:
        // A connection that was opened in advance and never used gets no answer. Empty lines begin no head.
        if (this.pending.length > 0) this.#refuse({ status: 408, method: null });
        else this.#die();
        break;
      case SERVING:
        this.lookForEnd();
        break;
      case LINGERING:
        if (!this.lingerOn()) this.#die();
        break;
      default:
        this.#die();
    }
  }

  protected override onStalled(): void {
    if (this.current === null) this.#die();
    else this.current.stalled();
  }

  onDrain(): void {
    this.current?.drained();
  }

  /**
   * A FIN ends the connection. It aborts a request like a reset, but an answer that is on its way still leaves; half a head
   * gets 400.
   */
  protected override onInputEnd(): void {
    if (this.#state === HEAD && this.pending.length > 0) this.#refuse({ status: 400, method: null });
    else if (this.#state !== SERVING || this.current?.ended !== true) this.#die();
  }

  onBroken(): void {
    this.#die();
  }

  destroy(): void {
    if (this.#tunnel !== null) {
      this.#tunnel.cut();
      return;
    }
    // An answer without a length must not look complete.
    this.current?.abort();
    this.#die();
  }

  cut({ byReset }: { byReset: boolean }): void {
    if (byReset) this.wire.reset();
    this.#die();
  }
}

/** The index after empty lines, ended by CRLF or LF: they are ignored before a request (RFC 9112 §2.2). */
function skipEmptyLines(buffer: Buffer, from: number, to: number): number {
  let at = from;
  for (;;) {
    if (at < to && buffer[at] === LF) at += 1;
    else if (at + 1 < to && buffer[at] === CR && buffer[at + 1] === LF) at += 2;
    else return at;
  }
}
