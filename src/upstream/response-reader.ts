/**
 * The reading half of a connection: what a read brought becomes calls on the sink. It decides which memory the next read
 * goes into: the worker's shared buffer while heads and small answers come, a buffer of its own once a body streams,
 * because a client may take its time with those bytes while other connections read on.
 */
import { type BodyBuffers, FIRST_BUFFER_BYTES } from '../http1/body-buffers.ts';
import type { LiveExchange } from './live-exchange.ts';
import { HEAD_INTERIM, HEAD_INVALID, HEAD_MORE, ResponseParser } from './response-parser.ts';

/** Complete bodies up to this size travel as one latin1 string with their head: one write to the client. */
const SMALL_BODY_BYTES = 16_384;

/** What the connection is told; implemented by it. */
export interface ReaderEvents {
  /** false once a sink has ended its exchange in the middle of a read. */
  serves(exchange: LiveExchange): boolean;
  onFinalHead(): void;
  /** Body bytes came and the next may. */
  onBodyProgress(): void;
  /** The sink has to pass on what it got first. */
  onPaused(): void;
  /** By its framing the response is over, with this many bytes behind it; the exchange is to be let go. */
  onComplete(exchange: LiveExchange, leftoverBytes: number): void;
  onInvalid(problem: string): void;
}

/** ResponseReader is owned by a connection; start() before each request, read() in its read callback. */
export class ResponseReader {
  /** Whether any byte of this response came. */
  answered = false;

  readonly parser = new ResponseParser();
  readonly #buffers: BodyBuffers;
  readonly #events: ReaderEvents;
  /** Where the next read goes. */
  #lent: Buffer;
  #own: Buffer<ArrayBuffer> | null = null;
  #streaming = false;
  #paused = false;
  #delivering = false;
  /** resume() came while the sink was being called. */
  #resumed = false;

  constructor(buffers: BodyBuffers, events: ReaderEvents) {
    this.#buffers = buffers;
    this.#events = events;
    this.#lent = buffers.shared;
  }

  get paused(): boolean {
    return this.#paused;
  }

  start(method: string): void {
    this.answered = this.#streaming = this.#paused = false;
    this.parser.start(method);
  }

  /** nextBuffer is the wire's question; see WireEvents. */
  nextBuffer(): Buffer {
    this.#lent = this.#own ?? this.#buffers.shared;
    return this.#lent;
  }

  /** read handles the bytes at the front of the lent buffer; false: stop reading. Throws what the sink throws. */
  read(exchange: LiveExchange, bytes: number): boolean {
    this.answered = true;
    const buffer = this.#lent;
    return this.#streaming
      ? this.#readBody(exchange, buffer, bytes)
      : this.#readHeads(exchange, buffer, bytes);
  }

  #readHeads(exchange: LiveExchange, buffer: Buffer, end: number): boolean {
    const parser = this.parser;
    let at = 0;
    for (;;) {
      const found = parser.readHead(buffer, at, end);
      if (found === HEAD_MORE) return true;
      if (found === HEAD_INVALID) return this.#invalid(parser.problem);
      at = parser.at;
      if (found !== HEAD_INTERIM) return this.#readFirstBody(exchange, buffer, at, end);
      const head = parser.head;
      if (head !== null) exchange.sink.onInformation(head.status, head.reason, head.lines);
      if (!this.#events.serves(exchange)) return false;
    }
  }

  /** The final head, and what came of the body with it. */
  #readFirstBody(exchange: LiveExchange, buffer: Buffer, from: number, end: number): boolean {
    const parser = this.parser;
    const head = parser.head;
    if (head === null) return false;
    let size = 0;
    if (head.hasBody) {
      parser.body.read(buffer, from, end);
      if (parser.body.problem !== '') return this.#invalid(parser.body.problem);
      size = parser.body.payloadTo - parser.body.payloadFrom;
    }
    const leftoverBytes = end - (head.hasBody ? parser.body.at : parser.at);
    this.#events.onFinalHead();
    if (parser.body.complete && size <= SMALL_BODY_BYTES && parser.body.trailers.length === 0) {
      const body = size === 0 ? '' : parser.payloadText(buffer);
      this.#events.onComplete(exchange, leftoverBytes);
      exchange.sink.onHead(head, body);
      return true;
    }
    this.#own = this.#buffers.take();
    // The only copy, at most one read: `buffer` is other sockets' too.
    if (size > 0) buffer.copy(this.#own, 0, parser.body.payloadFrom, parser.body.payloadTo);
    const chunk = this.#own.subarray(0, size);
    this.#streaming = true;
    exchange.sink.onHead(head, null);
    return this.#events.serves(exchange) && this.#deliver(exchange, chunk, leftoverBytes);
  }

  #readBody(exchange: LiveExchange, buffer: Buffer, end: number): boolean {
    const parser = this.parser;
    parser.body.read(buffer, 0, end);
    if (parser.body.problem !== '') return this.#invalid(parser.body.problem);
    const whole = parser.body.payloadFrom === 0 && parser.body.payloadTo === buffer.length;
    const chunk = whole ? buffer : buffer.subarray(parser.body.payloadFrom, parser.body.payloadTo);
    const flowing = this.#deliver(exchange, chunk, end - parser.body.at);
    if (flowing && end === buffer.length) this.#grow();
    return flowing;
  }

  /** Hands a piece on; false: stop reading. */
  #deliver(exchange: LiveExchange, chunk: Buffer, leftoverBytes: number): boolean {
    const flowing = chunk.length === 0 || this.#passOn(exchange, chunk);
    if (!this.#events.serves(exchange)) return false;
    if (this.parser.body.complete) {
      this.#complete(exchange, leftoverBytes);
      return true;
    }
    if (flowing) this.#events.onBodyProgress();
    else {
      this.#paused = true;
      this.#events.onPaused();
    }
    return flowing;
  }

  #passOn(exchange: LiveExchange, chunk: Buffer): boolean {
    this.#delivering = true;
    this.#resumed = false;
    try {
      return exchange.sink.onBody(chunk) || this.#resumed;
    } finally {
      this.#delivering = false;
    }
  }

  #complete(exchange: LiveExchange, leftoverBytes: number): void {
    const { trailers } = this.parser.body;
    this.#events.onComplete(exchange, leftoverBytes);
    exchange.finish(trailers);
  }

  /** A stream that fills its buffer gets a larger one: fewer calls per MiB. Only between reads, and only its own. */
  #grow(): void {
    const own = this.#own;
    if (own === null || own.length !== FIRST_BUFFER_BYTES) return;
    if (this.parser.body.remainingBytes <= FIRST_BUFFER_BYTES) return;
    const large = this.#buffers.takeLarge();
    if (large === null) return;
    this.#own = large;
    this.#buffers.give(own);
  }

  /** resume tells whether the socket has to be started again. */
  resume(): boolean {
    if (this.#delivering) this.#resumed = true;
    if (this.#delivering || !this.#paused) return false;
    this.#paused = false;
    return true;
  }

  /** endOfInput handles a FIN; false: it came too early for this response. */
  endOfInput(exchange: LiveExchange): boolean {
    if (!this.#streaming || !this.parser.endOfInput()) return false;
    this.#complete(exchange, 0);
    return true;
  }

  /** release hands the own buffer over: the caller gives or drops it once no write reads from it. The next read goes elsewhere. */
  release(): Buffer<ArrayBuffer> | null {
    const own = this.#own;
    this.#own = null;
    this.#streaming = false;
    this.parser.forget();
    return own;
  }

  #invalid(problem: string): false {
    this.#events.onInvalid(problem);
    return false;
  }
}
