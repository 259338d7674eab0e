/**
 * The response side of one connection as a pull parser: it is handed what a read brought and says what that means. It
 * keeps no reference to a buffer; what must outlive a read is kept as text.
 */
import { ChunkedDecoder } from './chunked-decoder.ts';
import type { ResponseHead } from './exchange.ts';
import {
  BODY_CHUNKED,
  BODY_LENGTH,
  BODY_NONE,
  BODY_UNTIL_CLOSE,
  HEAD_INCOMPLETE,
  HEAD_MALFORMED,
  HEAD_MAX_BYTES,
  HeadReader,
  looksLikeHead,
} from './response-head.ts';

/** Answers of ResponseParser.readHead. */
export const HEAD_MORE = 0;
export const HEAD_INTERIM = 1;
export const HEAD_FINAL = 2;
export const HEAD_INVALID = 3;

const INTERIM_MAX_COUNT = 16;
/** A read up to this size is one small answer more often than not: all of it becomes text at once, by one call. */
const SMALL_READ_BYTES = 18_432;
/** A larger one is searched as text up to here, beyond as bytes: heads are small and bodies need not become text. */
const TEXT_SEARCH_BYTES = 4096;
const HEAD_END = '\r\n\r\n';
const HEAD_END_BYTES = HEAD_END.length;

/** ResponseParser is owned by a connection; start() before each request, then readHead until FINAL, then readBody. */
export class ResponseParser {
  /** The head that readHead found; null before. */
  head: ResponseHead | null = null;
  /** Index of the first byte not yet consumed of the last buffer. */
  at = 0;
  /** Payload of the last readBody: payloadFrom..payloadTo-1 of its buffer. */
  payloadFrom = 0;
  payloadTo = 0;
  /** Whether the body has come to its end by its framing. */
  complete = false;
  /** What is wrong; empty while nothing is. */
  problem = '';

  readonly #reader = new HeadReader();
  readonly #chunked = new ChunkedDecoder();
  #headRequest = false;
  /** Start of a head whose end has not come. A rope: appending is cheap, and it is flattened once. */
  #partial = '';
  #tail = '';
  /** The read that holds the last head, as text from `#textFrom` on; '' when that is not there. */
  #text = '';
  #textFrom = 0;
  #interimCount = 0;
  #interimBytes = 0;
  /** Bytes of a BODY_LENGTH body still to come. */
  #left = 0;

  start(method: string): void {
    this.#headRequest = method === 'HEAD';
    this.forget();
    this.#partial = this.#tail = '';
    this.#interimCount = this.#interimBytes = 0;
    this.complete = false;
    this.problem = '';
  }

  /** forget lets the text of the last response go, so that a parked connection does not keep it. */
  forget(): void {
    this.head = null;
    this.#text = '';
  }

  /** Whether the backend keeps the connection open after this response (RFC 9112 §9.3). */
  get persistent(): boolean {
    return this.#reader.persistent;
  }

  /** Seconds of the backend's `Keep-Alive: timeout=`, -1 without. */
  get keepAliveSec(): number {
    return this.#reader.keepAliveSec;
  }

  /** Body bytes still to come; Infinity where only the end will tell. */
  get remainingBytes(): number {
    return this.#reader.bodyKind === BODY_LENGTH ? this.#left : Number.POSITIVE_INFINITY;
  }

  /** Trailers of a complete chunked body. */
  get trailers(): string[] {
    return this.#reader.bodyKind === BODY_CHUNKED ? this.#chunked.trailers : [];
  }

  /** readHead consumes bytes from..to-1 up to the end of one head. HEAD_INVALID leaves the reason in `problem`. */
  readHead(buffer: Buffer, from: number, to: number): number {
    this.#text = '';
    const found =
      this.#partial === '' ? this.#wholeHead(buffer, from, to) : this.#joinedHead(buffer, from, to);
    if (found === HEAD_MALFORMED) return this.#refuse(this.#reader.problem);
    if (found === HEAD_INCOMPLETE) return this.problem === '' ? HEAD_MORE : HEAD_INVALID;
    const { head } = this.#reader;
    if (head === null || found > HEAD_MAX_BYTES) return this.#refuse('head too large');
    this.head = head;
    return head.status < 200 ? this.#interim(head, found) : this.#final();
  }

  /** The common case: the head came in one read. Returns its length, or what the reader says. */
  #wholeHead(buffer: Buffer, from: number, to: number): number {
    const isSmall = to - from <= SMALL_READ_BYTES;
    let textTo = isSmall ? to : from + TEXT_SEARCH_BYTES;
    let text = buffer.toString('latin1', from, textTo);
    let end = this.#reader.read(buffer, { from, to: textTo }, text, this.#headRequest);
    if (end === HEAD_INCOMPLETE && textTo < to) {
      textTo = Math.min(to, from + HEAD_MAX_BYTES + 1);
      text = buffer.toString('latin1', from, textTo);
      end = this.#reader.read(buffer, { from, to: textTo }, text, this.#headRequest);
    }
    if (end === HEAD_INCOMPLETE) return this.#keep(text, to);
    if (end === HEAD_MALFORMED) return end;
    this.#text = text;
    this.#textFrom = from;
    this.at = end;
    return end - from;
  }

  #joinedHead(buffer: Buffer, from: number, to: number): number {
    const text = buffer.toString('latin1', from, to);
    const tail = this.#tail;
    const end = (tail + text).indexOf(HEAD_END);
    if (end < 0) return this.#keep(text, to);
    const taken = end + HEAD_END_BYTES - tail.length;
    const head = this.#partial + text.slice(0, taken);
    this.at = from + taken;
    this.#partial = this.#tail = '';
    const bytes = Buffer.from(head, 'latin1');
    return this.#reader.read(bytes, { from: 0, to: bytes.length }, head, this.#headRequest);
  }

  /** Keeps the beginning of a head; refuses it at once when no rest could make it right. */
  #keep(text: string, to: number): number {
    this.at = to;
    if (!looksLikeHead(this.#tail, text, this.#partial === '')) this.problem = 'not an HTTP/1.x head';
    this.#partial += text;
    this.#tail = (this.#tail + text).slice(1 - HEAD_END_BYTES);
    if (this.#partial.length > HEAD_MAX_BYTES) this.problem = 'head too large';
    return HEAD_INCOMPLETE;
  }

  #interim(head: ResponseHead, bytes: number): number {
    // Switching protocols is never asked for, so nobody may do it (RFC 9110 §15.2.2).
    if (head.status === 101) return this.#refuse('unsolicited 101');
    this.#interimBytes += bytes;
    if (++this.#interimCount > INTERIM_MAX_COUNT || this.#interimBytes > HEAD_MAX_BYTES) {
      return this.#refuse('too many interim responses');
    }
    return HEAD_INTERIM;
  }

  #final(): number {
    const kind = this.#reader.bodyKind;
    if (kind === BODY_CHUNKED) this.#chunked.start();
    this.#left = kind === BODY_LENGTH ? (this.head?.contentLength ?? 0) : 0;
    this.complete = kind === BODY_NONE;
    return HEAD_FINAL;
  }

  #refuse(problem: string): number {
    this.problem = problem;
    return HEAD_INVALID;
  }

  /**
   * readBody consumes bytes from..to-1 up to the end of the body (`at`), moving payload together within them. Afterwards
   * `payload…`, `complete` and `problem` tell; bytes behind a complete body are the caller's to judge.
   */
  readBody(buffer: Buffer, from: number, to: number): void {
    switch (this.#reader.bodyKind) {
      case BODY_CHUNKED:
        this.#readChunked(buffer, from, to);
        return;
      case BODY_UNTIL_CLOSE:
        this.#took(from, to);
        return;
      default: {
        const count = Math.min(this.#left, to - from);
        this.#left -= count;
        this.complete = this.#left === 0;
        this.#took(from, from + count);
      }
    }
  }

  /** payloadText is what the last readBody found, as latin1; the same read must have brought the head. */
  payloadText(buffer: Buffer): string {
    const { payloadFrom, payloadTo } = this;
    const text = this.#text;
    const from = payloadFrom - this.#textFrom;
    const to = payloadTo - this.#textFrom;
    this.#text = '';
    // Payload of chunks has been moved in the buffer since.
    const moved = this.#reader.bodyKind === BODY_CHUNKED;
    return moved || text === '' || to > text.length
      ? buffer.toString('latin1', payloadFrom, payloadTo)
      : text.slice(from, to);
  }

  #took(from: number, to: number): void {
    this.payloadFrom = from;
    this.payloadTo = this.at = to;
  }

  #readChunked(buffer: Buffer, from: number, to: number): void {
    const chunked = this.#chunked;
    chunked.decode(buffer, from, to);
    this.payloadFrom = chunked.payloadFrom;
    this.payloadTo = chunked.payloadTo;
    this.at = chunked.at;
    this.complete = chunked.complete;
    this.problem = chunked.problem;
  }

  /** endOfInput tells whether a FIN here is the proper end of the body: only of one that lasts until close. */
  endOfInput(): boolean {
    if (this.head === null || this.#reader.bodyKind !== BODY_UNTIL_CLOSE) return false;
    this.complete = true;
    return true;
  }
}
