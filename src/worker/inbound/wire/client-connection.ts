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
import { BodyReader } from '../../../http1/body-reader.ts';
import { HEAD_INCOMPLETE, HEAD_MALFORMED } from '../../../http1/field-reader.ts';
import { BODY_CHUNKED, BODY_LENGTH } from '../../../http1/framing.ts';
import { CR, hasBrokenLine, LF } from '../../../http1/head-bytes.ts';
import { RequestHeadReader } from '../../../http1/request-head.ts';
import { Deadline } from '../../../infra/deadline-wheel.ts';
import { NOWHERE } from '../../../infra/placed-list.ts';
import type { Wire, WireEvents } from '../../../infra/wire/wire.ts';
import { WriteWatch } from '../../../infra/wire/write-watch.ts';
import {
  type ConnectionOwner,
  type Failure,
  type InboundConnection,
  LINGER_IDLE_MS,
  LINGER_MAX_MS,
  peerOf,
} from '../engine.ts';
import { BodyMemory } from './body-memory.ts';
import { ClientRequest, type RequestOwner } from './client-request.ts';
import { UnreadBytes } from './unread-bytes.ts';

const HEAD = 0;
const SERVING = 1;
const DISCARDING = 2;
const LINGERING = 3;
const DEAD = 4;

/** What is to become of the body of the request that is served. */
const NO_BODY_LEFT = 0;
/** Nobody has asked for it: it waits with the unread bytes. */
const UNASKED = 1;
const FLOWING = 2;
/** What was handed out last is in use. */
const PAUSED = 3;
/** Nobody wants the rest. */
const UNWANTED = 4;

/** Bytes that may wait behind the request that is served before the client is no longer read. */
const AHEAD_MAX_BYTES = 32_768;
/** The rest of an unwanted body that is read so that the connection can stay: one that is longer costs more than a new one. */
const DISCARD_MAX_BYTES = 65_536;
/** Room for the request line beside targetBytes (contract §8). */
const HEAD_MARGIN_BYTES = 1024;
const CRLF_BYTES = 2;

export class ClientConnection implements InboundConnection, RequestOwner, WireEvents {
  readonly peer: DownstreamPeer;
  sinceMs: number;
  counted = false;
  place = NOWHERE;
  wire!: Wire;

  readonly #owner: ConnectionOwner;
  readonly #deadline = new Deadline(() => this.#onDue());
  readonly #parser = new RequestHeadReader();
  readonly #unread = new UnreadBytes();
  #state = HEAD;
  #current: ClientRequest | null = null;
  /** Of the current request; made with the first body. */
  #body: BodyReader | null = null;
  #bodyMemory: BodyMemory | null = null;
  #bodyState = NO_BODY_LEFT;
  #unwantedBytes = 0;
  /** The end of the current request cannot be found. */
  #endless = false;
  /** The memory of the read under way or to come. */
  #lent: Buffer;
  #writeWatch: WriteWatch | null = null;
  /** Bytes have come since it became idle, or while it lingers. */
  #received = false;
  /** Of the unread bytes, those that are known to be a sound beginning of a head. */
  #scannedBytes = 0;
  /** Bytes that have come and wait for their turn. */
  #restBytes = 0;
  #advancing = false;
  /** It has served a request: until then the deadline of the first head runs. */
  #idled = false;
  #wirePaused = false;

  constructor(peerAddress: string | undefined, owner: ConnectionOwner) {
    this.#owner = owner;
    this.#lent = owner.buffers.shared;
    this.sinceMs = owner.clock.monotonicMs();
    this.peer = peerOf(peerAddress);
    // Not from the first byte on: a client has this long from its connection to its first whole head (B13).
    owner.wheel.arm(this.#deadline, owner.plan.timeouts.headersMs);
  }

  get idle(): boolean {
    return this.#state === HEAD;
  }

  get receiving(): boolean {
    return this.#received;
  }

  destroy(): void {
    this.#die();
  }

  // Reading.

  nextBuffer(): Buffer {
    const own = this.#bodyState === FLOWING ? (this.#bodyMemory?.readable ?? null) : null;
    this.#lent = own ?? this.#owner.buffers.shared;
    return this.#lent;
  }

  onRead(byteCount: number): void {
    if (!this.#received) this.#onFirstByte();
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
    this.#bodyMemory?.afterRead(byteCount, this.#bodyState === FLOWING ? remainingOf(this.#body) : 0);
    this.#owner.buffers.afterRead();
  }

  #onFirstByte(): void {
    this.#received = true;
    if (this.#state !== HEAD || !this.#idled) return;
    this.#owner.wheel.arm(this.#deadline, this.#owner.plan.timeouts.headersMs);
  }

  #advanceUnread(): void {
    if (this.#advancing) return;
    const unread = this.#unread;
    if (unread.length > 0) {
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
    let loaded = false;
    while (at < to) {
      if (this.#state === HEAD) {
        const start = skipEmptyLines(buffer, at, to);
        if (start !== at) this.#scannedBytes = 0;
        at = start;
        if (at === to || !this.#mayHoldHead(buffer, at, to)) break;
        if (!loaded) this.#parser.load(buffer, at, to);
        loaded = true;
        const end = this.#readHead(buffer, at, to);
        if (end < 0) break;
        at = end;
      } else {
        const next = this.#state === LINGERING || this.#state === DEAD ? to : this.#readBody(buffer, at, to);
        if (next === at) break;
        at = next;
      }
    }
    if (loaded) this.#parser.unload();
    this.#restBytes = this.#state < LINGERING ? to - at : 0;
    this.#advancing = false;
    return at;
  }

  /** Stops reading a client that is too far ahead, and reads on one that is not. */
  #pace(): void {
    if (this.#state === DEAD) return;
    const isAhead = this.#state === SERVING && this.#unread.length >= AHEAD_MAX_BYTES;
    const paused = isAhead || this.#bodyState === PAUSED;
    if (paused === this.#wirePaused) return;
    this.#wirePaused = paused;
    if (!paused) this.wire.resume();
    else {
      this.wire.pause();
      this.#watchForReset();
    }
  }

  // Heads.

  get #headMaxBytes(): number {
    const { headerBytes, targetBytes } = this.#owner.plan.limits;
    return headerBytes + targetBytes + HEAD_MARGIN_BYTES;
  }

  /** Whether what came since the last look can have completed a line; a head in single bytes shall not be read for each. */
  #mayHoldHead(buffer: Buffer, at: number, to: number): boolean {
    if (this.#scannedBytes === 0) return true;
    const lf = buffer.indexOf(LF, at + this.#scannedBytes);
    if (lf >= 0 && lf < to) return true;
    this.#keepHead(buffer, at, to);
    return false;
  }

  /** @returns the index behind a head that was served, or a negative number */
  #readHead(buffer: Buffer, at: number, to: number): number {
    const end = this.#parser.read(at, this.#headMaxBytes);
    if (end === HEAD_INCOMPLETE) this.#keepHead(buffer, at, to);
    else if (end === HEAD_MALFORMED) {
      const method = this.#parser.head.method || null;
      this.#refuse({ status: this.#parser.problemStatus, method });
    } else {
      this.#scannedBytes = 0;
      this.#restBytes = to - end;
      this.#serve(this.#parser.head);
    }
    return end;
  }

  /** A head whose rest is still to come. */
  #keepHead(buffer: Buffer, at: number, to: number): void {
    if (hasBrokenLine(buffer, at, at + this.#scannedBytes, to)) {
      this.#refuse({ status: 400, method: null });
      return;
    }
    this.#scannedBytes = to - at;
    const { headerBytes, targetBytes } = this.#owner.plan.limits;
    const lf = buffer.indexOf(LF, at);
    const hasRequestLine = lf >= 0 && lf < Math.min(to, at + targetBytes + HEAD_MARGIN_BYTES);
    if (hasRequestLine) {
      if (to - lf - 1 > headerBytes + CRLF_BYTES) this.#refuse({ status: 431, method: null });
    } else if (to - at > targetBytes + HEAD_MARGIN_BYTES) this.#refuse({ status: 414, method: null });
  }

  #serve(head: RequestHead): void {
    const request = new ClientRequest(head, this);
    this.#current = request;
    this.#state = SERVING;
    this.#owner.wheel.disarm(this.#deadline);
    this.#endless = head.hasBadFraming;
    if (this.#endless) this.#bodyState = UNWANTED;
    else if (head.hasBody) {
      this.#body ??= new BodyReader({ refusesFramingTrailers: true });
      this.#body.start(head.bodyLength < 0 ? BODY_CHUNKED : BODY_LENGTH, head.bodyLength);
      this.#bodyState = UNASKED;
    } else this.#bodyState = NO_BODY_LEFT;
    this.#unwantedBytes = 0;
    this.#owner.serve(request);
  }

  /** Bytes that are no request: the answer is ours, and the last one. */
  #refuse(failure: Failure): void {
    this.wire.writeText(this.#owner.refusalOf(this, failure));
    this.#linger();
  }

  // Bodies.

  readBody(): void {
    if (this.#bodyState !== UNASKED) return;
    this.#bodyState = FLOWING;
    this.#advanceUnread();
  }

  pauseBody(): void {
    if (this.#bodyState !== FLOWING) return;
    this.#bodyState = PAUSED;
    this.#bodyMemory?.hold();
    if (!this.#advancing) this.#pace();
  }

  resumeBody(): void {
    if (this.#bodyState !== PAUSED) return;
    this.#bodyState = FLOWING;
    this.#bodyMemory?.release();
    this.#advanceUnread();
  }

  dropBody(): void {
    if (this.#bodyState === NO_BODY_LEFT || this.#bodyState === UNWANTED) return;
    this.#bodyState = UNWANTED;
    this.#bodyMemory?.drop();
    // A client that sends on before it looks for an answer must not get stuck.
    this.#advanceUnread();
  }

  /** Passes on or drops what there is of the body; returns `at` where nothing of it may be touched now. */
  #readBody(buffer: Buffer, at: number, to: number): number {
    const body = this.#body;
    const isUnwanted = this.#bodyState === UNWANTED;
    if (!isUnwanted && this.#bodyState !== FLOWING) return at;
    // Nobody knows what is body and what is not: all of it is.
    if (body === null || this.#endless) return to;
    body.read(buffer, at, to);
    if (body.problem !== '') {
      this.#onBodyBroken(body.problemStatus);
      return to;
    }
    this.#restBytes = to - body.at;
    if (isUnwanted) this.#drop(body);
    else this.#passOn(body, buffer);
    return body.at;
  }

  #passOn(body: BodyReader, buffer: Buffer): void {
    const request = this.#current;
    const { payloadFrom, payloadTo, complete } = body;
    if (payloadTo > payloadFrom) {
      const memory = (this.#bodyMemory ??= new BodyMemory(this.#owner.buffers));
      request?.onBody(memory.pieceOf(buffer, payloadFrom, payloadTo));
    }
    if (!complete || this.#current !== request) return;
    // The end belongs to the last piece, also where that is still in use.
    if (this.#bodyState === PAUSED) this.#bodyMemory?.drop();
    const isWanted = this.#bodyState !== UNWANTED;
    this.#bodyState = NO_BODY_LEFT;
    if (isWanted) request?.onBodyEnd(body.trailers);
  }

  #drop(body: BodyReader): void {
    this.#unwantedBytes += body.payloadTo - body.payloadFrom;
    if (body.complete) {
      this.#bodyState = NO_BODY_LEFT;
      if (this.#state === DISCARDING) this.#becomeIdle();
    } else if (this.#state === DISCARDING && this.#unwantedBytes > DISCARD_MAX_BYTES) this.#linger();
  }

  /** What follows the head cannot be read: no further request can be found. */
  #onBodyBroken(status: number): void {
    const wasUnwanted = this.#bodyState === UNWANTED;
    this.#bodyState = UNWANTED;
    this.#endless = true;
    if (this.#state === DISCARDING) this.#linger();
    else if (!wasUnwanted) this.#current?.bodyInvalid(status);
  }

  // Answers.

  mustClose(): boolean {
    if (this.#bodyState !== NO_BODY_LEFT && !this.#isRestShort()) return true;
    if (this.#restBytes > 0) return false;
    return this.#owner.draining || this.#owner.takeSurplus();
  }

  /** Whether the rest of the body would be read so that the connection can stay. */
  #isRestShort(): boolean {
    const body = this.#body;
    if (body === null || this.#endless) return false;
    return body.kind === BODY_LENGTH
      ? body.remainingBytes <= DISCARD_MAX_BYTES
      : this.#unwantedBytes <= DISCARD_MAX_BYTES;
  }

  onBlocked(): void {
    this.#writeWatch ??= new WriteWatch({
      wire: this.wire,
      wheel: this.#owner.wheel,
      idleMs: () => this.#owner.plan.timeouts.writeIdleMs,
      onStalled: () => this.#onStalled(),
    });
    this.#writeWatch.blocked();
  }

  #onStalled(): void {
    if (this.#current === null) this.#die();
    else this.#current.stalled();
  }

  onDrain(): void {
    this.#current?.drained();
  }

  onSent(request: ClientRequest): void {
    if (this.#current !== request || this.#state === DEAD) return;
    this.#current = null;
    if (request.closing) this.#closeAfterAnswer();
    else if (this.#bodyState === NO_BODY_LEFT) this.#becomeIdle();
    else this.#discard();
    this.#advanceUnread();
  }

  #becomeIdle(): void {
    this.#state = HEAD;
    this.#idled = true;
    this.sinceMs = this.#owner.clock.monotonicMs();
    const isPipelined = this.#restBytes > 0;
    const { wheel, plan, draining } = this.#owner;
    // Behind a FIN nothing comes; a client in a burst has its next request on the way already.
    if (!this.wire.readable || (draining && !isPipelined)) {
      this.#die();
      return;
    }
    this.#received = isPipelined;
    const { headersMs, keepAliveMs } = plan.timeouts;
    wheel.arm(this.#deadline, isPipelined ? headersMs : keepAliveMs);
  }

  #discard(): void {
    this.#state = DISCARDING;
    this.#bodyState = UNWANTED;
    this.#owner.wheel.arm(this.#deadline, this.#owner.plan.timeouts.headersMs);
  }

  /** The answer is out, and the client was told that it is the last one. */
  #closeAfterAnswer(): void {
    if (this.#bodyState !== NO_BODY_LEFT || this.#restBytes > 0) this.#linger();
    else this.#die();
  }

  // Ends.

  #linger(): void {
    this.#state = LINGERING;
    this.#unread.clear();
    this.#restBytes = 0;
    this.#received = false;
    this.sinceMs = this.#owner.clock.monotonicMs();
    this.wire.end();
    if (!this.wire.readable && !this.wire.blocked) {
      this.#die();
      return;
    }
    if (this.#wirePaused) this.wire.resume();
    this.#wirePaused = false;
    this.#owner.wheel.arm(this.#deadline, LINGER_IDLE_MS);
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
    const lingeredMs = this.#owner.clock.monotonicMs() - this.sinceMs;
    if (!this.#received || this.#owner.draining || lingeredMs > LINGER_MAX_MS) {
      this.#die();
      return;
    }
    this.#received = false;
    this.#owner.wheel.arm(this.#deadline, LINGER_IDLE_MS);
  }

  /**
   * A wire that is not read says nothing of a reset, which shall end the request at once (B28): it is probed with the coming
   * tick of the wheel, which adds one to what it is asked for.
   */
  #watchForReset(): void {
    const { wheel } = this.#owner;
    if (this.#state === SERVING) wheel.arm(this.#deadline, -wheel.tickMs);
  }

  #probe(): void {
    if (!this.#wirePaused) return;
    // What waits to leave tells by itself.
    if (!this.wire.blocked) this.wire.probe();
    this.#watchForReset();
  }

  /** A FIN while an answer is awaited is a client abort (contract §8). */
  onEnd(): void {
    if (this.#state === HEAD && this.#unread.length > 0) this.#refuse({ status: 400, method: null });
    else if (this.#state !== SERVING || this.#current?.ended !== true) this.#die();
  }

  onWriteError(): void {
    this.#die();
  }

  onBroken(): void {
    this.#die();
  }

  cut({ visibly }: { visibly: boolean }): void {
    if (visibly) this.wire.reset();
    this.#die();
  }

  #die(): void {
    if (this.#state === DEAD) return;
    this.#state = DEAD;
    this.wire.close();
    this.#owner.wheel.forget(this.#deadline);
    this.#writeWatch?.forget();
    this.#bodyMemory?.drop();
    this.#unread.clear();
    const current = this.#current;
    this.#current = null;
    current?.gone();
    this.#owner.onConnectionClosed(this);
  }
}

/** RFC 9112 §2.2: empty lines before a request are ignored, ended by CRLF or by LF alone. */
function skipEmptyLines(buffer: Buffer, from: number, to: number): number {
  let at = from;
  for (;;) {
    if (at < to && buffer[at] === LF) at += 1;
    else if (at + 1 < to && buffer[at] === CR && buffer[at + 1] === LF) at += 2;
    else return at;
  }
}

function remainingOf(body: BodyReader | null): number {
  if (body === null) return 0;
  return body.kind === BODY_LENGTH ? body.remainingBytes : Number.POSITIVE_INFINITY;
}
