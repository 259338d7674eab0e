/**
 * The response side of one connection as a pull parser: it is handed what a read brought and says what that means. It
 * keeps no reference to a buffer; what must outlive a read is kept as text.
 */
import { CHUNKED_BODY } from '../contract/request-head.ts';
import { BodyReader } from '../http1/body-reader.ts';
import { HEAD_INCOMPLETE, HEAD_MALFORMED } from '../http1/field-reader.ts';
import { PartialHead } from '../http1/partial-head.ts';
import { PendingBytes } from '../http1/pending-bytes.ts';
import type { ResponseHead } from './exchange.ts';
import { beginsLikeHead, HEAD_MAX_BYTES, HeadReader } from './response-head.ts';

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

/** ResponseParser is owned by a connection; start() before each request, then readHead until FINAL, then body.read. */
export class ResponseParser {
  /** The head that readHead found; null before. */
  head: ResponseHead | null = null;
  /** Index of the first byte not yet consumed of the last buffer that readHead was given. */
  at = 0;
  /** What is wrong with a head; empty while nothing is. */
  problem = '';
  /** Of the final head that was read last. */
  readonly body = new BodyReader({ refusesFramingTrailers: false });

  readonly #reader = new HeadReader();
  #headRequest = false;
  /** The beginning of a head whose end has not come. Most connections never see one: made with the first. */
  #pending: PendingBytes | null = null;
  #partial: PartialHead | null = null;
  /** The read that holds the last head, as text from `#textFrom` on; '' when that is not there. */
  #text = '';
  #textFrom = 0;
  #interimCount = 0;
  #interimBytes = 0;

  start(method: string): void {
    this.#headRequest = method === 'HEAD';
    this.forget();
    this.#dropPartial();
    this.#interimCount = this.#interimBytes = 0;
    this.problem = '';
  }

  /** forget lets the text of the last response go, so that a parked connection does not keep it. */
  forget(): void {
    this.head = null;
    this.#text = '';
    this.#reader.forget();
  }

  /** Whether the backend keeps the connection open after this response (RFC 9112 §9.3). */
  get persistent(): boolean {
    return this.#reader.persistent;
  }

  /** Seconds of the backend's `Keep-Alive: timeout=`, -1 without. */
  get keepAliveSec(): number {
    return this.#reader.keepAliveSec;
  }

  /** readHead consumes bytes from..to-1 up to the end of one head. HEAD_INVALID leaves the reason in `problem`. */
  readHead(buffer: Buffer, from: number, to: number): number {
    this.#text = '';
    const pending = this.#pending;
    const found =
      pending === null || pending.length === 0
        ? this.#wholeHead(buffer, from, to)
        : this.#joinedHead(pending, buffer, from, to);
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
    if (end === HEAD_INCOMPLETE) {
      this.#pending ??= new PendingBytes();
      this.#pending.append(buffer, from, to);
      return this.#incomplete(this.#pending, to);
    }
    if (end === HEAD_MALFORMED) return end;
    this.#text = text;
    this.#textFrom = from;
    this.at = end;
    return end - from;
  }

  #joinedHead(pending: PendingBytes, buffer: Buffer, from: number, to: number): number {
    pending.append(buffer, from, to);
    const { buffer: bytes, from: start, to: joinedTo } = pending;
    if (this.#partial?.isDue(bytes, start, joinedTo) === false) return this.#incomplete(pending, to);
    const range = { from: start, to: Math.min(joinedTo, start + HEAD_MAX_BYTES + 1) };
    const text = bytes.toString('latin1', range.from, range.to);
    const end = this.#reader.read(bytes, range, text, this.#headRequest);
    if (end === HEAD_INCOMPLETE) return this.#incomplete(pending, to);
    if (end === HEAD_MALFORMED) return end;
    // The last read is the end of what was joined.
    this.at = to - (joinedTo - end);
    this.#dropPartial();
    return end - start;
  }

  /** Refuses a beginning that no rest could make right. */
  #incomplete(pending: PendingBytes, to: number): number {
    this.at = to;
    const { buffer, from, to: end } = pending;
    this.#partial ??= new PartialHead({ controlsInFirstLine: true });
    this.#partial.noteIncomplete(buffer, from, end);
    if (this.#partial.isBroken || !beginsLikeHead(buffer, from, end)) this.problem = 'not an HTTP/1.x head';
    if (end - from > HEAD_MAX_BYTES) this.problem = 'head too large';
    return HEAD_INCOMPLETE;
  }

  #dropPartial(): void {
    this.#pending?.clear();
    this.#partial?.restart();
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
    this.body.start(this.#reader.bodyLength);
    return HEAD_FINAL;
  }

  #refuse(problem: string): number {
    this.problem = problem;
    return HEAD_INVALID;
  }

  /** payloadText is what the last body.read found, as latin1; the same read must have brought the head. */
  payloadText(buffer: Buffer): string {
    const { payloadFrom, payloadTo } = this.body;
    const text = this.#text;
    const from = payloadFrom - this.#textFrom;
    const to = payloadTo - this.#textFrom;
    this.#text = '';
    // Payload of chunks has been moved in the buffer since.
    const moved = this.body.length === CHUNKED_BODY;
    return moved || text === '' || to > text.length
      ? buffer.toString('latin1', payloadFrom, payloadTo)
      : text.slice(from, to);
  }

  /** endOfInput tells whether a FIN here is the proper end of the body: only of one that lasts until close. */
  endOfInput(): boolean {
    return this.head !== null && this.body.endOfInput();
  }
}
