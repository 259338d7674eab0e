/**
 * One request on a connection that speaks HTTP/2.
 *
 * State      entered by   what it means
 * WAITING    (start)      no connection has a free stream yet; the pool holds it.
 * AWAITING   open         a stream is open; the final head of the answer has not come.
 * STREAMING  #takeHead    the sink has the head; the body follows.
 * OVER       #leave       the exchange has ended. The stream may take a moment longer to close. Final.
 *
 * A request that the backend has not processed goes from AWAITING back to WAITING, with what was sent of a small body. After GOAWAY it
 * waits for another connection, once, and the sink does not notice. Else (REFUSED_STREAM) it ends, and may go to another backend.
 * There is at most one wait at a time, so one deadline serves all states (#onDue).
 */

import { SMALL_PIECE_BYTES } from '../../contract/downstream.ts';
import { LbError } from '../../contract/errors.ts';
import { hasBody } from '../../contract/request-head.ts';
import { CODE } from '../../http2/frames.ts';
import type { Stream } from '../../http2/stream.ts';
import type { StreamEvents } from '../../http2/stream-events.ts';
import { Deadline } from '../../infra/deadline-timer.ts';
import type { ConnectionSettings } from '../connection-settings.ts';
import { Exchange, type ExchangeOwner } from '../exchange.ts';
import { bodyFailure, invalidResponse, noHead, silence, unreadRequest } from '../failures.ts';
import { KeptBody } from '../kept-body.ts';
import {
  INTERIM_MAX_COUNT,
  type ResponseHead,
  type ResponseSink,
  type UpstreamRequest,
} from '../upstream-request.ts';
import { type BackendH2Connection, STREAM_WINDOW_BYTES } from './backend-h2-connection.ts';
import { answerTrailers, readHead, requestFields } from './h2-fields.ts';
import { H2RequestBody } from './h2-request-body.ts';
import { streamLoss } from './stream-loss.ts';
import { WIDER_BYTES, wideWindows } from './wide-windows.ts';

const WAITING = 0;
const AWAITING = 1;
const STREAMING = 2;
const OVER = 3;

/** BackendH2RequestHost is what a request needs of its pool. */
export interface BackendH2RequestHost {
  /** The request was not processed by the backend and waits again. */
  requeue(request: BackendH2Request): void;
  /** The request ended while it waited. */
  forget(request: BackendH2Request): void;
  /** Why a request that has waited for connectMs got no stream. */
  whyWaiting(): LbError;
}

/** BackendH2Request is made by the pool, which opens it at once, or when a stream is free. */
export class BackendH2Request implements ExchangeOwner, StreamEvents {
  readonly exchange: Exchange;
  readonly #request: UpstreamRequest;
  readonly #settings: ConnectionSettings;
  readonly #host: BackendH2RequestHost;
  readonly #deadline = new Deadline(() => this.#onDue());
  readonly #body: H2RequestBody | null;
  #state = WAITING;
  /** Both are null while it waits. */
  #stream: Stream | null = null;
  #connection: BackendH2Connection | null = null;
  #wasRequeued = false;
  /** Of the request body, when the deadline was last armed. */
  #sentBytes = 0;

  // The answer.
  #interimCount = 0;
  #announcedBytes = -1;
  #receivedBytes = 0;
  #trailers: string[] = [];
  #paused = false;
  #delivering = false;
  #isWide = false;

  /** @param reused whether the connection was open before */
  constructor(
    request: UpstreamRequest,
    sink: ResponseSink,
    options: { reused: boolean; settings: ConnectionSettings; host: BackendH2RequestHost },
  ) {
    this.#request = request;
    this.#settings = options.settings;
    this.#host = options.host;
    const { bodyLength, kept } = request;
    this.#body = hasBody(bodyLength) ? new H2RequestBody(bodyLength, kept ?? new KeptBody()) : null;
    this.exchange = new Exchange(this, sink, options.reused, options.settings);
  }

  /** wait is called by the pool that holds the request until a connection has a free stream. */
  wait(): void {
    this.#arm(this.#settings.connectMs);
  }

  /** open is called with a connection that has a free stream. */
  open(connection: BackendH2Connection): void {
    const body = this.#body;
    const wasWaiting = this.#deadline.armed;
    this.#state = AWAITING;
    this.#connection = connection;
    const stream = connection.open(requestFields(this.#request, connection.scheme), body === null, this);
    this.#stream = stream;
    body?.flowTo(stream);
    this.#awaitBackend();
    if (!wasWaiting) return;
    if (!this.#wasRequeued) this.exchange.connected = true;
    if (body === null || body.ended) return;
    if (!this.#wasRequeued) this.exchange.askForBody('onConnected');
    else if (!body.blocked) this.exchange.askForBody('onRequestDrain');
  }

  /** Bounds the wait for the head of the answer, or for the backend to read the request, if it is the backend's turn. */
  #awaitBackend(): void {
    if (this.#state !== AWAITING) return;
    const { timer, responseMs, idleMs } = this.#settings;
    const body = this.#body;
    if (body?.blocked) {
      this.#sentBytes = this.#stream?.framedBytes ?? 0;
      this.#arm(idleMs);
    } else if (body === null || body.ended) this.#arm(responseMs);
    else timer.disarm(this.#deadline);
  }

  #arm(delayMs: number): void {
    this.#settings.timer.arm(this.#deadline, delayMs);
  }

  // The request body.

  writeBody(piece: Buffer): boolean {
    const body = this.#body;
    if (body === null) return true;
    // A backend that answers while the client still sends (an echo) is silent only from the client's last bytes on.
    if (this.#isStreaming && !this.#paused) this.#arm(this.#settings.idleMs);
    const wasBlocked = body.blocked;
    try {
      body.write(piece);
    } catch (thrown) {
      this.fail(bodyFailure(thrown));
      return true;
    }
    if (body.blocked && !wasBlocked) this.#awaitBackend();
    return !body.blocked;
  }

  endBody(rawTrailers: string[]): void {
    const body = this.#body;
    if (body === null || body.ended) return;
    try {
      body.end(rawTrailers);
    } catch (thrown) {
      this.fail(bodyFailure(thrown));
      return;
    }
    if (!body.blocked) this.#awaitBackend();
  }

  onDrain(): void {
    const body = this.#body;
    if (body === null || !body.blocked || this.#state === OVER) return;
    body.blocked = false;
    this.#awaitBackend();
    if (!body.ended) this.exchange.askForBody('onRequestDrain');
  }

  // The answer.

  onFields(fields: string[], ends: boolean): void {
    if (this.#state === AWAITING) this.#takeHead(fields, ends);
    else if (this.#isStreaming) this.#trailers = answerTrailers(fields, this.#request.isGrpc === true);
  }

  #takeHead(fields: string[], ends: boolean): void {
    this.#noteSpoken();
    const head = readHead(fields, this.#request.method, ends);
    if (typeof head === 'string') this.#invalid(head);
    else if (head.status < 200) this.#takeInterim(head);
    else if (ends) {
      this.#complete();
      this.#tellHead(head, '');
    } else {
      this.#state = STREAMING;
      this.#announcedBytes = head.hasBody ? head.contentLength : 0;
      this.#arm(this.#settings.idleMs);
      this.#tellHead(head, null);
    }
  }

  #takeInterim(head: ResponseHead): void {
    if (++this.#interimCount > INTERIM_MAX_COUNT) this.#invalid('too many interim responses');
    else {
      try {
        this.exchange.sink.onInformation(head.status, head.lines);
      } catch (thrown) {
        this.exchange.fault(thrown);
      }
    }
  }

  #noteSpoken(): void {
    if (this.#connection !== null) this.#connection.hasSpoken = true;
  }

  get #isStreaming(): boolean {
    return this.#state === STREAMING;
  }

  /** See ExchangeOwner. */
  get undeliveredBytes(): number {
    return this.#stream?.unreadMemoryBytes ?? 0;
  }

  /** See ExchangeOwner. */
  get whole(): boolean {
    return this.#stream?.remoteEnded === true;
  }

  onData(piece: Buffer): void {
    this.#noteSpoken();
    this.#receivedBytes += piece.length;
    if (this.#announcedBytes >= 0 && this.#receivedBytes > this.#announcedBytes)
      this.#invalid('body longer than announced');
    // The sink may keep the piece until resume(); a small one is only valid in this call, so it is copied.
    else this.#deliver(piece.length < SMALL_PIECE_BYTES ? Buffer.from(piece) : piece);
  }

  #deliver(piece: Buffer): void {
    this.#delivering = true;
    try {
      this.#paused = !this.exchange.sink.onBody(piece) && this.#delivering;
    } catch (thrown) {
      this.exchange.fault(thrown);
    }
    this.#delivering = false;
    if (!this.#isStreaming) return;
    if (!this.#paused) {
      this.#arm(this.#settings.idleMs);
      this.#widen();
    } else {
      // A backend that is not read is not silent: the window of this stream closes, and of no other.
      this.#settings.timer.disarm(this.#deadline);
      this.#stream?.pause();
    }
  }

  /** A large answer that its client takes as it comes gets a larger window. */
  #widen(): void {
    if (this.#isWide || this.#receivedBytes <= STREAM_WINDOW_BYTES || !wideWindows.take()) return;
    this.#isWide = true;
    this.#stream?.widen(WIDER_BYTES);
  }

  resume(): void {
    // From within onBody: the sink has passed everything on already.
    this.#delivering = false;
    if (!this.#paused) return;
    this.#paused = false;
    this.#arm(this.#settings.idleMs);
    this.#stream?.resume();
  }

  onEnd(): void {
    if (!this.#isStreaming) return;
    if (this.#announcedBytes >= 0 && this.#receivedBytes !== this.#announcedBytes)
      this.#invalid('body shorter than announced');
    else {
      this.#complete();
      this.exchange.complete(this.#trailers);
    }
  }

  #complete(): void {
    this.#leave();
    // RFC 9113 §8.1: nobody needs the rest of the request, and the backend may never open the window for it.
    if (this.#body !== null && (!this.#body.ended || this.#body.blocked)) this.#reset();
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
    else if (this.#isStreaming) this.fail(silence(idleMs));
    else if (this.#body?.blocked !== true) this.fail(noHead(responseMs));
    // The backend may read a large piece slowly.
    else if ((this.#stream?.framedBytes ?? 0) > this.#sentBytes) this.#awaitBackend();
    else this.fail(unreadRequest());
  }

  #invalid(problem: string): void {
    this.fail(invalidResponse(problem));
  }

  onClosed(code: number): void {
    const stream = this.#stream;
    const connection = this.#connection;
    if (this.#state === OVER || stream === null || connection === null) return;
    connection.onRequestClosed();
    // It has come whole: the client reads it, or will.
    if (this.#isStreaming && stream.remoteEnded) return;
    const hasGivenUp = connection.hasGivenUp(stream.id);
    const isUnprocessed = hasGivenUp || (code === CODE.REFUSED_STREAM && !connection.isLost);
    const isUnanswered = !this.#isStreaming && this.#interimCount === 0;
    if (!isUnprocessed || !isUnanswered)
      this.fail(streamLoss(code, connection, { isUnanswered, reused: this.exchange.reused }));
    else if (this.#body?.isRepeatable === false)
      this.fail(new LbError('backend_busy', 'backend did not process the request', { retryable: false }));
    else this.#waitAgain(hasGivenUp);
  }

  #waitAgain(hasGivenUp: boolean): void {
    this.#state = WAITING;
    this.#stream = this.#connection = null;
    this.#body?.flowTo(null);
    if (!hasGivenUp || this.#wasRequeued) {
      this.fail(new LbError('backend_busy', 'backend did not process the request'));
      return;
    }
    this.#wasRequeued = true;
    this.#host.requeue(this);
  }

  fail(error: LbError): void {
    if (this.#state === OVER) return;
    this.close();
    this.exchange.fail(error);
  }

  /** close ends the request in any state; the sink hears nothing of it. */
  close(): void {
    if (this.#state === OVER) return;
    const isWaiting = this.#state === WAITING;
    this.#leave();
    if (isWaiting) this.#host.forget(this);
    else this.#reset();
  }

  #leave(): void {
    this.#state = OVER;
    if (this.#isWide) wideWindows.give();
    this.#settings.timer.remove(this.#deadline);
    this.exchange.detach(null);
  }

  #reset(): void {
    if (this.#stream !== null) this.#connection?.reset(this.#stream);
  }
}
