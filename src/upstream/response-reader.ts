/**
 * Turns each read of a connection into calls on the sink, and chooses the memory for the next read: the worker's shared buffer
 * for heads and small answers, one of its own for a streaming body, whose bytes a slow client may hold while others read on.
 */
import type { BodyBuffers } from '../memory/body-buffers.ts';
import type { Exchange } from './exchange.ts';
import { HEAD_INTERIM, HEAD_INVALID, HEAD_MORE, HEAD_SWITCHED, ResponseParser } from './response-parser.ts';

/** A complete body up to this size leaves as one latin1 string with its head, by one write to the client. */
const SMALL_BODY_BYTES = 16_384;

/** Results of ResponseReader.read. READ_ON: a head is incomplete, or the exchange has ended. */
const READ_ON = 0;
/** Body bytes came; read on. */
export const READ_BODY = 1;
/** The sink must first pass on what it was given: stop reading until resume(). */
export const READ_PAUSED = 2;
/** The reason is in `problem` of the parser or of its body. */
export const READ_INVALID = 3;
/** A 101: the bytes from `parser.at` on are another protocol's. */
export const READ_SWITCHED = 4;

/** ReaderEvents is what the connection is told, before the sink is. */
export interface ReaderEvents {
  onFinalHead(): void;
  /** The response is complete, and the read brought this many bytes after it. The connection ends the exchange. */
  onComplete(exchange: Exchange, leftoverBytes: number): void;
}

/** ResponseReader is owned by a connection; start() before each request, read() in its read callback. */
export class ResponseReader {
  /** Whether any byte of this response has come. */
  answered = false;
  /** read() returned READ_PAUSED, and resume() has not followed. */
  paused = false;

  readonly parser = new ResponseParser();
  readonly #buffers: BodyBuffers;
  readonly #events: ReaderEvents;
  /** The memory of the read that is under way. */
  #lent: Buffer;
  /** The memory of a streaming body; null for any other. */
  #own: Buffer<ArrayBuffer> | null = null;
  #delivering = false;
  /** resume() was called from within the sink's onBody. */
  #resumed = false;

  constructor(buffers: BodyBuffers, events: ReaderEvents) {
    this.#buffers = buffers;
    this.#events = events;
    this.#lent = buffers.shared;
  }

  /** See ResponseParser.start. */
  start(method: string, maySwitch: boolean): void {
    this.answered = this.paused = false;
    this.parser.start(method, maySwitch);
  }

  /** See WireEvents. */
  nextBuffer(): Buffer {
    this.#lent = this.#own ?? this.#buffers.shared;
    return this.#lent;
  }

  /** read handles the bytes at the front of the buffer that nextBuffer gave. Throws what the sink throws. */
  read(exchange: Exchange, bytes: number): number {
    this.answered = true;
    const buffer = this.#lent;
    return this.#own === null
      ? this.#readHeads(exchange, buffer, bytes)
      : this.#readBody(exchange, buffer, bytes);
  }

  #readHeads(exchange: Exchange, buffer: Buffer, end: number): number {
    const parser = this.parser;
    let at = 0;
    for (;;) {
      const found = parser.readHead(buffer, at, end);
      if (found === HEAD_MORE) return READ_ON;
      if (found === HEAD_INVALID) return READ_INVALID;
      if (found === HEAD_SWITCHED) return READ_SWITCHED;
      at = parser.at;
      if (found !== HEAD_INTERIM) return this.#readFirstBody(exchange, buffer, at, end);
      exchange.sink.onInformation(parser.head.status, parser.head.lines);
      if (!exchange.live) return READ_ON;
    }
  }

  /** Handles the final head, and the part of the body that came with it. */
  #readFirstBody(exchange: Exchange, buffer: Buffer, from: number, end: number): number {
    const parser = this.parser;
    const { body, head } = parser;
    body.read(buffer, from, end);
    if (body.problem !== '') return READ_INVALID;
    const size = body.payloadTo - body.payloadFrom;
    const leftoverBytes = end - body.at;
    this.#events.onFinalHead();
    if (body.complete && size <= SMALL_BODY_BYTES && body.trailers.length === 0) {
      const text = size === 0 ? '' : parser.payloadText(buffer);
      this.#events.onComplete(exchange, leftoverBytes);
      exchange.sink.onHead(head, text);
      return READ_ON;
    }
    this.#own = this.#buffers.take();
    // The only copy, of at most one read: other wires read into `buffer`, too.
    if (size > 0) buffer.copy(this.#own, 0, body.payloadFrom, body.payloadTo);
    const chunk = this.#own.subarray(0, size);
    exchange.sink.onHead(head, null);
    return exchange.live ? this.#deliver(exchange, chunk, leftoverBytes) : READ_ON;
  }

  #readBody(exchange: Exchange, buffer: Buffer, end: number): number {
    const { body } = this.parser;
    body.read(buffer, 0, end);
    if (body.problem !== '') return READ_INVALID;
    const whole = body.payloadFrom === 0 && body.payloadTo === buffer.length;
    const chunk = whole ? buffer : buffer.subarray(body.payloadFrom, body.payloadTo);
    const result = this.#deliver(exchange, chunk, end - body.at);
    // A body that fills its buffer gets a larger one: fewer calls per MiB.
    if (result === READ_BODY && end === buffer.length && this.#own !== null) {
      this.#own = this.#buffers.grow(this.#own, body.remainingBytes);
    }
    return result;
  }

  #deliver(exchange: Exchange, chunk: Buffer, leftoverBytes: number): number {
    const flowing = chunk.length === 0 || this.#passOn(exchange, chunk);
    if (!exchange.live) return READ_ON;
    if (this.parser.body.complete) {
      this.#complete(exchange, leftoverBytes);
      return READ_ON;
    }
    this.paused = !flowing;
    return flowing ? READ_BODY : READ_PAUSED;
  }

  #passOn(exchange: Exchange, chunk: Buffer): boolean {
    this.#delivering = true;
    this.#resumed = false;
    try {
      return exchange.sink.onBody(chunk) || this.#resumed;
    } finally {
      this.#delivering = false;
    }
  }

  #complete(exchange: Exchange, leftoverBytes: number): void {
    const { trailers } = this.parser.body;
    this.#events.onComplete(exchange, leftoverBytes);
    exchange.complete(trailers);
  }

  /** resume tells whether the wire must be resumed. */
  resume(): boolean {
    if (this.#delivering) this.#resumed = true;
    if (this.#delivering || !this.paused) return false;
    this.paused = false;
    return true;
  }

  /** endOfInput handles the backend's FIN. false: the response is incomplete. */
  endOfInput(exchange: Exchange): boolean {
    if (this.#own === null || !this.parser.body.endOfInput()) return false;
    this.#complete(exchange, 0);
    return true;
  }

  /** finish ends the response and hands over its buffer, if it had one: the caller gives or drops it (BodyBuffers). */
  finish(): Buffer<ArrayBuffer> | null {
    const own = this.#own;
    this.#own = null;
    this.parser.forget();
    return own;
  }
}
