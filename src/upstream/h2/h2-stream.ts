/**
 * One request on a connection that speaks HTTP/2.
 *
 * State      entered by   what it means
 * WAITING    (start)      no connection has a free stream yet; the pool holds it.
 * AWAITING   open         a stream is open; the final head of the answer has not come.
 * STREAMING  #onHead      the sink has the head; the body follows.
 * OVER       #leave       the exchange has ended. The stream may take a moment longer to close. Final.
 *
 * A stream that the backend has not processed (GOAWAY, REFUSED_STREAM) goes from AWAITING back to WAITING, once: what was sent of
 * a small body is kept until the head of the answer comes, and is sent again. The sink does not notice.
 * There is at most one wait at a time, so one deadline serves all states (#onDue).
 */
import type { ClientHttp2Stream } from 'node:http2';
import { Duplex } from 'node:stream';
import { LbError } from '../../contract/errors.ts';
import { CHUNKED_BODY } from '../../contract/request-head.ts';
import { Deadline, type DeadlineTimer } from '../../infra/deadline-timer.ts';
import {
  Exchange,
  type ExchangeOwner,
  type ExchangeSettings,
  type ResponseHead,
  type ResponseSink,
  type UpstreamRequest,
} from '../exchange.ts';
import { hasRequestBody, readHead, readTrailers, requestFields } from './h2-fields.ts';
import type { H2Session } from './h2-session.ts';

const WAITING = 0;
const AWAITING = 1;
const STREAMING = 2;
const OVER = 3;

/** Of frames and streams (RFC 9113 §6.2, §7). */
const END_STREAM_FLAG = 0x1;
const REFUSED_STREAM = 0x7;
const CANCEL = 0x8;
/** Codes with which one side says that the other has broken the protocol: PROTOCOL_ERROR, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, COMPRESSION_ERROR, ENHANCE_YOUR_CALM. */
const INVALID_CODES: ReadonlySet<number> = new Set([0x1, 0x3, 0x6, 0x9, 0xb]);

const INTERIM_MAX_COUNT = 16;
/** Most bytes of a body that are kept to be sent again. */
const KEPT_MAX_BYTES = 16_384;

const OWNER = Symbol('owner');
const SESSION = Symbol('session');
/** Whether the backend has ended the stream properly. */
const ENDED = Symbol('ended');
type OwnedStream = ClientHttp2Stream & { [OWNER]: H2Stream; [SESSION]: H2Session; [ENDED]: boolean };

/** What node:http2 is told of each kind of request. */
const WITHOUT_BODY = { endStream: true };
const WITH_BODY = { endStream: false };

export interface StreamSettings extends ExchangeSettings {
  connectMs: number;
  responseMs: number;
  idleMs: number;
  timer: DeadlineTimer;
}

/** StreamHost is what a stream needs of its pool. */
export interface StreamHost {
  /** The stream was not processed by the backend and waits again. */
  requeue(stream: H2Stream): void;
  /** The stream ended while it waited. */
  forget(stream: H2Stream): void;
  /** Why a stream that has waited for connectMs was not opened. */
  whyWaiting(): LbError;
}

export class H2Stream implements ExchangeOwner {
  readonly exchange: Exchange;
  readonly #request: UpstreamRequest;
  readonly #settings: StreamSettings;
  readonly #host: StreamHost;
  readonly #deadline = new Deadline(() => this.#onDue());
  readonly #hasBody: boolean;
  #state = WAITING;
  #stream: OwnedStream | null = null;

  // The request.
  #sentBytes = 0;
  #ended = false;
  #blocked = false;
  #listensToDrain = false;
  /** All that was sent of the body; null: it cannot be sent again. */
  #kept: Buffer[] | null = [];
  #wasRequeued = false;

  // The answer.
  #interimCount = 0;
  #announcedBytes = -1;
  #receivedBytes = 0;
  #answerTrailers: string[] = [];
  #paused = false;
  /** Arrived while paused: the end of a body. */
  readonly #rest: Buffer[] = [];
  #delivering = false;

  /** @param reused whether the connection was open before */
  constructor(
    request: UpstreamRequest,
    sink: ResponseSink,
    options: { reused: boolean; settings: StreamSettings; host: StreamHost },
  ) {
    this.#request = request;
    this.#settings = options.settings;
    this.#host = options.host;
    this.#hasBody = hasRequestBody(request);
    this.exchange = new Exchange(this, sink, options.reused, options.settings);
  }

  /** wait is called by the pool that holds the stream until a connection has a free one. */
  wait(): void {
    this.#arm(this.#settings.connectMs);
  }

  /** open is called with a session that has a free stream. */
  open(session: H2Session): void {
    let stream: OwnedStream;
    try {
      stream = session.request(
        requestFields(this.#request, session.scheme),
        this.#hasBody ? WITH_BODY : WITHOUT_BODY,
      ) as OwnedStream;
    } catch (thrown) {
      // A field that node cannot send. The sink hears nothing before start() has returned.
      const error = new LbError('internal_error', 'request cannot be sent', { cause: thrown });
      process.nextTick(() => this.fail(error));
      return;
    }
    session.enter();
    stream[OWNER] = this;
    stream[SESSION] = session;
    stream[ENDED] = false;
    stream.push = push;
    stream.on('response', onResponse);
    stream.on('headers', onHeaders);
    stream.on('error', onError);
    stream.on('close', onClose);
    const wasWaiting = this.#deadline.armed;

    this.#stream = stream;
    this.#state = AWAITING;
    this.#blocked = this.#listensToDrain = false;
    if (this.#hasBody) this.#settings.timer.disarm(this.#deadline);
    else this.#arm(this.#settings.responseMs);
    if (this.#wasRequeued && this.#sentBytes > 0) this.#sendAgain();
    else if (wasWaiting) this.#connected();
  }

  #connected(): void {
    this.exchange.connected = true;
    if (this.#hasBody) this.exchange.askForBody('onConnected');
  }

  #sendAgain(): void {
    for (const piece of this.#kept ?? []) this.#write(piece);
    if (this.#ended) this.#end();
    else if (!this.#blocked) this.exchange.askForBody('onRequestDrain');
  }

  #arm(delayMs: number): void {
    this.#settings.timer.arm(this.#deadline, delayMs);
  }

  // The request body.

  writeBody(piece: Buffer): boolean {
    if (piece.length === 0 || this.#ended) return !this.#blocked;
    this.#sentBytes += piece.length;
    const { bodyLength } = this.#request;
    if (bodyLength !== CHUNKED_BODY && this.#sentBytes > bodyLength) {
      this.fail(new LbError('internal_error', 'request body longer than announced'));
      return true;
    }
    // node sends it later, when its memory may belong to other bytes.
    const copy = Buffer.from(piece);
    if (this.#sentBytes > KEPT_MAX_BYTES) this.#kept = null;
    else this.#kept?.push(copy);
    if (this.#state === STREAMING && !this.#paused) this.#arm(this.#settings.idleMs);
    return this.#write(copy);
  }

  #write(copy: Buffer): boolean {
    const stream = this.#stream;
    // It waits again, and all that was sent is kept.
    if (stream === null || stream.write(copy)) return true;
    this.#blocked = true;
    if (this.#state === AWAITING) this.#arm(this.#settings.idleMs);
    if (!this.#listensToDrain) stream.on('drain', onDrain);
    this.#listensToDrain = true;
    return false;
  }

  /**
   * Trailers of a request are left out: node can send them only on streams that wait for them, and aborts the process when such a
   * stream is cancelled.
   */
  endBody(_rawTrailers: string[]): void {
    const { bodyLength } = this.#request;
    if (this.#ended) return;
    if (bodyLength !== CHUNKED_BODY && this.#sentBytes !== bodyLength) {
      this.fail(new LbError('internal_error', 'request body shorter than announced'));
      return;
    }
    this.#ended = true;
    this.#end();
  }

  #end(): void {
    const stream = this.#stream;
    if (stream === null) return;
    stream.end();
    if (this.#state === AWAITING) this.#arm(this.#settings.responseMs);
  }

  drained(): void {
    if (!this.#blocked || this.#state === OVER) return;
    this.#blocked = false;
    if (this.#state === AWAITING && !this.#ended) this.#settings.timer.disarm(this.#deadline);
    this.exchange.askForBody('onRequestDrain');
  }

  // The answer.

  interim(raw: readonly string[]): void {
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

  /** @param isLast whether neither body nor trailers follow */
  answer(raw: readonly string[], isLast: boolean): void {
    const stream = this.#stream;
    if (this.#state !== AWAITING || stream === null) return;
    const head = readHead(raw, this.#request.method, isLast);
    if (typeof head === 'string') {
      this.#invalid(head);
      return;
    }
    this.#kept = null;
    if (isLast) {
      this.#complete(stream);
      // Unread, node would keep the stream.
      stream.resume();
      this.#tellHead(head, '');
      return;
    }
    this.#state = STREAMING;
    this.#announcedBytes = head.hasBody ? head.contentLength : 0;
    this.#arm(this.#settings.idleMs);
    this.#tellHead(head, null);
    if (this.#state !== STREAMING) return;
    stream.on('trailers', onTrailers);
    stream.on('end', onEnd);
    stream.on('data', onData);
  }

  piece(chunk: Buffer, stream: ClientHttp2Stream): void {
    if (this.#state !== STREAMING) return;
    if (this.#paused) {
      this.#rest.push(chunk);
      return;
    }
    this.#receivedBytes += chunk.length;
    if (this.#announcedBytes >= 0 && this.#receivedBytes > this.#announcedBytes) {
      this.#invalid('body longer than announced');
      return;
    }
    this.#delivering = true;
    this.#paused = false;
    try {
      this.#paused = !this.exchange.sink.onBody(chunk) && this.#delivering;
    } catch (thrown) {
      this.exchange.fault(thrown);
      return;
    } finally {
      this.#delivering = false;
    }
    if (!this.exchange.live) return;
    if (!this.#paused) {
      this.#arm(this.#settings.idleMs);
      return;
    }
    // The backend is not silent meanwhile: the window of this stream is closed, and of no other.
    this.#settings.timer.disarm(this.#deadline);
    stream.pause();
  }

  resume(): void {
    // From within onBody: the sink has passed everything on already.
    this.#delivering = false;
    const stream = this.#stream;
    if (!this.#paused || stream === null) return;
    this.#paused = false;
    this.#arm(this.#settings.idleMs);
    while (!this.#paused && this.#rest.length > 0) this.piece(this.#rest.shift()!, stream);
    if (this.#paused) return;
    if (stream[ENDED]) this.ended(stream);
    else stream.resume();
  }

  /** whole is called when the backend has ended the stream. What a late client has not read is taken from node, which loses it with the connection. */
  whole(stream: OwnedStream): void {
    // As `data`, see piece().
    if (this.#paused) while (stream.read() !== null);
  }

  trailersCame(raw: readonly string[]): void {
    this.#answerTrailers = readTrailers(raw);
  }

  ended(stream: OwnedStream): void {
    // A stream that is cut ends, too; its `close` tells why.
    if (this.#state !== STREAMING || this.#paused || !stream[ENDED]) return;
    if (this.#announcedBytes >= 0 && this.#receivedBytes !== this.#announcedBytes) {
      this.#invalid('body shorter than announced');
      return;
    }
    this.#complete(stream);
    this.exchange.complete(this.#answerTrailers);
  }

  #complete(stream: ClientHttp2Stream): void {
    this.#leave();
    // RFC 9113 §8.1: nobody needs the rest of the request.
    if (this.#hasBody && !this.#ended) stream.close(CANCEL);
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
    else if (this.#state === STREAMING)
      this.fail(new LbError('upstream_timeout', `response body silent for ${idleMs} ms`));
    else if (this.#blocked && !this.#ended)
      this.fail(new LbError('upstream_timeout', 'backend stopped reading the request'));
    else this.fail(new LbError('upstream_timeout', `no response head within ${responseMs} ms`));
  }

  #invalid(problem: string): void {
    this.fail(new LbError('upstream_invalid', `invalid response: ${problem}`));
  }

  /** closed is called when the stream is closed, whatever the cause. */
  closed(stream: OwnedStream, session: H2Session): void {
    if (this.#state === OVER || this.#stream !== stream) return;
    // It has come whole, and the client will read it.
    if (this.#paused && stream[ENDED]) return;
    const { rstCode } = stream;
    const isRefused = rstCode === REFUSED_STREAM;
    const hasGivenUp = session.hasGivenUp(stream.id);
    // A refused request without a body may go to another backend, where the refusal does not repeat itself.
    const mayWaitAgain = hasGivenUp || (isRefused && this.#sentBytes > 0);
    if (mayWaitAgain && this.#state === AWAITING && this.#requeue()) return;
    this.fail(this.#lossOf(rstCode, isRefused, session));
  }

  /** @returns whether the stream waits again */
  #requeue(): boolean {
    if (this.#wasRequeued || this.#kept === null) return false;
    this.#wasRequeued = true;
    this.#state = WAITING;
    this.#stream = null;
    this.#host.requeue(this);
    return true;
  }

  #lossOf(rstCode: number, isRefused: boolean, session: H2Session): LbError {
    if (isRefused) return new LbError('overload', 'backend refused the stream', { retryable: true });
    const cause = session.lostBy ?? undefined;
    if (session.isLost) {
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
    this.close();
    this.exchange.fail(error);
  }

  /** close ends the stream in any state; the sink hears nothing of it. */
  close(): void {
    if (this.#state === OVER) return;
    const isWaiting = this.#state === WAITING;
    this.#leave();
    if (isWaiting) this.#host.forget(this);
    else this.#stream?.close(CANCEL);
  }

  #leave(): void {
    this.#state = OVER;
    this.#kept = null;
    this.#settings.timer.remove(this.#deadline);
    this.exchange.detach(null);
  }
}

// Listeners of all streams: none is made per request.

function onResponse(this: OwnedStream, _fields: unknown, flags: number, raw: string[]): void {
  this[SESSION].heard = true;
  this[OWNER].answer(raw, (flags & END_STREAM_FLAG) !== 0);
}

function onHeaders(this: OwnedStream, _fields: unknown, _flags: number, raw: string[]): void {
  this[SESSION].heard = true;
  this[OWNER].interim(raw);
}

function onTrailers(this: OwnedStream, _fields: unknown, _flags: number, raw: string[]): void {
  this[OWNER].trailersCame(raw);
}

function onData(this: OwnedStream, chunk: Buffer): void {
  this[SESSION].heard = true;
  this[OWNER].piece(chunk, this);
}

/**
 * node ends a stream that was reset with NO_ERROR, or whose connection is lost, as it does a complete one; but then it has closed the
 * stream before.
 */
function push(this: OwnedStream, chunk: unknown, encoding?: BufferEncoding): boolean {
  if (chunk !== null || this.closed) return Duplex.prototype.push.call(this, chunk, encoding);
  this[ENDED] = true;
  Duplex.prototype.push.call(this, null);
  this[OWNER].whole(this);
  return false;
}

function onEnd(this: OwnedStream): void {
  this[OWNER].ended(this);
}

function onDrain(this: OwnedStream): void {
  this[OWNER].drained();
}

function onError(): void {
  // `close` follows and tells the rest.
}

function onClose(this: OwnedStream): void {
  this[SESSION].leave();
  this[OWNER].closed(this, this[SESSION]);
}
