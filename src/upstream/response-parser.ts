/**
 * Parses the responses of one connection to a backend. It keeps no reference to a buffer: the beginning of an incomplete head is
 * copied. A head that two parsers could read in two ways is refused, because the bytes after it would be somebody else's answer.
 */
import { CHUNKED_BODY, NO_BODY } from '../contract/request-head.ts';
import { BodyReader, UNTIL_CLOSE_BODY } from '../http1/body-reader.ts';
import { HEADERS_MAX_COUNT, withoutFields } from '../http1/field-lines.ts';
import { CR, isAt, LF, lengthOf, SPACE, TEXT_BYTES, ZERO } from '../http1/head-bytes.ts';
import { HEAD_INCOMPLETE, HEAD_MALFORMED, HeadReader } from '../http1/head-reader.ts';
import * as names from '../http1/header-names.ts';
import { PendingBytes } from '../memory/pending-bytes.ts';
import { INTERIM_MAX_COUNT, ResponseHead } from './upstream-request.ts';

/** Results of ResponseParser.readHead. */
export const HEAD_MORE = 0;
export const HEAD_INTERIM = 1;
export const HEAD_FINAL = 2;
export const HEAD_INVALID = 3;
/** A 101 to a request that asked for it: what follows is another protocol. */
export const HEAD_SWITCHED = 4;

/** Most bytes of one head, and of all interim heads of one response together. */
const HEAD_MAX_BYTES = 65_536;
const PROTOCOL = Buffer.from('HTTP/1.', 'latin1');
/** `HTTP/1.1 200`; a space and the reason may follow. */
const STATUS_END = 12;

const NO_HEAD = new ResponseHead();

/** ResponseParser is owned by a connection: start() before each request, readHead() until HEAD_FINAL, then body.read(). */
export class ResponseParser extends HeadReader {
  /** The head that readHead found. */
  head = NO_HEAD;
  /** Index, in the buffer of the last readHead, of the first byte that is not consumed. */
  at = 0;
  /** Whether the connection may serve again after this response (RFC 9112 §9.3). */
  persistent = false;
  /** The backend may send a body where none is allowed, and the next answer would begin with it. */
  mayOverrun = false;
  /** Seconds of the backend's `Keep-Alive: timeout=`, -1 without. */
  keepAliveSec = -1;
  /** The body after the final head. */
  readonly body = new BodyReader({ refusesFramingTrailers: false });

  /** A control byte in the reason phrase drops only the phrase; in a field it makes the response invalid. */
  protected override readonly controlsInFirstLine = true;
  #isAnswerToHead = false;
  #maySwitch = false;
  /** The beginning of an incomplete head. Made when one first comes: most connections never see one. */
  #pending: PendingBytes | null = null;
  #interimCount = 0;
  #interimBytes = 0;

  // Of the head that is being read.
  #minor = 1;
  #chunked = false;
  #closing = false;
  #named: Set<string> | null = null;
  #upgrade = '';
  #namesUpgrade = false;

  /** @param maySwitch whether the request asked for another protocol */
  start(method: string, maySwitch = false): void {
    this.#isAnswerToHead = method === 'HEAD';
    this.#maySwitch = maySwitch;
    this.forget();
    this.#interimCount = this.#interimBytes = 0;
    this.problem = '';
  }

  /** forget drops the texts of the last response, so that a parked connection does not keep them. */
  forget(): void {
    this.forgetText();
    this.head = NO_HEAD;
    this.lines = '';
  }

  /** readHead consumes bytes from…to-1 up to the end of one head. After HEAD_INVALID the reason is in `problem`. */
  readHead(buffer: Buffer, from: number, to: number): number {
    const pending = this.#pending;
    let bytes = buffer;
    let start = from;
    let stop = to;
    const isJoined = pending !== null && pending.length > 0;
    if (isJoined) {
      pending.append(buffer, from, to);
      ({ buffer: bytes, from: start, to: stop } = pending);
    }
    const end = this.findHead(bytes, start, stop, HEAD_MAX_BYTES + 1);
    if (end === HEAD_MALFORMED) return HEAD_INVALID;
    if ((end === HEAD_INCOMPLETE ? stop : end) - start > HEAD_MAX_BYTES)
      return this.#invalid('head too large');
    if (end === HEAD_INCOMPLETE) {
      this.at = to;
      if (!beginsLikeHead(bytes, start, stop)) return this.#invalid('not an HTTP/1.x head');
      this.#pending ??= new PendingBytes();
      if (!isJoined) this.#pending.append(buffer, from, to);
      return HEAD_MORE;
    }
    // The bytes after the head are the last ones of this read.
    this.at = to - (stop - end);
    pending?.clear();
    return this.#conclude(end - start);
  }

  protected override parse(bytes: Buffer, from: number, to: number): number {
    this.keepAliveSec = -1;
    this.#chunked = this.#closing = this.#namesUpgrade = false;
    this.#upgrade = '';
    this.#named = null;
    this.head = new ResponseHead();
    const linesAt = this.#readStatusLine(bytes, from, to);
    return linesAt < 0 ? linesAt : this.readLines(bytes, linesAt, to, HEADERS_MAX_COUNT);
  }

  /** `HTTP/1.[01] SP 3DIGIT [SP reason]`, RFC 9112 §4; the last SP is optional, since backends leave it out. */
  #readStatusLine(bytes: Uint8Array, from: number, to: number): number {
    let eol = from;
    let dirty = false;
    for (; eol < to && bytes[eol] !== CR; eol++) {
      if (TEXT_BYTES[bytes[eol]!] === 1) continue;
      if (bytes[eol] === LF) return this.malformed('bad status line');
      dirty = true;
    }
    if (eol + 1 >= to) return HEAD_INCOMPLETE;
    if (bytes[eol + 1] !== LF || !this.#takeStatus(bytes, from, eol)) {
      return this.malformed('bad status line');
    }
    this.head.reason = dirty ? '' : this.cutText(from + STATUS_END + 1, eol);
    return eol + 2;
  }

  #takeStatus(bytes: Uint8Array, from: number, eol: number): boolean {
    const end = from + STATUS_END;
    if (eol < end || (eol > end && bytes[end] !== SPACE)) return false;
    if (!isAt(bytes, from, PROTOCOL)) return false;
    this.#minor = bytes[from + PROTOCOL.length]! - ZERO;
    if ((this.#minor !== 0 && this.#minor !== 1) || bytes[from + PROTOCOL.length + 1] !== SPACE) return false;
    let status = 0;
    for (let i = end - 3; i < end; i++) {
      const digit = bytes[i]! - ZERO;
      if (digit < 0 || digit > 9) return false;
      status = status * 10 + digit;
    }
    this.head.status = status;
    return status >= 100 && status <= 599;
  }

  /** The most frequent special fields are read without a string. */
  protected override takeBytes(kind: number, bytes: Uint8Array, from: number, to: number): boolean | null {
    if (kind === names.DATE) {
      this.head.hasDate = true;
      return true;
    }
    if (kind !== names.CONTENT_LENGTH) return null;
    const length = lengthOf(bytes, from, to);
    if (this.head.contentLength >= 0 || length < 0) return this.refuse('bad Content-Length');
    this.head.contentLength = length;
    return false;
  }

  protected override take(kind: number, _name: string, value: string): boolean {
    switch (kind) {
      case names.TRANSFER_ENCODING:
        // With any other coding Sluice could not find the end of the body.
        if (this.#chunked || !names.isChunked(value))
          return this.refuse('Transfer-Encoding other than chunked');
        this.#chunked = true;
        return false;
      case names.CONNECTION:
        this.#takeConnection(value);
        return false;
      case names.KEEP_ALIVE:
        this.keepAliveSec = keepAliveTimeoutSec(value);
        return false;
      case names.HOP_BY_HOP:
      case names.PROXY_CONNECTION:
      case names.TE:
      case names.TRAILER:
        return false;
      case names.UPGRADE:
        // Two of them are a list, which names no protocol that was asked for.
        this.#upgrade += this.#upgrade === '' ? value : `,${value}`;
        return false;
      case names.X_REQUEST_ID:
        this.head.hasRequestId = true;
        return true;
      default:
        return true;
    }
  }

  #takeConnection(value: string): void {
    if (value === 'keep-alive') return;
    for (const token of names.connectionTokens(value)) {
      if (token === 'close') this.#closing = true;
      else if (token === 'upgrade') this.#namesUpgrade = true;
      else if (!names.isProtected(token)) {
        this.#named ??= new Set();
        this.#named.add(token);
      }
    }
  }

  /** Decides how the body ends, and begins it. @param headBytes the length of the head */
  #conclude(headBytes: number): number {
    const head = this.head;
    const { status, contentLength } = head;
    const chunked = this.#chunked;
    if (chunked && contentLength >= 0) return this.#invalid('Content-Length with Transfer-Encoding');
    if (chunked && this.#minor === 0) return this.#invalid('Transfer-Encoding in HTTP/1.0');
    const bodiless = status < 200 || status === 204;
    // RFC 9112 §6.3, in its order.
    let bodyLength = UNTIL_CLOSE_BODY;
    if (bodiless || status === 304 || this.#isAnswerToHead || contentLength === 0) bodyLength = NO_BODY;
    else if (chunked) bodyLength = CHUNKED_BODY;
    else if (contentLength > 0) bodyLength = contentLength;
    // Not a 304 to GET: it may carry the Content-Length that a 200 would have (RFC 9110 §8.6).
    this.mayOverrun =
      (this.#isAnswerToHead && contentLength !== 0) || (status === 204 && (contentLength > 0 || chunked));
    const isOpen = this.#minor === 1 && !this.#closing && bodyLength !== UNTIL_CLOSE_BODY;
    this.persistent = isOpen && !this.mayOverrun;
    head.lines = this.#named === null ? this.lines : withoutFields(this.lines, this.#named);
    // The set may take twenty times the bytes of its field.
    this.#named = null;
    head.hasBody = bodyLength !== NO_BODY;
    if (status === 101) return this.#switched(contentLength);
    if (bodiless) head.contentLength = -1;
    if (status < 200) return this.#interim(headBytes);
    this.body.start(bodyLength);
    return HEAD_FINAL;
  }

  #interim(headBytes: number): number {
    // The next read may bring other bytes into the same memory.
    this.forgetText();
    this.#interimBytes += headBytes;
    const isTooMuch = ++this.#interimCount > INTERIM_MAX_COUNT || this.#interimBytes > HEAD_MAX_BYTES;
    return isTooMuch ? this.#invalid('too many interim responses') : HEAD_INTERIM;
  }

  /** No backend may switch that was not asked to (RFC 9110 §15.2.2), and nothing may stand between the head and the other protocol. */
  #switched(contentLength: number): number {
    // The next read may bring other bytes into the same memory.
    this.forgetText();
    if (!this.#maySwitch) return this.#invalid('unsolicited 101');
    if (this.#minor === 0) return this.#invalid('101 in HTTP/1.0');
    if (this.#chunked || contentLength > 0) return this.#invalid('101 with a body');
    this.head.upgrade = this.#namesUpgrade ? this.#upgrade : '';
    return HEAD_SWITCHED;
  }

  #invalid(problem: string): number {
    this.problem = problem;
    return HEAD_INVALID;
  }

  /** payloadText is the payload of the last body.read as latin1. That read must have brought the head, too. */
  payloadText(buffer: Buffer): string {
    const { payloadFrom: from, payloadTo: to, length } = this.body;
    // The payload of chunks was moved after the buffer became text.
    const isText = length !== CHUNKED_BODY && this.buffer === buffer && to - this.base <= this.text.length;
    return isText ? this.cutText(from, to) : buffer.toString('latin1', from, to);
  }
}

function keepAliveTimeoutSec(value: string): number {
  const found = /(?:^|[\s,;])timeout\s*=\s*(\d{1,9})/i.exec(value);
  return found === null ? -1 : Number(found[1]);
}

/** Refuses a backend that speaks another protocol at its first bytes, instead of at the deadline. */
function beginsLikeHead(bytes: Uint8Array, from: number, to: number): boolean {
  for (let i = 0; i < PROTOCOL.length && from + i < to; i++)
    if (bytes[from + i] !== PROTOCOL[i]) return false;
  return true;
}
