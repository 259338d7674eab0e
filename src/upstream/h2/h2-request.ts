/**
 * One request on a connection that speaks HTTP/2.
 *
 * State      entered by   what it means
 * WAITING    (start)      no connection has a free stream yet; the pool holds it.
 * AWAITING   open         a stream is open; the final head of the answer has not come.
 * STREAMING  onFields     the sink has the head; the body follows.
 * OVER       #leave       the exchange has ended. The stream may take a moment longer to close. Final.
 *
 * A request that the backend has not processed goes from AWAITING back to WAITING, with what was sent of a small body. After GOAWAY it
 * waits for another connection, once, and the sink does not notice. Else (REFUSED_STREAM) it ends, and may go to another backend.
 * There is at most one wait at a time, so one deadline serves all states (#onDue).
 */
import { LbError } from '../../contract/errors.ts';
import { hasBody } from '../../contract/request-head.ts';
import { PendingBytes } from '../../http1/pending-bytes.ts';
import { Deadline } from '../../infra/deadline-timer.ts';
import type { ConnectionSettings } from '../connection-settings.ts';
import {
  Exchange,
  type ExchangeOwner,
  INTERIM_MAX_COUNT,
  type ResponseHead,
  type ResponseSink,
  type UpstreamRequest,
} from '../exchange.ts';
import { bodyFailure, invalidResponse, noHead, silence, unreadRequest } from '../failures.ts';
import type { H2Connection } from './h2-connection.ts';
import { readHead, readTrailers, requestFields } from './h2-fields.ts';
import { H2RequestBody } from './h2-request-body.ts';
import { CONNECTION, ENDED, type HookedStream, hook, readMore, type StreamEvents } from './hooked-stream.ts';

const WAITING = 0;
const AWAITING = 1;
const STREAMING = 2;
const OVER = 3;

/** Of frames and streams (RFC 9113 §6.2, §7). */
const END_STREAM_FLAG = 0x1;
const REFUSED_STREAM = 0x7;
/**
 * Codes with which one side says that the other has broken the protocol: PROTOCOL_ERROR, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR,
 * COMPRESSION_ERROR, ENHANCE_YOUR_CALM.
 */
const INVALID_CODES: ReadonlySet<number> = new Set([0x1, 0x3, 0x6, 0x9, 0xb]);

/** What node:http2 is told of each kind of request. */
const WITHOUT_BODY = { endStream: true };
const WITH_BODY = { endStream: false };

/** H2RequestHost is what a request needs of its pool. */
export interface H2RequestHost {
  /** The request was not processed by the backend and waits again. */
  requeue(request: H2Request): void;
  /** The request ended while it waited. */
  forget(request: H2Request): void;
  /** Why a request that has waited for connectMs got no stream. */
  whyWaiting(): LbError;
}

/** H2Request is made by the pool, which opens it at once, or when a stream is free. */
export class H2Request implements ExchangeOwner, StreamEvents {
  readonly exchange: Exchange;
  readonly #request: UpstreamRequest;
  readonly #settings: ConnectionSettings;
  readonly #host: H2RequestHost;
  readonly #deadline = new Deadline(() => this.#onDue());
  readonly #body: H2RequestBody | null;
  #state = WAITING;
  #stream: HookedStream | null = null;
  #wasRequeued = false;

  // The answer.
  #interimCount = 0;
  #announcedBytes = -1;
  #receivedBytes = 0;
  #answerTrailers: string[] = [];
  #paused = false;
  /** Arrived while paused: the window of the stream bounds it. Joined, for a backend may send frames of a byte. */
  #rest: PendingBytes | null = null;
  whole = false;
  #delivering = false;

  /** @param reused whether the connection was open before */
  constructor(
    request: UpstreamRequest,
    sink: ResponseSink,
    options: { reused: boolean; settings: ConnectionSettings; host: H2RequestHost },
  ) {
    this.#request = request;
    this.#settings = options.settings;
    this.#host = options.host;
    const { begun } = request;
    if (begun instanceof H2RequestBody) this.#body = begun;
    else this.#body = hasBody(request.bodyLength) ? new H2RequestBody(request.bodyLength) : null;
    this.exchange = new Exchange(this, sink, options.reused, options.settings);
  }

  /** wait is called by the pool that holds the request until a connection has a free stream. */
  wait(): void {
    this.#arm(this.#settings.connectMs);
  }

  /** open is called with a connection that has a free stream. */
  open(connection: H2Connection): void {
    const fields = requestFields(this.#request, connection.scheme);
    try {
      this.#stream = hook(
        connection.request(fields, this.#body !== null ? WITH_BODY : WITHOUT_BODY),
        this,
        connection,
      );
    } catch (thrown) {
      // A field that node cannot send. The sink hears nothing before start() has returned.
      const error = new LbError('internal_error', 'request cannot be sent', { cause: thrown });
      process.nextTick(() => this.fail(error));
      return;
    }
    connection.enter();
    const wasWaiting = this.#deadline.armed;
    this.#state = AWAITING;
    const body = this.#body;
    body?.flowTo(this.#stream);
    this.#awaitRequest();
    if (!wasWaiting) return;
    if (!this.#wasRequeued) this.exchange.connected = true;
    if (body === null || body.ended) return;
    if (!this.#wasRequeued) this.exchange.askForBody('onConnected');
    else if (!body.blocked) this.exchange.askForBody('onRequestDrain');
  }

  /** Bounds the wait for the backend, if it is the backend's turn. */
  #awaitRequest(): void {
    if (this.#state !== AWAITING) return;
    const { timer, responseMs, idleMs } = this.#settings;
    const body = this.#body;
    if (body === null || body.ended) this.#arm(responseMs);
    else if (body.blocked) this.#arm(idleMs);
    else timer.disarm(this.#deadline);
  }

  #arm(delayMs: number): void {
    this.#settings.timer.arm(this.#deadline, delayMs);
  }

  // The request body.

  writeBody(piece: Buffer): boolean {
    const body = this.#body;
    if (body === null) return true;
    if (this.#state === STREAMING && !this.#paused) this.#arm(this.#settings.idleMs);
    try {
      body.write(piece);
    } catch (thrown) {
      this.fail(bodyFailure(thrown));
      return true;
    }
    if (body.blocked) this.#awaitRequest();
    return !body.blocked;
  }

  /**
   * Trailers of a request are left out: node can send them only on streams that wait for them, and aborts the process when such a
   * stream is cancelled.
   */
  endBody(_rawTrailers: string[]): void {
    const body = this.#body;
    if (body === null || body.ended) return;
    try {
      body.end();
      this.#awaitRequest();
    } catch (thrown) {
      this.fail(bodyFailure(thrown));
    }
  }

  onDrain(): void {
    const body = this.#body;
    if (body === null || !body.blocked || this.#state === OVER) return;
    body.blocked = false;
    this.#awaitRequest();
    this.exchange.askForBody('onRequestDrain');
  }

  // The answer.

  onInterim(raw: string[]): void {
    if (this.#state !== AWAITING) return;
    const head = readHead(raw, '', true);
    if (typeof head === 'string') this.#invalid(head);
    else if (head.status === 101) this.#invalid('unsolicited 101');
    else if (++this.#interimCount > INTERIM_MAX_COUNT) this.#invalid('too many interim responses');
    else {
      try {
        this.exchange.sink.onInformation(head.status, head.lines);
      } catch (thrown) {
        this.exchange.fault(thrown);
      }
    }
  }

  onFields(raw: string[], flags: number): void {
    const isLast = (flags & END_STREAM_FLAG) !== 0;
    const stream = this.#stream;
    if (this.#state !== AWAITING || stream === null) return;
    const head = readHead(raw, this.#request.method, isLast);
    if (typeof head === 'string') {
      this.#invalid(head);
      return;
    }
    this.#body?.forget();
    if (isLast) {
      this.#complete(stream);
      this.#tellHead(head, '');
      return;
    }
    this.#state = STREAMING;
    this.#announcedBytes = head.hasBody ? head.contentLength : 0;
    this.#arm(this.#settings.idleMs);
    this.#tellHead(head, null);
    // The sink may have ended the exchange.
    if (this.#isStreaming) this.#readOn(stream);
  }

  get #isStreaming(): boolean {
    return this.#state === STREAMING;
  }

  onPiece(piece: Buffer): boolean {
    if (this.#paused || this.#state === AWAITING) {
      this.#rest ??= new PendingBytes();
      this.#rest.append(piece, 0, piece.length);
      return false;
    }
    return this.#isStreaming && this.#deliver(piece);
  }

  get undeliveredBytes(): number {
    return this.#rest?.buffer.length ?? 0;
  }

  /** @returns whether more may come */
  #deliver(piece: Buffer): boolean {
    this.#receivedBytes += piece.length;
    if (this.#announcedBytes >= 0 && this.#receivedBytes > this.#announcedBytes) {
      this.#invalid('body longer than announced');
      return false;
    }
    this.#delivering = true;
    try {
      this.#paused = !this.exchange.sink.onBody(piece) && this.#delivering;
    } catch (thrown) {
      this.exchange.fault(thrown);
    }
    this.#delivering = false;
    if (!this.#isStreaming) return false;
    // A backend that is not read is not silent: the window of this stream closes, and of no other.
    if (this.#paused) this.#settings.timer.disarm(this.#deadline);
    else this.#arm(this.#settings.idleMs);
    return !this.#paused;
  }

  resume(): void {
    // From within onBody: the sink has passed everything on already.
    this.#delivering = false;
    const stream = this.#stream;
    if (!this.#paused || stream === null) return;
    this.#paused = false;
    this.#arm(this.#settings.idleMs);
    this.#readOn(stream);
  }

  /** Delivers what has waited, then goes on. */
  #readOn(stream: HookedStream): void {
    const rest = this.#rest;
    this.#rest = null;
    if (rest !== null && !this.#deliver(rest.buffer.subarray(rest.from, rest.to))) return;
    if (this.whole) this.#finish(stream);
    else readMore(stream);
  }

  onTrailers(raw: string[]): void {
    this.#answerTrailers = readTrailers(raw, this.#request.isGrpc === true);
  }

  onEnded(): void {
    const stream = this.#stream;
    if (!this.#isStreaming || stream === null) return;
    this.whole = true;
    if (!this.#paused) this.#finish(stream);
  }

  #finish(stream: HookedStream): void {
    if (this.#announcedBytes >= 0 && this.#receivedBytes !== this.#announcedBytes) {
      this.#invalid('body shorter than announced');
      return;
    }
    this.#complete(stream);
    this.exchange.complete(this.#answerTrailers);
  }

  #complete(stream: HookedStream): void {
    this.#leave();
    // RFC 9113 §8.1: nobody needs the rest of the request.
    if (this.#body?.ended === false) stream[CONNECTION].reset(stream);
  }

  #tellHead(head: ResponseHead, completeBody: string | null): void {
    try {
      this.exchange.sink.onHead(head, completeBody);
    } catch (thrown) {
      this.exchange.fault(thrown);
    }
  }

  // Ends.

  #onDue(): void {
    const { responseMs, idleMs } = this.#settings;
    if (this.#state === WAITING) this.fail(this.#host.whyWaiting());
    else if (this.#state === STREAMING) this.fail(silence(idleMs));
    else if (this.#body?.blocked === true && !this.#body.ended) this.fail(unreadRequest());
    else this.fail(noHead(responseMs));
  }

  #invalid(problem: string): void {
    this.fail(invalidResponse(problem));
  }

  onClosed(stream: HookedStream): void {
    if (this.#state === OVER || this.#stream !== stream) return;
    // It has come whole: the client reads it, or will.
    if (this.#isStreaming && stream[ENDED]) {
      this.onEnded();
      return;
    }
    const connection = stream[CONNECTION];
    // node gives the code of a GOAWAY to all streams.
    const isRefused = stream.rstCode === REFUSED_STREAM && !connection.isLost;
    const hasGivenUp = connection.hasGivenUp(stream.id);
    if (!(isRefused || hasGivenUp) || this.#state !== AWAITING || this.#interimCount > 0)
      this.fail(this.#lossOf(stream.rstCode, connection));
    else if (this.#body?.isKept === false)
      this.fail(new LbError('backend_busy', 'backend did not process the request', { retryable: false }));
    else this.#waitAgain(hasGivenUp);
  }

  #waitAgain(hasGivenUp: boolean): void {
    this.#state = WAITING;
    this.#stream = null;
    this.#body?.flowTo(null);
    if (!hasGivenUp || this.#wasRequeued) {
      this.fail(new LbError('backend_busy', 'backend did not process the request'));
      return;
    }
    this.#wasRequeued = true;
    this.#host.requeue(this);
  }

  #lossOf(rstCode: number, connection: H2Connection): LbError {
    const cause = connection.lostBy ?? undefined;
    if (connection.isLost) {
      // The backend may have processed it (B10).
      const retryable = this.#state === AWAITING && this.exchange.reused && this.#interimCount === 0;
      return new LbError('upstream_reset', `connection lost: ${cause?.message ?? 'closed'}`, {
        cause,
        retryable,
      });
    }
    const isInvalid = INVALID_CODES.has(rstCode);
    return new LbError(
      isInvalid ? 'upstream_invalid' : 'upstream_reset',
      `stream reset with code ${rstCode}`,
    );
  }

  fail(error: LbError): void {
    if (this.#state === OVER) return;
    const begun = this.#state === WAITING ? this.#body : null;
    this.close();
    this.exchange.begun = begun;
    this.exchange.fail(error);
  }

  /** close ends the request in any state; the sink hears nothing of it. */
  close(): void {
    if (this.#state === OVER) return;
    const isWaiting = this.#state === WAITING;
    const stream = this.#stream;
    this.#leave();
    if (isWaiting) this.#host.forget(this);
    else if (stream !== null) stream[CONNECTION].reset(stream);
  }

  #leave(): void {
    this.#state = OVER;
    if (this.#stream !== null) this.#body?.forget();
    this.#settings.timer.remove(this.#deadline);
    this.exchange.detach(null);
  }
}
