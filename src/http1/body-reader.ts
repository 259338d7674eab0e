/**
 * Finds the payload and the end of a message body: of an exact length, in chunks (RFC 9112 §7.1), or until the connection
 * closes. It works inside the buffer of each read and keeps no reference to it. The payload of many small chunks is moved
 * together, so that they are passed on as one piece.
 *
 * States of a body in chunks: SIZE (digits of a chunk size), EXTENSION (checked and dropped), SIZE_LF; then for a size above 0
 * DATA, DATA_CR, DATA_LF and SIZE again, for size 0 TRAILER (line by line, until an empty one) and COMPLETE. A body of another kind
 * has only DATA and COMPLETE. BROKEN is final, too.
 */
import { CHUNKED_BODY, NO_BODY } from '../contract/request-head.ts';
import { PendingBytes, type PendingOwner } from '../memory/pending-bytes.ts';
import * as extension from './chunk-extension.ts';
import { HEADERS_MAX_COUNT, readTrailer } from './field-lines.ts';
import { CR, LF } from './head-bytes.ts';

/** A body that ends with its connection (RFC 9112 §6.3, last case). Responses only; see also NO_BODY, CHUNKED_BODY. */
export const UNTIL_CLOSE_BODY = -3;

const SIZE = 0;
const EXTENSION = 1;
const SIZE_LF = 2;
const DATA = 3;
const DATA_CR = 4;
const DATA_LF = 5;
const TRAILER = 6;
const COMPLETE = 7;
const BROKEN = 8;

/** A 64-bit size has 16 digits. More are leading zeros, or an attack on parsers that overflow. */
const SIZE_DIGITS_MAX = 16;
/** All extensions of one body together; node allows as much for each chunk. */
const EXTENSIONS_MAX_BYTES = 16_384;
/** Of a request, whatever its protocol. */
export const TRAILERS_MAX_BYTES = 16_384;
const CRLF = '\r\n';
const NONE: string[] = [];

/** BodyReader is owned by a parser of either direction: start() once per body, then read() once per read. */
export class BodyReader {
  /** The payload of the last read is payloadFrom…payloadTo-1 of its buffer. */
  payloadFrom = 0;
  payloadTo = 0;
  /** Index of the first byte after the last read: the end of the read, or of the body where that is complete. */
  at = 0;
  /** Exact bytes, or NO_BODY, CHUNKED_BODY, UNTIL_CLOSE_BODY. */
  length = NO_BODY;
  /** Name, value, name, value… of the trailers that may pass; valid once the body is complete. */
  trailers: string[] = NONE;
  /** Why the body is malformed; '' while it is not. */
  problem = '';
  /** The status that answers the problem: 400, 413, 431. */
  problemStatus = 400;
  /** A trailer line that has come in part. */
  readonly line: PendingBytes;

  #state = COMPLETE;
  /** Payload bytes still to come: of the chunk, or of the body where it is not in chunks. */
  #left = 0;
  #digits = 0;
  #extensionBytes = 0;
  #extensionPart = extension.START;
  #trailerBytes = 0;
  #trailerCount = 0;
  readonly #refusesFramingTrailers: boolean;

  /** @param options refusesFramingTrailers: a trailer that frames a message breaks the body instead of being left out */
  constructor(options: { refusesFramingTrailers: boolean; owner?: PendingOwner }) {
    this.#refusesFramingTrailers = options.refusesFramingTrailers;
    this.line = new PendingBytes(options.owner);
  }

  start(length: number): void {
    this.length = length;
    this.trailers = NONE;
    this.problem = '';
    this.#left = length === UNTIL_CLOSE_BODY ? Number.POSITIVE_INFINITY : Math.max(0, length);
    if (length === CHUNKED_BODY) {
      this.#state = SIZE;
      this.#digits = this.#extensionBytes = this.#trailerBytes = this.#trailerCount = 0;
    } else this.#state = this.#left === 0 ? COMPLETE : DATA;
  }

  get complete(): boolean {
    return this.#state === COMPLETE;
  }

  /** Payload bytes that have not come yet; Infinity where only the end of the body will tell. */
  get remainingBytes(): number {
    return this.complete || this.length >= 0 ? this.#left : Number.POSITIVE_INFINITY;
  }

  /** read consumes bytes from…to-1 up to the end of the body (`at`), and moves their payload together. */
  read(buffer: Buffer, from: number, to: number): void {
    let at = from;
    this.payloadFrom = this.payloadTo = from;
    while (at < to && this.#state < COMPLETE) {
      if (this.#state === DATA) at = this.#takeData(buffer, at, to);
      else if (this.#state === TRAILER) at = this.#takeTrailer(buffer, at, to);
      else this.#takeFraming(buffer[at++]!);
    }
    this.at = at;
  }

  /** endOfInput tells whether the body may end with the connection, which has just ended. */
  endOfInput(): boolean {
    if (this.length !== UNTIL_CLOSE_BODY) return false;
    this.#state = COMPLETE;
    this.#left = 0;
    return true;
  }

  #takeData(buffer: Buffer, at: number, to: number): number {
    const count = Math.min(this.#left, to - at);
    // The first piece stays where it is; later ones close the gaps that framing left.
    if (this.payloadTo === this.payloadFrom) this.payloadFrom = this.payloadTo = at;
    else buffer.copyWithin(this.payloadTo, at, at + count);
    this.payloadTo += count;
    this.#left -= count;
    if (this.#left === 0) this.#state = this.length === CHUNKED_BODY ? DATA_CR : COMPLETE;
    return at + count;
  }

  #takeFraming(byte: number): void {
    switch (this.#state) {
      case SIZE:
        this.#takeSize(byte);
        break;
      case EXTENSION:
        this.#takeExtension(byte);
        break;
      case SIZE_LF:
        if (byte !== LF) this.#break('bad chunk size line');
        else this.#state = this.#left === 0 ? TRAILER : DATA;
        this.#digits = 0;
        break;
      default:
        if (byte !== (this.#state === DATA_CR ? CR : LF)) this.#break('chunk longer than its size');
        else this.#state = this.#state === DATA_CR ? DATA_LF : SIZE;
    }
  }

  #takeSize(byte: number): void {
    const digit = hexDigit(byte);
    if (digit >= 0) {
      if (this.#digits === SIZE_DIGITS_MAX || this.#left > (Number.MAX_SAFE_INTEGER - digit) / 16) {
        this.#break('chunk size too large');
        return;
      }
      this.#left = this.#left * 16 + digit;
      this.#digits++;
    } else if (this.#digits > 0 && byte === CR) this.#state = SIZE_LF;
    else if (this.#digits > 0 && byte === extension.SEMICOLON) {
      this.#state = EXTENSION;
      this.#extensionPart = extension.START;
    } else this.#break('bad chunk size');
  }

  #takeExtension(byte: number): void {
    if (++this.#extensionBytes > EXTENSIONS_MAX_BYTES) {
      this.#break('chunk extensions too large', 413);
      return;
    }
    this.#extensionPart = extension.nextPart(this.#extensionPart, byte);
    if (this.#extensionPart === extension.BAD) this.#break('bad chunk extension');
    else if (this.#extensionPart === extension.END) this.#state = SIZE_LF;
  }

  /** Takes one line of the trailer section, or the part of it that has come. */
  #takeTrailer(buffer: Buffer, at: number, to: number): number {
    let end = at;
    while (end < to && buffer[end] !== LF) end++;
    const isWhole = end < to;
    if (isWhole) end++;
    this.#trailerBytes += end - at;
    if (this.#trailerBytes > TRAILERS_MAX_BYTES) this.#break('trailers too large', 431);
    else if (isWhole && this.line.length === 0) this.#takeTrailerLine(buffer.toString('latin1', at, end));
    else {
      this.line.append(buffer, at, end);
      if (isWhole) this.#takeTrailerLine(this.line.takeText());
    }
    return end;
  }

  #takeTrailerLine(line: string): void {
    if (line === CRLF) {
      this.#state = COMPLETE;
      return;
    }
    const trailer = readTrailer(line, this.#refusesFramingTrailers);
    if (trailer === null) this.#break('bad trailer');
    else if (++this.#trailerCount > HEADERS_MAX_COUNT) this.#break('too many trailers', 431);
    else if (trailer.length > 0) this.trailers = this.trailers.concat(trailer);
  }

  #break(problem: string, status = 400): void {
    this.problem = problem;
    this.problemStatus = status;
    this.#state = BROKEN;
    this.line.clear();
  }
}

/** Value of a hexadecimal digit, -1 for any other byte. */
function hexDigit(byte: number): number {
  if (byte >= 48 && byte <= 57) return byte - 48;
  const lower = byte | 32;
  return lower >= 97 && lower <= 102 ? lower - 87 : -1;
}
