/**
 * One response head, from text to facts. Strict where RFC 9112 lets a recipient choose: whatever two parsers could read
 * in two ways is refused, because the bytes after the head are then somebody else's answer.
 */
import type { ResponseHead } from './exchange.ts';
import { withoutFields } from './field-lines.ts';
import {
  CONNECTION,
  CONTENT_LENGTH,
  classOf,
  connectionTokens,
  DATE,
  HOP_BY_HOP,
  INVALID,
  isProtected,
  isTrailerAllowed,
  KEEP_ALIVE,
  PLAIN,
  TE,
  TRAILER,
  TRANSFER_ENCODING,
  UPGRADE,
  X_REQUEST_ID,
} from './header-names.ts';

/** Bytes of one head, and of all interim heads of one response together. */
export const HEAD_MAX_BYTES = 65_536;
const HEADERS_MAX_COUNT = 200;

/** Values of HeadReader.bodyKind. */
export const BODY_NONE = 0;
export const BODY_LENGTH = 1;
export const BODY_CHUNKED = 2;
/** Ends with the connection (RFC 9112 §6.3, last case). */
export const BODY_UNTIL_CLOSE = 3;

const CR = 13;
const LF = 10;
const SPACE = 32;
const TAB = 9;
const ZERO = 48;
const NINE = 57;
/** Control bytes other than HTAB, CR and LF; the latter two are looked at line by line. */
const CONTROL = /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]/;
const LENGTH = /^\d{1,16}$/;

/**
 * HeadReader is owned by a response parser and reused for each of its heads. read() returns the head or null; then
 * `problem` says what is wrong with it.
 */
export class HeadReader {
  problem = '';
  bodyKind = BODY_NONE;
  /** Whether the backend leaves the connection open afterwards. */
  persistent = false;
  /** Seconds of the backend's `Keep-Alive: timeout=`, -1 without. */
  keepAliveSec = -1;

  #minor = 1;
  #contentLength = -1;
  #chunked = false;
  #closing = false;
  #hasDate = false;
  #hasRequestId = false;
  #named: Set<string> | null = null;
  /** Lines that go on, so far without those from keptFrom up to the current one: neighbours are cut out as one piece. */
  #lines = '';
  #keptFrom = 0;

  /**
   * @param text the head without its empty line: every line of it ended by CRLF
   * @param headRequest whether HEAD was asked, so that no body follows whatever the fields say
   */
  read(text: string, headRequest: boolean): ResponseHead | null {
    this.problem = '';
    this.keepAliveSec = -1;
    this.#contentLength = -1;
    this.#chunked = this.#closing = this.#hasDate = this.#hasRequestId = false;
    this.#named = null;
    this.#lines = '';
    const eol = lineEnd(text, 0);
    const status = eol < 0 ? -1 : this.#statusOf(text, eol);
    if (status < 0) return this.#none('bad status line');
    // A control byte in the reason costs the backend its reason, one in a field the whole response.
    const clean = !CONTROL.test(text);
    if (!clean && CONTROL.test(text.slice(eol))) return this.#none('control byte in a header');
    const reason = clean || !CONTROL.test(text.slice(0, eol)) ? text.slice(13, eol) : '';
    if (!this.#readLines(text, eol + 2)) return null;
    return this.#conclude(status, reason, headRequest);
  }

  /** `HTTP/1.[01] SP 3DIGIT [SP reason]`, RFC 9112 §4; the last SP is optional, since backends leave it out. */
  #statusOf(text: string, eol: number): number {
    if (!text.startsWith('HTTP/1.') || text.charCodeAt(8) !== SPACE) return -1;
    this.#minor = text.charCodeAt(7) - ZERO;
    if (this.#minor !== 0 && this.#minor !== 1) return -1;
    if (eol < 12 || (eol > 12 && text.charCodeAt(12) !== SPACE)) return -1;
    let status = 0;
    for (let i = 9; i < 12; i++) {
      const digit = text.charCodeAt(i);
      if (digit < ZERO || digit > NINE) return -1;
      status = status * 10 + digit - ZERO;
    }
    return status >= 100 && status <= 599 ? status : -1;
  }

  #readLines(text: string, from: number): boolean {
    this.#keptFrom = from;
    let at = from;
    for (let count = 0; at < text.length; count++) {
      if (count === HEADERS_MAX_COUNT) return this.#refuse('too many headers');
      const eol = lineEnd(text, at);
      if (eol < 0) return this.#refuse('line ends that are not CRLF');
      const colon = text.indexOf(':', at);
      if (colon < 0 || colon > eol) return this.#refuse('header line without a colon');
      const kind = classOf(text.slice(at, colon));
      const passes = kind === PLAIN || kind === DATE || this.#take(kind, trimmed(text, colon + 1, eol));
      if (kind === DATE) this.#hasDate = true;
      if (this.problem !== '') return false;
      if (!passes) this.#cut(text, at, eol + 2);
      else if (!isTidy(text, colon, eol)) {
        this.#cut(text, at, eol + 2);
        this.#lines += `${text.slice(at, colon)}: ${trimmed(text, colon + 1, eol)}\r\n`;
      }
      at = eol + 2;
    }
    this.#cut(text, at, at);
    return true;
  }

  /** Keeps the lines up to `at` and goes on at `next`. */
  #cut(text: string, at: number, next: number): void {
    if (this.#keptFrom < at) this.#lines += text.slice(this.#keptFrom, at);
    this.#keptFrom = next;
  }

  /** @returns whether the line goes on to the client; what is wrong with it is in `problem` */
  #take(kind: number, value: string): boolean {
    switch (kind) {
      case INVALID:
        return this.#refuse('bad header name');
      case CONTENT_LENGTH:
        return this.#takeLength(value);
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
      case X_REQUEST_ID:
        this.#hasRequestId = true;
        return true;
      default:
        return true;
    }
  }

  #takeLength(value: string): boolean {
    const length = LENGTH.test(value) ? Number(value) : -1;
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
  #conclude(status: number, reason: string, headRequest: boolean): ResponseHead | null {
    const chunked = this.#chunked;
    if (chunked && this.#contentLength >= 0) return this.#none('Content-Length with Transfer-Encoding');
    if (chunked && this.#minor === 0) return this.#none('Transfer-Encoding in HTTP/1.0');
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
    return {
      status,
      reason,
      lines: this.#named === null ? this.#lines : withoutFields(this.#lines, this.#named),
      contentLength: bodiless ? -1 : this.#contentLength,
      hasBody: this.bodyKind !== BODY_NONE,
      hasDate: this.#hasDate,
      hasRequestId: this.#hasRequestId,
    };
  }

  #refuse(problem: string): false {
    this.problem = problem;
    return false;
  }

  #none(problem: string): null {
    this.problem = problem;
    return null;
  }
}

/**
 * readTrailers parses a trailer section by the grammar of heads; null when it is malformed. Names that have no business
 * behind a body are left out.
 * @param text lines ended by CRLF, without the empty one
 */
export function readTrailers(text: string): string[] | null {
  const trailers: string[] = [];
  if (CONTROL.test(text)) return null;
  for (let at = 0, count = 0; at < text.length; count++) {
    const eol = lineEnd(text, at);
    const colon = text.indexOf(':', at);
    if (eol < 0 || colon < 0 || colon > eol || count === HEADERS_MAX_COUNT) return null;
    const name = text.slice(at, colon);
    const kind = classOf(name);
    if (kind === INVALID) return null;
    if (isTrailerAllowed(name)) trailers.push(name, trimmed(text, colon + 1, eol));
    at = eol + 2;
  }
  return trailers;
}

/** Index of the CR that ends the line at `from`; -1 when a CR or LF stands alone in it. */
function lineEnd(text: string, from: number): number {
  const lf = text.indexOf('\n', from);
  return lf > from && text.indexOf('\r', from) === lf - 1 ? lf - 1 : -1;
}

function trimmed(text: string, from: number, to: number): string {
  let start = from;
  let end = to;
  while (start < end && isBlank(text.charCodeAt(start))) start++;
  while (end > start && isBlank(text.charCodeAt(end - 1))) end--;
  return text.slice(start, end);
}

function isBlank(code: number): boolean {
  return code === SPACE || code === TAB;
}

function keepAliveTimeoutSec(value: string): number {
  const found = /(?:^|[\s,;])timeout\s*=\s*(\d{1,9})/i.exec(value);
  return found === null ? -1 : Number(found[1]);
}

/** Whether a line is already as it goes on: one space behind the colon, none at the end. */
function isTidy(text: string, colon: number, eol: number): boolean {
  if (text.charCodeAt(colon + 1) !== SPACE) return false;
  return eol === colon + 2 || !(isBlank(text.charCodeAt(colon + 2)) || isBlank(text.charCodeAt(eol - 1)));
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
