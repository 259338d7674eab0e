/**
 * Reads one response head: from bytes to facts. It is strict where RFC 9112 lets a recipient choose. A head that two parsers
 * could read in two ways is refused, because the bytes behind it would then be somebody else's answer.
 */
import { CHUNKED_BODY, NO_BODY } from '../contract/request-head.ts';
import { UNTIL_CLOSE_BODY } from '../http1/body-reader.ts';
import { HEADERS_MAX_COUNT, withoutFields } from '../http1/field-lines.ts';
import { FieldReader, HEAD_INCOMPLETE, HEAD_MALFORMED } from '../http1/field-reader.ts';
import { CR, LF, lengthOf, SPACE, TEXT_BYTES, ZERO } from '../http1/head-bytes.ts';
import * as names from '../http1/header-names.ts';
import type { ResponseHead } from './exchange.ts';

/** Bytes of one head, and of all interim heads of one response together. */
export const HEAD_MAX_BYTES = 65_536;

const NINE = 57;
const PROTOCOL = Buffer.from('HTTP/1.', 'latin1');
/** `HTTP/1.1 200`; a space and the reason may follow. */
const STATUS_END = 12;

/** HeadReader is owned by a response parser, for all of its heads. */
export class HeadReader extends FieldReader {
  /** The head that the last read found, or null. */
  head: ResponseHead | null = null;
  /** The length of the body that follows: exact bytes, NO_BODY, CHUNKED_BODY or UNTIL_CLOSE_BODY. */
  bodyLength = NO_BODY;
  /** Whether the backend keeps the connection open after this response (RFC 9112 §9.3). */
  persistent = false;
  /** Seconds of the backend's `Keep-Alive: timeout=`, -1 without. */
  keepAliveSec = -1;

  #minor = 1;
  #status = 0;
  #reason = '';
  #contentLength = -1;
  #chunked = false;
  #closing = false;
  #hasDate = false;
  #hasRequestId = false;
  #named: Set<string> | null = null;

  /**
   * read reads the head at the front of the bytes.
   * @param text the same bytes as latin1, which begin at `from` in them
   * @param isAnswerToHead whether HEAD was asked, so that no body follows whatever the fields say
   * @returns the index behind the head, HEAD_INCOMPLETE or HEAD_MALFORMED
   */
  read(bytes: Uint8Array, from: number, text: string, isAnswerToHead: boolean): number {
    const to = from + text.length;
    this.head = null;
    this.problem = '';
    this.keepAliveSec = -1;
    this.#contentLength = -1;
    this.#chunked = this.#closing = this.#hasDate = this.#hasRequestId = false;
    this.#named = null;
    this.text = text;
    this.base = from;
    let at = this.#readStatusLine(bytes, from, to);
    if (at > 0) at = this.readLines(bytes, at, to, HEADERS_MAX_COUNT);
    if (at > 0 && !this.#conclude(isAnswerToHead)) at = HEAD_MALFORMED;
    this.text = '';
    return at;
  }

  /** forget drops the texts of the last head. */
  forget(): void {
    this.head = null;
    this.lines = this.#reason = '';
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
    // A control byte in the reason only costs the reason; one in a field, the whole response.
    this.#reason = dirty ? '' : this.cutText(from + STATUS_END + 1, eol);
    return eol + 2;
  }

  #takeStatus(bytes: Uint8Array, from: number, eol: number): boolean {
    const end = from + STATUS_END;
    if (eol < end || (eol > end && bytes[end] !== SPACE)) return false;
    if (!beginsLikeHead(bytes, from, eol)) return false;
    this.#minor = bytes[from + PROTOCOL.length]! - ZERO;
    if ((this.#minor !== 0 && this.#minor !== 1) || bytes[from + PROTOCOL.length + 1] !== SPACE) return false;
    let status = 0;
    for (let i = end - 3; i < end; i++) {
      const digit = bytes[i]!;
      if (digit < ZERO || digit > NINE) return false;
      status = status * 10 + digit - ZERO;
    }
    this.#status = status;
    return status >= 100 && status <= 599;
  }

  /** The most frequent special fields are read without a string. */
  protected override takeBytes(kind: number, bytes: Uint8Array, from: number, to: number): boolean | null {
    if (kind === names.CONTENT_LENGTH) return this.#takeLength(lengthOf(bytes, from, to));
    if (kind !== names.DATE) return null;
    this.#hasDate = true;
    return true;
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
      case names.UPGRADE:
        return false;
      case names.X_REQUEST_ID:
        this.#hasRequestId = true;
        return true;
      default:
        return true;
    }
  }

  /** @param length -1 for an invalid value */
  #takeLength(length: number): boolean {
    if (this.#contentLength >= 0 || length < 0) {
      return this.refuse('bad Content-Length');
    }
    this.#contentLength = length;
    return false;
  }

  #takeConnection(value: string): void {
    if (value === 'keep-alive') return;
    for (const token of names.connectionTokens(value)) {
      if (token === 'close') this.#closing = true;
      else if (!names.isProtected(token)) {
        this.#named ??= new Set();
        this.#named.add(token);
      }
    }
  }

  /** The length of the body by RFC 9112 §6.3, in its order. */
  #conclude(isAnswerToHead: boolean): boolean {
    const status = this.#status;
    const chunked = this.#chunked;
    if (chunked && this.#contentLength >= 0) return this.refuse('Content-Length with Transfer-Encoding');
    if (chunked && this.#minor === 0) return this.refuse('Transfer-Encoding in HTTP/1.0');
    const bodiless = status < 200 || status === 204;
    const lengthAnnounced = this.#contentLength > 0;
    if (bodiless || status === 304 || isAnswerToHead || this.#contentLength === 0) this.bodyLength = NO_BODY;
    else if (chunked) this.bodyLength = CHUNKED_BODY;
    else this.bodyLength = lengthAnnounced ? this.#contentLength : UNTIL_CLOSE_BODY;
    this.persistent =
      this.#minor === 1 &&
      !this.#closing &&
      this.bodyLength !== UNTIL_CLOSE_BODY &&
      // A backend that announces a body where none is allowed could send it, and the next answer would begin with it. Not so
      // with a 304: its Content-Length is that of the 200 (RFC 9110 §8.6), and it ends with its head (RFC 9112 §6.3).
      !(isAnswerToHead && this.#contentLength !== 0) &&
      !(status === 204 && (lengthAnnounced || chunked));
    this.head = {
      status,
      reason: this.#reason,
      lines: this.#linesNotNamed(),
      contentLength: bodiless ? -1 : this.#contentLength,
      hasBody: this.bodyLength !== NO_BODY,
      hasDate: this.#hasDate,
      hasRequestId: this.#hasRequestId,
    };
    return true;
  }

  /** Drops the set as well: it may take twenty times the bytes of its field. */
  #linesNotNamed(): string {
    const named = this.#named;
    this.#named = null;
    return named === null ? this.lines : withoutFields(this.lines, named);
  }
}

function keepAliveTimeoutSec(value: string): number {
  const found = /(?:^|[\s,;])timeout\s*=\s*(\d{1,9})/i.exec(value);
  return found === null ? -1 : Number(found[1]);
}

/** beginsLikeHead refuses a backend that speaks another protocol at its first bytes, instead of at the deadline. */
export function beginsLikeHead(bytes: Uint8Array, from: number, to: number): boolean {
  const end = Math.min(to - from, PROTOCOL.length);
  for (let i = 0; i < end; i++) if (bytes[from + i] !== PROTOCOL[i]) return false;
  return true;
}
