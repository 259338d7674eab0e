/** Reads one request head, strictly where RFC 9112 leaves a choice, and at least as strictly as llhttp. admission.ts judges it. */
import { CHUNKED_BODY, RequestHead } from '../contract/request-head.ts';
import type { LimitSettings } from '../contract/settings.ts';
import { CR, isAt, LF, lengthOf, SPACE, TEXT_BYTES, ZERO } from './head-bytes.ts';
import { HEAD_INCOMPLETE, HeadReader } from './head-reader.ts';
import * as names from './header-names.ts';
import { flattenTexts, takeRequestField } from './request-fields.ts';

/** The methods that llhttp knows; a test compares them. To import node:http for its METHODS would take 15 MiB of each worker. */
export const KNOWN_METHODS = names.wordSet(`
  ACL BIND CHECKOUT CONNECT COPY DELETE GET HEAD LINK LOCK M-SEARCH MERGE MKACTIVITY MKCALENDAR MKCOL MOVE NOTIFY OPTIONS
  PATCH POST PROPFIND PROPPATCH PURGE PUT QUERY REBIND REPORT SEARCH SOURCE SUBSCRIBE TRACE UNBIND UNLINK UNLOCK UNSUBSCRIBE`);
const FRAMING_TOKENS = names.wordSet('content-length transfer-encoding host');
const PROTOCOL = Buffer.from('HTTP/', 'latin1');
const VERSION_BYTES = 'HTTP/1.1'.length;
const DOT = 46;
/** Room for method, version and line end beside the target. */
const REQUEST_LINE_MARGIN_BYTES = 1024;
const CRLF_BYTES = 2;
/** Most heads have no more lines; see flattenTexts. */
const FEW_LINES = 32;

/** The bounds of a head that is not whole yet; admission.ts checks those of a whole one. */
type HeadLimits = Pick<LimitSettings, 'targetBytes' | 'headerBytes'>;

/** RequestHeadReader is owned by a client's connection, which calls read() for each head in the bytes of a read, then forget(). */
export class RequestHeadReader extends HeadReader {
  /** What the last read() found. */
  head = NO_HEAD;
  /** The status that answers a malformed head: 400, 414, 431, 501, 505. */
  problemStatus = 400;

  /** Whether this head has a Content-Length; a Transfer-Encoding. */
  #hasLength = false;
  #isChunked = false;
  /** Whether Connection names Upgrade. */
  #namesUpgrade = false;
  protected override readonly controlsInFirstLine = false;

  /**
   * read reads the head that begins at `at`; while that is incomplete, later calls bring the same bytes and more.
   * @returns the index after the head, HEAD_INCOMPLETE, or HEAD_MALFORMED (see `problem` and `problemStatus`)
   */
  read(buffer: Buffer, at: number, to: number, limits: HeadLimits): number {
    this.problemStatus = 400;
    const lineMaxBytes = limits.targetBytes + REQUEST_LINE_MARGIN_BYTES;
    const fieldsMaxBytes = limits.headerBytes + CRLF_BYTES;
    const found = this.findHead(buffer, at, to, lineMaxBytes + fieldsMaxBytes);
    if (found !== HEAD_INCOMPLETE) return found;
    const lineBytes = this.partial?.firstLineBytes ?? 0;
    if ((lineBytes || to - at) > lineMaxBytes) this.problemStatus = 414;
    else if (lineBytes > 0 && to - at - lineBytes > fieldsMaxBytes) this.problemStatus = 431;
    else return HEAD_INCOMPLETE;
    return this.malformed('head too large');
  }

  /** forget drops the bytes, their text and the head, so that an idle connection keeps no memory for them. */
  forget(): void {
    this.forgetText();
    this.lines = '';
    this.head = NO_HEAD;
  }

  protected override parse(bytes: Buffer, from: number, to: number): number {
    const head = new RequestHead();
    this.head = head;
    this.#hasLength = this.#isChunked = this.#namesUpgrade = false;
    const linesAt = this.#readRequestLine(bytes, from, to);
    if (linesAt < 0) return linesAt;
    const end = this.readLines(bytes, linesAt, to, Number.POSITIVE_INFINITY);
    if (end < 0) return end;
    head.lines = this.lines;
    head.lineCount = this.lineCount;
    head.headerBytes = end - linesAt - CRLF_BYTES;
    if (this.lineCount > FEW_LINES) flattenTexts(head);
    if (head.wantsUpgrade && !(this.#namesUpgrade && head.httpVersion === 11)) head.upgrade = '';
    if (this.#isChunked) {
      head.hasBadFraming ||= this.#hasLength || head.httpVersion < 11;
      head.bodyLength = CHUNKED_BODY;
    }
    return end;
  }

  /** `method SP target SP HTTP/d.d CRLF` (RFC 9112 §3). Several spaces for one are accepted, and not sent on. */
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
    head.method = frequentMethod(bytes, from, methodEnd) ?? this.cutText(from, methodEnd);
    head.target = this.cutText(targetAt, targetEnd);
    if (!KNOWN_METHODS.has(head.method)) return this.malformed('unknown method');
    // A line without a version is HTTP/0.9.
    const version = targetEnd === eol ? 9 : versionOf(bytes, versionAt, eol);
    if (version < 0) return this.malformed('bad HTTP version');
    head.httpVersion = version;
    if (version === 10 || version === 11) {
      if (head.method !== 'CONNECT') return eol + 2;
      // Sluice opens no tunnels.
      this.problemStatus = 501;
      return this.malformed('CONNECT');
    }
    this.problemStatus = 505;
    return this.malformed('HTTP version not supported');
  }

  protected override takeBytes(kind: number, bytes: Uint8Array, from: number, to: number): boolean | null {
    if (kind !== names.CONTENT_LENGTH) return null;
    const { head } = this;
    const length = lengthOf(bytes, from, to);
    if (this.#hasLength || length < 0) head.hasBadFraming = true;
    this.#hasLength = true;
    head.bodyLength = length;
    return false;
  }

  protected override take(kind: number, name: string, value: string): boolean {
    const { head } = this;
    switch (kind) {
      case names.CONNECTION:
        this.#takeConnection(value);
        return false;
      case names.PROXY_CONNECTION:
        // Not a field of any RFC. llhttp obeys it, and to close is always safe.
        if (names.connectionTokens(value).includes('close')) head.closes = true;
        return false;
      case names.TRANSFER_ENCODING:
        // With any other coding Sluice could not find the end of the body.
        if (this.#isChunked || !names.isChunked(value)) head.hasBadFraming = true;
        this.#isChunked = true;
        return false;
      case names.UPGRADE:
        head.wantsUpgrade = true;
        head.upgrade += head.upgrade === '' ? value : `,${value}`;
        return false;
      default:
        return takeRequestField(head, kind, name, value);
    }
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
    else if (token === 'upgrade') this.#namesUpgrade = true;
    else if (FRAMING_TOKENS.has(token)) head.namesFraming = true;
    else if (!names.isProtected(token) && names.classOf(token) === names.PLAIN) {
      head.named ??= new Set();
      head.named.add(token);
    }
  }
}

const NO_HEAD = new RequestHead();
const GET = Buffer.from('GET', 'latin1');
const POST = Buffer.from('POST', 'latin1');

/** The two most frequent methods, without making a string; null for any other. */
function frequentMethod(bytes: Uint8Array, from: number, to: number): string | null {
  if (to - from === GET.length && isAt(bytes, from, GET)) return 'GET';
  return to - from === POST.length && isAt(bytes, from, POST) ? 'POST' : null;
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

/** The version of `HTTP/d.d`: ten times major plus minor; -1 for anything else. */
function versionOf(bytes: Uint8Array, at: number, to: number): number {
  if (to - at !== VERSION_BYTES || !isAt(bytes, at, PROTOCOL) || bytes[at + 6] !== DOT) return -1;
  const major = bytes[at + 5]! - ZERO;
  const minor = bytes[at + 7]! - ZERO;
  return major >= 0 && major <= 9 && minor >= 0 && minor <= 9 ? major * 10 + minor : -1;
}
