/**
 * One response head, from text to facts. Strict where RFC 9112 lets a recipient choose: whatever two parsers could read
 * in two ways is refused, because the bytes after the head are then somebody else's answer.
 */
import type { ResponseHead } from './exchange.ts';
import { HEADERS_MAX_COUNT, trimmedValue, withoutFields } from './field-lines.ts';
import {
  CONNECTION,
  CONTENT_LENGTH,
  classOf,
  connectionTokens,
  DATE,
  HOP_BY_HOP,
  INVALID,
  isProtected,
  KEEP_ALIVE,
  PLAIN,
  TE,
  TRAILER,
  TRANSFER_ENCODING,
  UPGRADE,
  X_REQUEST_ID,
} from './header-names.ts';
import { nextHash, specialClass, TOKEN_BYTES } from './special-names.ts';

/** Bytes of one head, and of all interim heads of one response together. */
export const HEAD_MAX_BYTES = 65_536;

export interface ByteRange {
  from: number;
  /** Exclusive. */
  to: number;
}

interface LinePlace {
  at: number;
  colon: number;
  eol: number;
  isTidy: boolean;
}

/** Values of HeadReader.bodyKind. */
export const BODY_NONE = 0;
export const BODY_LENGTH = 1;
export const BODY_CHUNKED = 2;
/** Ends with the connection (RFC 9112 §6.3, last case). */
export const BODY_UNTIL_CLOSE = 3;

/** Answers of HeadReader.read. */
export const HEAD_INCOMPLETE = -1;
export const HEAD_MALFORMED = -2;

const CR = 13;
const LF = 10;
const SPACE = 32;
const TAB = 9;
const COLON = 58;
const ZERO = 48;
const NINE = 57;
const PROTOCOL = Buffer.from('HTTP/1.', 'latin1');
/** `HTTP/1.1 200`; a space and the reason may follow. */
const STATUS_END = 12;
const LENGTH = /^\d{1,16}$/;
const LENGTH_DIGITS_MAX = 16;

/** 1 for bytes that a value or reason may hold (RFC 9110 §5.5): HTAB, SP, visible ones, 0x80 and above. */
const TEXT_BYTES = Uint8Array.from({ length: 256 }, (_, byte) =>
  byte === TAB || (byte >= SPACE && byte !== 0x7f) ? 1 : 0,
);

/**
 * HeadReader is owned by a response parser and reused for each of its heads. It goes over the bytes once: measured at a
 * third of what searching the same text for line ends, colons and control bytes costs.
 */
export class HeadReader {
  /** What the last read found; null while nothing. */
  head: ResponseHead | null = null;
  /** Why the last read returned HEAD_MALFORMED. */
  problem = '';
  bodyKind = BODY_NONE;
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
  /** The bytes as text, and where in them it begins. */
  #text = '';
  #base = 0;
  /** Lines that go on, so far without those from keptFrom up to the current one: neighbours are cut out as one piece. */
  #lines = '';
  #keptFrom = 0;

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
    this.#text = text;
    this.#base = from;
    this.#lines = '';
    let at = this.#readStatusLine(bytes, from, to);
    if (at > 0) at = this.#readLines(bytes, at, to);
    if (at > 0 && !this.#conclude(headRequest)) at = HEAD_MALFORMED;
    this.#text = '';
    return at;
  }

  /** `HTTP/1.[01] SP 3DIGIT [SP reason]`, RFC 9112 §4; the last SP is optional, since backends leave it out. */
  #readStatusLine(bytes: Uint8Array, from: number, to: number): number {
    let eol = from;
    let dirty = false;
    for (; eol < to && bytes[eol] !== CR; eol++) {
      if (TEXT_BYTES[bytes[eol]!] === 1) continue;
      if (bytes[eol] === LF) return this.#malformed('bad status line');
      dirty = true;
    }
    if (eol + 1 >= to) return HEAD_INCOMPLETE;
    if (bytes[eol + 1] !== LF || !this.#takeStatus(bytes, from, eol)) {
      return this.#malformed('bad status line');
    }
    // A control byte in the reason costs the backend its reason, one in a field the whole response.
    this.#reason = dirty ? '' : this.#cutText(from + STATUS_END + 1, eol);
    return eol + 2;
  }

  #takeStatus(bytes: Uint8Array, from: number, eol: number): boolean {
    const end = from + STATUS_END;
    if (eol < end || (eol > end && bytes[end] !== SPACE)) return false;
    for (let i = 0; i < PROTOCOL.length; i++) if (bytes[from + i] !== PROTOCOL[i]) return false;
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

  #readLines(bytes: Uint8Array, from: number, to: number): number {
    this.#keptFrom = from;
    let at = from;
    for (let count = 0; at + 1 < to; count++) {
      if (bytes[at] === CR && bytes[at + 1] === LF) {
        this.#cut(at, at);
        return at + 2;
      }
      if (count === HEADERS_MAX_COUNT) return this.#malformed('too many headers');
      let colon = at;
      let hash = 0;
      for (; colon < to; colon++) {
        const byte = TOKEN_BYTES[bytes[colon]!]!;
        if (byte === 0) break;
        hash = nextHash(hash, byte);
      }
      if (colon === to) return HEAD_INCOMPLETE;
      if (bytes[colon] !== COLON || colon === at) return this.#malformed(nameProblem(bytes, colon, to));
      let eol = colon + 1;
      while (eol < to && TEXT_BYTES[bytes[eol]!] === 1) eol++;
      if (eol + 1 >= to) return HEAD_INCOMPLETE;
      if (bytes[eol] !== CR || bytes[eol + 1] !== LF) return this.#malformed(valueProblem(bytes[eol]!));
      const isTidy = isTidyLine(bytes, colon, eol);
      const kind = specialClass(hash, bytes, at, colon);
      if (!isTidy) this.#takeLine({ at, colon, eol, isTidy });
      else if (kind !== PLAIN) this.#takeSpecial(bytes, { at, colon, eol, isTidy }, kind);
      if (this.problem !== '') return HEAD_MALFORMED;
      at = eol + 2;
    }
    return HEAD_INCOMPLETE;
  }

  /** A tidy line of a known class; the most frequent ones without a string of their own. */
  #takeSpecial(bytes: Uint8Array, place: LinePlace, kind: number): void {
    const { at, colon, eol } = place;
    if (kind === DATE) this.#hasDate = true;
    else if (kind === CONTENT_LENGTH) {
      this.#takeLength(lengthOf(bytes, colon + 2, eol));
      this.#cut(at, eol + 2);
    } else if (!this.#take(kind, this.#cutText(colon + 2, eol))) this.#cut(at, eol + 2);
  }

  /** A line that may stay behind, or does not go on as it came. */
  #takeLine({ at, colon, eol, isTidy }: LinePlace): void {
    const name = this.#cutText(at, colon);
    const value = isTidy ? this.#cutText(colon + 2, eol) : trimmedValue(this.#cutText(colon + 1, eol));
    const passes = this.#take(classOf(name), value);
    if (passes && isTidy) return;
    this.#cut(at, eol + 2);
    if (passes) this.#lines += `${name}: ${value}\r\n`;
  }

  /** Keeps the lines up to `at` and goes on at `next`. */
  #cut(at: number, next: number): void {
    if (this.#keptFrom < at) this.#lines += this.#cutText(this.#keptFrom, at);
    this.#keptFrom = next;
  }

  #cutText(from: number, to: number): string {
    return this.#text.slice(from - this.#base, to - this.#base);
  }

  /** @returns whether the line goes on to the client; what is wrong with it is in `problem` */
  #take(kind: number, value: string): boolean {
    switch (kind) {
      case INVALID:
        return this.#refuse('bad header name');
      case CONTENT_LENGTH:
        return this.#takeLength(LENGTH.test(value) ? Number(value) : -1);
      case TRANSFER_ENCODING:
        // Anything but the sole coding `chunked` would have to be undone to know where the body ends.
        if (this.#chunked || value.toLowerCase() !== 'chunked') {
          return this.#refuse('Transfer-Encoding other than chunked');
        }
        this.#chunked = true;
        return false;
      case CONNECTION:
        this.#takeConnection(value);
        return false;
      case KEEP_ALIVE:
        this.keepAliveSec = keepAliveTimeoutSec(value);
        return false;
      case HOP_BY_HOP:
      case TE:
      case TRAILER:
      case UPGRADE:
        return false;
      case DATE:
        this.#hasDate = true;
        return true;
      case X_REQUEST_ID:
        this.#hasRequestId = true;
        return true;
      default:
        return true;
    }
  }

  /** @param length -1 for a value that is none */
  #takeLength(length: number): boolean {
    if (this.#contentLength >= 0 || length < 0 || length > Number.MAX_SAFE_INTEGER) {
      return this.#refuse('bad Content-Length');
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
    if (chunked && this.#contentLength >= 0) return this.#refuse('Content-Length with Transfer-Encoding');
    if (chunked && this.#minor === 0) return this.#refuse('Transfer-Encoding in HTTP/1.0');
    const bodiless = status < 200 || status === 204;
    const lengthAnnounced = this.#contentLength > 0;
    if (bodiless || status === 304 || headRequest) this.bodyKind = BODY_NONE;
    else if (chunked) this.bodyKind = BODY_CHUNKED;
    else if (this.#contentLength === 0) this.bodyKind = BODY_NONE;
    else this.bodyKind = lengthAnnounced ? BODY_LENGTH : BODY_UNTIL_CLOSE;
    this.persistent =
      this.#minor === 1 &&
      !this.#closing &&
      this.bodyKind !== BODY_UNTIL_CLOSE &&
      // A backend that announces a body where none may be could send it: the next answer would begin with it.
      !(headRequest && this.#contentLength !== 0) &&
      !(status === 204 && (lengthAnnounced || chunked));
    this.head = {
      status,
      reason: this.#reason,
      lines: this.#named === null ? this.#lines : withoutFields(this.#lines, this.#named),
      contentLength: bodiless ? -1 : this.#contentLength,
      hasBody: this.bodyKind !== BODY_NONE,
      hasDate: this.#hasDate,
      hasRequestId: this.#hasRequestId,
    };
    return true;
  }

  #refuse(problem: string): false {
    this.problem = problem;
    return false;
  }

  #malformed(problem: string): number {
    this.problem = problem;
    return HEAD_MALFORMED;
  }
}

/** The number that the digits at from…to-1 make, -1 where they are anything else or too many. */
function lengthOf(bytes: Uint8Array, from: number, to: number): number {
  if (to === from || to - from > LENGTH_DIGITS_MAX) return -1;
  let length = 0;
  for (let i = from; i < to; i++) {
    const digit = bytes[i]! - ZERO;
    if (digit < 0 || digit > 9) return -1;
    length = length * 10 + digit;
  }
  return length;
}

/** `at` is the first byte of a line that cannot be part of its name. */
function nameProblem(bytes: Uint8Array, at: number, to: number): string {
  for (let i = at; i < to && bytes[i] !== LF; i++) if (bytes[i] === COLON) return 'bad header name';
  return 'header line without a colon';
}

function valueProblem(byte: number): string {
  return byte === CR || byte === LF ? 'line ends that are not CRLF' : 'control byte in a header';
}

function isBlank(byte: number): boolean {
  return byte === SPACE || byte === TAB;
}

function keepAliveTimeoutSec(value: string): number {
  const found = /(?:^|[\s,;])timeout\s*=\s*(\d{1,9})/i.exec(value);
  return found === null ? -1 : Number(found[1]);
}

/** Whether a line is already as it goes on: one space behind the colon, none at the end. */
function isTidyLine(bytes: Uint8Array, colon: number, eol: number): boolean {
  if (bytes[colon + 1] !== SPACE) return false;
  return eol === colon + 2 || !(isBlank(bytes[colon + 2]!) || isBlank(bytes[eol - 1]!));
}

/**
 * looksLikeHead tells whether bytes that are not yet a whole head can become one, so that a backend which talks another
 * protocol is refused at its first bytes instead of at the deadline.
 * @param previous the last characters before `text`
 */
export function looksLikeHead(previous: string, text: string, isStart: boolean): boolean {
  if (isStart && !'HTTP/1.'.startsWith(text.slice(0, 7))) return false;
  const last = previous.slice(-1);
  if (last === '\r' && text.charCodeAt(0) !== LF) return false;
  for (let lf = text.indexOf('\n'); lf >= 0; lf = text.indexOf('\n', lf + 1)) {
    if ((lf === 0 ? last.charCodeAt(0) : text.charCodeAt(lf - 1)) !== CR) return false;
  }
  for (let cr = text.indexOf('\r'); cr >= 0 && cr + 1 < text.length; cr = text.indexOf('\r', cr + 1)) {
    if (text.charCodeAt(cr + 1) !== LF) return false;
  }
  return true;
}
