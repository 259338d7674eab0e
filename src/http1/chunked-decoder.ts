/**
 * Chunked transfer coding (RFC 9112 §7.1), decoded in place: the payload of a read is moved together, so that a hundred small
 * chunks are passed on as one piece.
 *
 * States, in order: SIZE (digits of a chunk size), EXTENSION (checked and skipped up to CR), SIZE_LF, then for a size above 0 DATA,
 * DATA_CR, DATA_LF and back to SIZE, for size 0 TRAILER (lines until an empty one) and COMPLETE. BROKEN is final too.
 */
import { HEADERS_MAX_COUNT, readTrailers } from './field-lines.ts';
import { CR, LF, TEXT_BYTES, TOKEN_BYTES } from './head-bytes.ts';
import { PendingBytes } from './pending-bytes.ts';

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
/** Bytes of all extensions of one body together (node's own bound); they are dropped. */
const EXTENSIONS_MAX_BYTES = 16_384;
const TRAILERS_MAX_BYTES = 16_384;

const SEMICOLON = 59;
const EQUALS = 61;
const QUOTE = 34;
const BACKSLASH = 92;
const CRLF_BYTES = 2;
const NONE: string[] = [];

/** ChunkedDecoder is owned by a BodyReader; start() once per body, then decode() once per read. */
export class ChunkedDecoder {
  /** Where the payload of the last decode() lies in its buffer. */
  payloadFrom = 0;
  payloadTo = 0;
  /** Index of the first byte behind the last decode(): the end of the read unless complete. */
  at = 0;
  /** Field pairs behind the body, filtered; valid when complete. */
  trailers: string[] = NONE;
  /** Empty while nothing is wrong. */
  problem = '';
  /** What a client that sent it is answered. */
  problemStatus = 400;

  #state = SIZE;
  #left = 0;
  #digits = 0;
  #extensionBytes = 0;
  #extensionPart = 0;
  readonly #trailerBytes = new PendingBytes();
  #trailerCount = 0;
  /** Of the trailer line under way. */
  #lineBytes = 0;
  #lastByte = 0;
  readonly #refusesFramingTrailers: boolean;

  /** @param refusesFramingTrailers see BodyReader */
  constructor(refusesFramingTrailers = false) {
    this.#refusesFramingTrailers = refusesFramingTrailers;
  }

  get complete(): boolean {
    return this.#state === COMPLETE;
  }

  start(): void {
    this.#state = SIZE;
    this.#left = this.#digits = this.#extensionBytes = 0;
    this.#trailerBytes.clear();
    this.#trailerCount = this.#lineBytes = this.#lastByte = 0;
    this.trailers = NONE;
    this.problem = '';
    this.problemStatus = 400;
  }

  /** decode consumes bytes from..to-1 up to the end of the body and moves their payload to payloadFrom..payloadTo-1. */
  decode(buffer: Buffer, from: number, to: number): void {
    let at = from;
    this.payloadFrom = this.payloadTo = from;
    while (at < to && this.#state < COMPLETE) {
      if (this.#state === DATA) at = this.#takeData(buffer, at, to);
      else if (this.#state === TRAILER) at = this.#takeTrailer(buffer, at, to);
      else this.#takeFraming(buffer[at++]!);
    }
    this.at = at;
  }

  #takeData(buffer: Buffer, at: number, to: number): number {
    const count = Math.min(this.#left, to - at);
    // The first piece stays where it is; later ones close the gaps that framing left.
    if (this.payloadTo === this.payloadFrom) this.payloadFrom = this.payloadTo = at;
    else buffer.copyWithin(this.payloadTo, at, at + count);
    this.payloadTo += count;
    this.#left -= count;
    if (this.#left === 0) this.#state = DATA_CR;
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
      case DATA_CR:
        if (byte === CR) this.#state = DATA_LF;
        else this.#break('chunk longer than its size');
        break;
      default:
        if (byte === LF) this.#state = SIZE;
        else this.#break('chunk longer than its size');
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
    else if (this.#digits > 0 && byte === SEMICOLON) {
      this.#state = EXTENSION;
      this.#extensionPart = PART_START;
    } else this.#break('bad chunk size');
  }

  /** `;name`, `;name=value` or `;name="value"`, without blanks (RFC 9112 §7.1.1); as strict as llhttp. */
  #takeExtension(byte: number): void {
    if (++this.#extensionBytes > EXTENSIONS_MAX_BYTES) {
      this.#break('chunk extensions too large', 413);
      return;
    }
    const part = nextPart(this.#extensionPart, byte);
    if (part === PART_BAD) this.#break('bad chunk extension');
    else if (part === PART_END) this.#state = SIZE_LF;
    this.#extensionPart = part;
  }

  /** Collects the section up to its empty line, and parses it as a whole. */
  #takeTrailer(buffer: Buffer, at: number, to: number): number {
    const bytes = this.#trailerBytes;
    const mostTo = Math.min(to, at + TRAILERS_MAX_BYTES - bytes.length);
    let isWhole = false;
    let end = at;
    while (end < mostTo && !isWhole && this.#state === TRAILER) isWhole = this.#endsTrailers(buffer[end++]!);
    if (this.#state !== TRAILER) return end;
    bytes.append(buffer, at, end);
    if (isWhole) this.#finish(bytes.buffer.toString('latin1', bytes.from, bytes.to - CRLF_BYTES));
    else if (end === mostTo && end < to) this.#break('trailers too large', 431);
    return end;
  }

  #endsTrailers(byte: number): boolean {
    const isLineEnd = byte === LF && this.#lastByte === CR;
    this.#lastByte = byte;
    this.#lineBytes += 1;
    if (byte !== LF) return false;
    if (!isLineEnd) this.#break('bad trailer');
    else if (this.#lineBytes === CRLF_BYTES) return true;
    else if (++this.#trailerCount > HEADERS_MAX_COUNT) this.#break('too many trailers', 431);
    this.#lineBytes = 0;
    return false;
  }

  #finish(text: string): void {
    this.#trailerBytes.clear();
    const trailers = text === '' ? NONE : readTrailers(text, this.#refusesFramingTrailers);
    if (trailers === null) {
      this.#break('bad trailer');
      return;
    }
    this.trailers = trailers;
    this.#state = COMPLETE;
  }

  #break(problem: string, status = 400): void {
    this.problem = problem;
    this.problemStatus = status;
    this.#state = BROKEN;
    this.#trailerBytes.clear();
  }
}

/** Value of a hexadecimal digit, -1 for any other byte. */
function hexDigit(byte: number): number {
  if (byte >= 48 && byte <= 57) return byte - 48;
  const lower = byte | 32;
  return lower >= 97 && lower <= 102 ? lower - 87 : -1;
}

/** Where in an extension the next byte stands. */
const PART_START = 0;
const PART_NAME = 1;
const PART_VALUE = 2;
const PART_QUOTED = 3;
const PART_ESCAPED = 4;
const PART_CLOSED = 5;
const PART_END = 6;
const PART_BAD = 7;

function nextPart(part: number, byte: number): number {
  switch (part) {
    case PART_START:
      if (byte === CR) return PART_BAD;
      return nextPart(PART_NAME, byte);
    case PART_NAME:
    case PART_VALUE:
      if (TOKEN_BYTES[byte] !== 0) return part;
      if (byte === EQUALS && part === PART_NAME) return PART_VALUE;
      if (byte === QUOTE && part === PART_VALUE) return PART_QUOTED;
      return behindExtension(byte);
    case PART_QUOTED:
      if (byte === QUOTE) return PART_CLOSED;
      if (byte === BACKSLASH) return PART_ESCAPED;
      return TEXT_BYTES[byte] === 1 ? PART_QUOTED : PART_BAD;
    case PART_ESCAPED:
      return TEXT_BYTES[byte] === 1 ? PART_QUOTED : PART_BAD;
    default:
      return behindExtension(byte);
  }
}

function behindExtension(byte: number): number {
  if (byte === CR) return PART_END;
  return byte === SEMICOLON ? PART_START : PART_BAD;
}
