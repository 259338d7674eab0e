/**
 * One response head, from bytes to facts. Strict where RFC 9112 lets a recipient choose: whatever two parsers could read
 * in two ways is refused, because the bytes after the head are then somebody else's answer.
 */
import { CHUNKED_BODY, NO_BODY } from '../contract/request-head.ts';
import { HEADERS_MAX_COUNT, withoutFields } from '../http1/field-lines.ts';
import { FieldReader, HEAD_INCOMPLETE, HEAD_MALFORMED } from '../http1/field-reader.ts';
import { isChunked, lengthOf, UNTIL_CLOSE_BODY } from '../http1/framing.ts';
import { CR, LF, SPACE, TEXT_BYTES, ZERO } from '../http1/head-bytes.ts';
import {
  CONNECTION,
  CONTENT_LENGTH,
  connectionTokens,
  DATE,
  HOP_BY_HOP,
  isProtected,
  KEEP_ALIVE,
  PROXY_CONNECTION,
  TE,
  TRAILER,
  TRANSFER_ENCODING,
  UPGRADE,
  X_REQUEST_ID,
} from '../http1/header-names.ts';
import type { ResponseHead } from './exchange.ts';

/** Bytes of one head, and of all interim heads of one response together. */
export const HEAD_MAX_BYTES = 65_536;

interface ByteRange {
  from: number;
  /** Exclusive. */
  to: number;
}

const NINE = 57;
const PROTOCOL = Buffer.from('HTTP/1.', 'latin1');
/** `HTTP/1.1 200`; a space and the reason may follow. */
const STATUS_END = 12;

/** HeadReader is owned by a response parser and reused for each of its heads. */
export class HeadReader extends FieldReader {
  /** What the last read found; null while nothing. */
  head: ResponseHead | null = null;
  /** Of the body that follows: exact bytes, NO_BODY, CHUNKED_BODY or UNTIL_CLOSE_BODY. */
  bodyLength = NO_BODY;
  /** Whether the backend leaves the connection open afterwards. */
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
   * read takes the head at from…to-1 apart.
   *
   * @param text the same bytes as latin1
   * @param headRequest whether HEAD was asked, so that no body follows whatever the fields say
   * @returns the index behind the head, HEAD_INCOMPLETE or HEAD_MALFORMED
   */
  read(bytes: Uint8Array, { from, to }: ByteRange, text: string, headRequest: boolean): number {
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
    if (at > 0 && !this.#conclude(headRequest)) at = HEAD_MALFORMED;
    this.text = '';
    return at;
  }

  /** forget lets go of the texts of the last head. */
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
    // A control byte in the reason costs the backend its reason, one in a field the whole response.
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

  /** The most frequent special fields need no string of their own. */
  protected override takeBytes(kind: number, bytes: Uint8Array, from: number, to: number): boolean | null {
    if (kind === CONTENT_LENGTH) return this.#takeLength(lengthOf(bytes, from, to));
    if (kind !== DATE) return null;
    this.#hasDate = true;
    return true;
  }

  protected override take(kind: number, _name: string, value: string): boolean {
    switch (kind) {
      case TRANSFER_ENCODING:
        // Anything but the sole coding `chunked` would have to be undone to know where the body ends.
        if (this.#chunked || !isChunked(value)) return this.refuse('Transfer-Encoding other than chunked');
        this.#chunked = true;
        return false;
      case CONNECTION:
        this.#takeConnection(value);
        return false;
      case KEEP_ALIVE:
        this.keepAliveSec = keepAliveTimeoutSec(value);
        return false;
      case HOP_BY_HOP:
      case PROXY_CONNECTION:
      case TE:
      case TRAILER:
      case UPGRADE:
        return false;
      case X_REQUEST_ID:
        this.#hasRequestId = true;
        return true;
      default:
        return true;
    }
  }

  /** @param length -1 for a value that is none */
  #takeLength(length: number): boolean {
    if (this.#contentLength >= 0 || length < 0) {
      return this.refuse('bad Content-Length');
    }
    this.#contentLength = length;
    return false;
  }

  #takeConnection(value: string): void {
    if (value === 'keep-alive') return;
    for (const token of connectionTokens(value)) {
      if (token === 'close') this.#closing = true;
      else if (!isProtected(token)) {
        this.#named ??= new Set();
        this.#named.add(token);
      }
    }
  }

  /** The length of the body by RFC 9112 §6.3, in its order. */
  #conclude(headRequest: boolean): boolean {
    const status = this.#status;
    const chunked = this.#chunked;
    if (chunked && this.#contentLength >= 0) return this.refuse('Content-Length with Transfer-Encoding');
    if (chunked && this.#minor === 0) return this.refuse('Transfer-Encoding in HTTP/1.0');
    const bodiless = status < 200 || status === 204;
    const lengthAnnounced = this.#contentLength > 0;
    if (bodiless || status === 304 || headRequest || this.#contentLength === 0) this.bodyLength = NO_BODY;
    else if (chunked) this.bodyLength = CHUNKED_BODY;
    else this.bodyLength = lengthAnnounced ? this.#contentLength : UNTIL_CLOSE_BODY;
    this.persistent =
      this.#minor === 1 &&
      !this.#closing &&
      this.bodyLength !== UNTIL_CLOSE_BODY &&
      // A backend that announces a body where none may be could send it: the next answer would begin with it. Not so a 304: its
      // Content-Length is that of the 200 (RFC 9110 §8.6), it ends with its head whatever the fields say (RFC 9112 §6.3).
      !(headRequest && this.#contentLength !== 0) &&
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

  /** The set is not kept: it may take twenty times the bytes of its field. */
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

/** beginsLikeHead: a backend that speaks another protocol is refused at its first bytes instead of at the deadline. */
export function beginsLikeHead(bytes: Uint8Array, from: number, to: number): boolean {
  const end = Math.min(to - from, PROTOCOL.length);
  for (let i = 0; i < end; i++) if (bytes[from + i] !== PROTOCOL[i]) return false;
  return true;
}
