/**
 * One request head, from bytes to facts: what the connection needs to find the end of the request, and what the proxy needs
 * to judge and rewrite it. Strict where RFC 9112 lets a recipient choose, and at least as strict as llhttp. What a fact
 * deserves is decided by the proxy (proxy/admission.ts), which knows limits and trusted peers.
 */
import { CHUNKED_BODY, RequestHead } from '../contract/request-head.ts';
import { FieldReader, HEAD_INCOMPLETE } from './field-reader.ts';
import { isChunked, lengthOf } from './framing.ts';
import { CR, LF, SPACE, TEXT_BYTES, ZERO } from './head-bytes.ts';
import * as names from './header-names.ts';
import { KNOWN_METHODS } from './methods.ts';

const FRAMING_TOKENS: ReadonlySet<string> = new Set(['content-length', 'transfer-encoding', 'host']);
const REQUEST_ID = /^[A-Za-z0-9._-]{1,128}$/;
const PROTOCOL = Buffer.from('HTTP/', 'latin1');
const VERSION_BYTES = 'HTTP/1.1'.length;
const DOT = 46;
/** A read up to this size becomes text at once; of a larger one the beginning: heads are small. */
const TEXT_MAX_BYTES = 16_384;
/** More lines than most heads have; see flattenTexts. */
const FEW_LINES = 32;

/** RequestHeadReader is owned by a client's connection: read() head after head of what a read brought, then forget(). */
export class RequestHeadReader extends FieldReader {
  /** What the last read() found. */
  head = NO_HEAD;
  /** What a client whose head is malformed is answered: 400, 501, 505. */
  problemStatus = 400;

  #buffer: Buffer = NO_BYTES;
  #textTo = 0;

  /**
   * read takes the head at the front of the bytes at…to-1 apart. Returns the index behind it, HEAD_INCOMPLETE or
   * HEAD_MALFORMED (see `problem` and `problemStatus`). What it has made of a buffer is used again for the next head in it,
   * until forget.
   * @param maxBytes a head of more is incomplete
   */
  read(buffer: Buffer, at: number, to: number, maxBytes: number): number {
    // A body that was dropped within the read may end behind what became text.
    if (this.#buffer !== buffer || at >= this.#textTo) {
      this.#makeText(buffer, at, Math.min(to, at + TEXT_MAX_BYTES));
    }
    const found = this.#readUpTo(at, this.#textTo);
    if (found !== HEAD_INCOMPLETE || this.#textTo === to) return found;
    this.#makeText(buffer, at, Math.min(to, at + maxBytes));
    return this.#readUpTo(at, this.#textTo);
  }

  /** forget lets go of the bytes and of what was made of them, so that an idle connection keeps nothing. */
  forget(): void {
    this.#buffer = NO_BYTES;
    this.text = this.lines = '';
    this.head = NO_HEAD;
  }

  #makeText(buffer: Buffer, from: number, to: number): void {
    this.#buffer = buffer;
    this.base = from;
    this.#textTo = to;
    this.text = buffer.toString('latin1', from, to);
  }

  #readUpTo(from: number, to: number): number {
    const head = new RequestHead();
    this.head = head;
    this.problem = '';
    this.problemStatus = 400;
    this.#hasLength = this.#isChunked = false;
    const bytes = this.#buffer;
    const linesAt = this.#readRequestLine(bytes, from, to);
    if (linesAt < 0) return linesAt;
    const end = this.readLines(bytes, linesAt, to, Number.POSITIVE_INFINITY);
    if (end < 0) return end;
    head.lines = this.lines;
    head.lineCount = this.lineCount;
    head.headerBytes = end - linesAt - 2;
    if (this.lineCount > FEW_LINES) flattenTexts(head);
    if (this.#isChunked) {
      head.hasBadFraming ||= this.#hasLength || head.httpVersion < 11;
      head.bodyLength = CHUNKED_BODY;
    }
    return end;
  }

  /** `method SP target SP HTTP/d.d CRLF`, RFC 9112 §3; more than one space at a place is let pass and not sent on. */
  #readRequestLine(bytes: Uint8Array, from: number, to: number): number {
    let eol = from;
    while (eol < to && TEXT_BYTES[bytes[eol]!] === 1) eol++;
    if (eol === to || (bytes[eol] === CR && eol + 1 === to)) return HEAD_INCOMPLETE;
    if (bytes[eol] !== CR || bytes[eol + 1] !== LF) return this.malformed('bad request line');
    const { head } = this;
    const methodEnd = endOfWord(bytes, from, eol);
    const targetAt = endOfSpaces(bytes, methodEnd, eol);
    const targetEnd = endOfWord(bytes, targetAt, eol);
    const versionAt = endOfSpaces(bytes, targetEnd, eol);
    if (targetAt === targetEnd) return this.malformed('bad request line');
    head.method = methodOf(bytes, from, methodEnd) ?? this.cutText(from, methodEnd);
    head.target = this.cutText(targetAt, targetEnd);
    if (!KNOWN_METHODS.has(head.method)) return this.malformed('unknown method');
    // A line without a version is HTTP/0.9.
    const version = targetEnd === eol ? 9 : versionOf(bytes, versionAt, eol);
    if (version < 0) return this.malformed('bad HTTP version');
    head.httpVersion = version;
    if (version === 10 || version === 11) {
      if (head.method !== 'CONNECT') return eol + 2;
      // Tunnels through us to anywhere are not offered.
      this.problemStatus = 501;
      return this.malformed('CONNECT');
    }
    this.problemStatus = 505;
    return this.malformed('HTTP version not supported');
  }

  /** Whether the head under way has a Content-Length; a Transfer-Encoding. */
  #hasLength = false;
  #isChunked = false;

  /** A Content-Length is read from its bytes. */
  protected override takeBytes(kind: number, bytes: Uint8Array, from: number, to: number): boolean | null {
    if (kind === names.CONTENT_LENGTH) return this.#takeLength(lengthOf(bytes, from, to));
    return null;
  }

  protected override take(kind: number, name: string, value: string): boolean {
    const { head } = this;
    switch (kind) {
      case names.PLAIN:
      case names.VIA:
      case names.DATE:
        return true;
      case names.USER_AGENT:
        head.userAgent = value;
        return true;
      case names.HOST:
        head.hostCount += 1;
        head.host = value;
        return false;
      case names.CONNECTION:
        this.#takeConnection(value);
        return false;
      case names.PROXY_CONNECTION:
        // Not a field of any RFC; llhttp heeds it, and an end is always safe.
        if (names.connectionTokens(value).includes('close')) head.closes = true;
        return false;
      case names.TRANSFER_ENCODING:
        // Anything but the sole coding `chunked` would have to be undone to know where the body ends.
        if (this.#isChunked || !isChunked(value)) head.hasBadFraming = true;
        this.#isChunked = true;
        return false;
      case names.EXPECT:
        this.#takeExpectation(value);
        return false;
      case names.TE:
        head.wantsTrailers ||= /(?:^|,)[ \t]*trailers[ \t]*(?:,|;|$)/i.test(value);
        return false;
      case names.UPGRADE:
        head.wantsUpgrade = true;
        return false;
      default:
        this.#takeForwarding(kind, name, value);
        return false;
    }
  }

  /** Fields by which a proxy before us, or a tracer, says something of the request; those not named here are dropped. */
  #takeForwarding(kind: number, name: string, value: string): void {
    const { head } = this;
    switch (kind) {
      case names.X_FORWARDED_FOR:
        head.forwardedFor += head.forwardedFor === '' ? value : `, ${value}`;
        break;
      case names.X_FORWARDED_PROTO:
        head.forwardedProto ||= value;
        break;
      case names.X_FORWARDED_HOST:
        head.forwardedHost ||= value;
        break;
      case names.FORWARDED_OTHER:
        if (name.toLowerCase() !== 'x-real-ip') head.forwardedLines += `${name}: ${value}\r\n`;
        break;
      case names.X_REQUEST_ID:
        if (head.requestId === '' && REQUEST_ID.test(value)) head.requestId = value;
        break;
      case names.TRACEPARENT:
        head.traceparentCount += 1;
        head.traceparent = value;
        break;
      case names.TRACESTATE:
        head.tracestateLines += `tracestate: ${value}\r\n`;
        break;
    }
  }

  /** @param length -1 for a value that is none */
  #takeLength(length: number): false {
    const { head } = this;
    if (this.#hasLength || length < 0) head.hasBadFraming = true;
    this.#hasLength = true;
    head.bodyLength = length;
    return false;
  }

  #takeConnection(value: string): void {
    const { head } = this;
    if (value === 'keep-alive') head.keepsAlive = true;
    else if (value === 'close') head.closes = true;
    else for (const token of names.connectionTokens(value)) this.#takeConnectionToken(token);
  }

  #takeConnectionToken(token: string): void {
    const { head } = this;
    if (token === 'close') head.closes = true;
    else if (token === 'keep-alive') head.keepsAlive = true;
    else if (FRAMING_TOKENS.has(token)) head.namesFraming = true;
    else if (!names.isProtected(token) && names.classOf(token) === names.PLAIN) {
      head.named ??= new Set();
      head.named.add(token);
    }
  }

  /** RFC 9110 §10.1.1: nothing but 100-continue is known; HTTP/1.0 has no expectations. */
  #takeExpectation(value: string): void {
    const { head } = this;
    if (head.httpVersion < 11) return;
    if (value.toLowerCase() === '100-continue') head.expectsContinue = true;
    else head.hasUnknownExpectation = true;
  }
}

/**
 * V8 keeps text that was put together as a tree of its parts: up to 14 times the bytes of a head of thousands of short lines,
 * as long as its request lasts.
 */
function flattenTexts(head: RequestHead): void {
  head.lines = flat(head.lines);
  head.forwardedFor = flat(head.forwardedFor);
  head.forwardedLines = flat(head.forwardedLines);
  head.tracestateLines = flat(head.tracestateLines);
}

function flat(text: string): string {
  return Buffer.from(text, 'latin1').toString('latin1');
}

const NO_BYTES = Buffer.alloc(0);
const NO_HEAD = new RequestHead();
const GET = Buffer.from('GET', 'latin1');
const POST = Buffer.from('POST', 'latin1');

/** The two methods that most requests have, without a string of their own. */
function methodOf(bytes: Uint8Array, from: number, to: number): string | null {
  if (to - from === GET.length && isAt(bytes, from, GET)) return 'GET';
  return to - from === POST.length && isAt(bytes, from, POST) ? 'POST' : null;
}

function isAt(bytes: Uint8Array, from: number, wanted: Uint8Array): boolean {
  for (let i = 0; i < wanted.length; i++) if (bytes[from + i] !== wanted[i]) return false;
  return true;
}

function endOfWord(bytes: Uint8Array, from: number, to: number): number {
  let at = from;
  while (at < to && bytes[at] !== SPACE) at++;
  return at;
}

function endOfSpaces(bytes: Uint8Array, from: number, to: number): number {
  let at = from;
  while (at < to && bytes[at] === SPACE) at++;
  return at;
}

/** Ten times major plus minor of `HTTP/d.d` at from…to-1, -1 for anything else. */
function versionOf(bytes: Uint8Array, at: number, to: number): number {
  if (to - at !== VERSION_BYTES || !isAt(bytes, at, PROTOCOL) || bytes[at + 6] !== DOT) return -1;
  const major = bytes[at + 5]! - ZERO;
  const minor = bytes[at + 7]! - ZERO;
  return major >= 0 && major <= 9 && minor >= 0 && minor <= 9 ? major * 10 + minor : -1;
}
