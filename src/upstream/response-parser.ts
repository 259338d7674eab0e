/**
 * Parses the responses of one connection to a backend: its owner hands it what a read brought, and it says what that means. It
 * keeps no reference to a buffer; the beginning of an incomplete head is copied.
 */
import { CHUNKED_BODY } from '../contract/request-head.ts';
import { BodyReader } from '../http1/body-reader.ts';
import { HEAD_INCOMPLETE, HEAD_MALFORMED } from '../http1/field-reader.ts';
import { PartialHead } from '../http1/partial-head.ts';
import { PendingBytes } from '../http1/pending-bytes.ts';
import type { ResponseHead } from './exchange.ts';
import { beginsLikeHead, HEAD_MAX_BYTES, HeadReader } from './response-head.ts';

/** Results of ResponseParser.readHead. */
export const HEAD_MORE = 0;
export const HEAD_INTERIM = 1;
export const HEAD_FINAL = 2;
export const HEAD_INVALID = 3;

const INTERIM_MAX_COUNT = 16;
/** A read up to this size is most often one small answer: all of it becomes text at once, by one call. */
const SMALL_READ_BYTES = 18_432;
/** Of a larger read this much becomes text at first: heads are small, and bodies need not become text. */
const TEXT_SEARCH_BYTES = 4096;

/** ResponseParser is owned by a connection: start() before each request, readHead() until HEAD_FINAL, then body.read(). */
export class ResponseParser {
  /** The head that readHead found; null before. */
  head: ResponseHead | null = null;
  /** Index, in the buffer of the last readHead, of the first byte that is not consumed. */
  at = 0;
  /** Why a head is invalid; '' while it is not. */
  problem = '';
  /** The body behind the final head. */
  readonly body = new BodyReader({ refusesFramingTrailers: false });

  readonly #reader = new HeadReader();
  #isAnswerToHead = false;
  /** The beginning of an incomplete head. Both are made with the first one: most connections never see one. */
  #pending: PendingBytes | null = null;
  #partial: PartialHead | null = null;
  /** The read that held the last head, as text from its byte `#textFrom` on; '' where it is not kept. */
  #text = '';
  #textFrom = 0;
  #interimCount = 0;
  #interimBytes = 0;

  start(method: string): void {
    this.#isAnswerToHead = method === 'HEAD';
    this.forget();
    this.#dropPartial();
    this.#interimCount = this.#interimBytes = 0;
    this.problem = '';
  }

  /** forget drops the texts of the last response, so that a parked connection does not keep them. */
  forget(): void {
    this.head = null;
    this.#text = '';
    this.#reader.forget();
  }

  /** See HeadReader. */
  get persistent(): boolean {
    return this.#reader.persistent;
  }

  /** See HeadReader. */
  get keepAliveSec(): number {
    return this.#reader.keepAliveSec;
  }

  /** readHead consumes bytes from…to-1 up to the end of one head. After HEAD_INVALID the reason is in `problem`. */
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
    if (head.status < 200) return this.#interim(head, found);
    this.body.start(this.#reader.bodyLength);
    return HEAD_FINAL;
  }

  /** The common case: the head came in one read. @returns its length, or what the reader says */
  #wholeHead(buffer: Buffer, from: number, to: number): number {
    let textTo = to - from <= SMALL_READ_BYTES ? to : from + TEXT_SEARCH_BYTES;
    let text = buffer.toString('latin1', from, textTo);
    let end = this.#reader.read(buffer, from, text, this.#isAnswerToHead);
    if (end === HEAD_INCOMPLETE && textTo < to) {
      textTo = Math.min(to, from + HEAD_MAX_BYTES + 1);
      text = buffer.toString('latin1', from, textTo);
      end = this.#reader.read(buffer, from, text, this.#isAnswerToHead);
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

  /** A further part of a head has come. */
  #joinedHead(pending: PendingBytes, buffer: Buffer, from: number, to: number): number {
    pending.append(buffer, from, to);
    const { buffer: bytes, from: start, to: joinedTo } = pending;
    if (this.#partial?.isDue(bytes, start, joinedTo) === false) return this.#incomplete(pending, to);
    const text = bytes.toString('latin1', start, Math.min(joinedTo, start + HEAD_MAX_BYTES + 1));
    const end = this.#reader.read(bytes, start, text, this.#isAnswerToHead);
    if (end === HEAD_INCOMPLETE) return this.#incomplete(pending, to);
    if (end === HEAD_MALFORMED) return end;
    // The bytes behind the head are the last ones of this read.
    this.at = to - (joinedTo - end);
    this.#dropPartial();
    return end - start;
  }

  /** Refuses the beginning of a head that can never become a right one. */
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
    // Sluice never asks to switch protocols, so no backend may (RFC 9110 §15.2.2).
    if (head.status === 101) return this.#refuse('unsolicited 101');
    this.#interimBytes += bytes;
    if (++this.#interimCount > INTERIM_MAX_COUNT || this.#interimBytes > HEAD_MAX_BYTES) {
      return this.#refuse('too many interim responses');
    }
    return HEAD_INTERIM;
  }

  #refuse(problem: string): number {
    this.problem = problem;
    return HEAD_INVALID;
  }

  /** payloadText is the payload of the last body.read as latin1. That read must have brought the head, too. */
  payloadText(buffer: Buffer): string {
    const { payloadFrom, payloadTo } = this.body;
    const text = this.#text;
    const from = payloadFrom - this.#textFrom;
    const to = payloadTo - this.#textFrom;
    this.#text = '';
    // The payload of chunks was moved after the buffer became text.
    const isMoved = this.body.length === CHUNKED_BODY;
    return isMoved || text === '' || to > text.length
      ? buffer.toString('latin1', payloadFrom, payloadTo)
      : text.slice(from, to);
  }

  /** endOfInput tells whether the response may end with the connection, which has just ended. */
  endOfInput(): boolean {
    return this.head !== null && this.body.endOfInput();
  }
}
