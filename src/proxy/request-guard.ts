/**
 * What a proxy must refuse although the parser let it through (B21, B22, B25, B27), and the rewriting of the head for the
 * backend. Both happen in one pass over the header lines: every name is classified once, and what goes on is written
 * at once into the text that the upstream client sends.
 */
import type { Reason } from '../contract/problems.ts';
import { CHUNKED_BODY, NO_BODY } from '../http1/framing.ts';
import * as names from '../http1/header-names.ts';
import { hasNul } from './normal-path.ts';

/** Refusal is why a request gets an answer of our own; `reason` goes to the access line, `status` to the client. */
export interface Refusal {
  readonly reason: Reason;
  readonly status: number;
}

const BAD_REQUEST: Refusal = { reason: 'bad_request', status: 400 };
const UNKNOWN_EXPECTATION: Refusal = { reason: 'bad_request', status: 417 };
const UNKNOWN_VERSION: Refusal = { reason: 'bad_request', status: 505 };
const TARGET_TOO_LONG: Refusal = { reason: 'target_too_long', status: 414 };
const HEADERS_TOO_LARGE: Refusal = { reason: 'headers_too_large', status: 431 };

export interface GuardedInput {
  readonly method: string;
  readonly target: string;
  readonly httpVersion: number;
  readonly rawHeaders: readonly string[];
}

export interface GuardLimits {
  readonly targetBytes: number;
  readonly headerBytes: number;
  readonly headerCount: number;
}

/** Colon, space and line end of a header line. */
const LINE_OVERHEAD_BYTES = 4;
/** RFC 9110 §7.2 with the names that are in use: letters, digits, `.`, `-`, `_`; or an IPv6 literal. */
const HOST = /^(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?$/;
const ABSOLUTE_FORM = /^https?:\/\/([^/?]*)(.*)$/i;
/** Visible ASCII without `#`. */
const TARGET = /^[\x21\x22\x24-\x7e]+$/;
/** Origin-form of which nothing can be understood in two ways: no escape, dot segment or empty segment in its path. */
const SIMPLE_TARGET = /^(?:\/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*\/?(?:\?[\x21\x22\x24-\x7e]*)?$/;
const DIGITS = /^\d+$/;
const REQUEST_ID = /^[A-Za-z0-9._-]{1,128}$/;
/** Methods whose requests say `Content-Length: 0` when they have no body (RFC 9110 §8.6). */
const METHODS_WITH_BODY: ReadonlySet<string> = new Set(['POST', 'PUT', 'PATCH']);
const FRAMING_TOKENS: ReadonlySet<string> = new Set(['content-length', 'transfer-encoding', 'host']);

/** The last value that was found to be a good Host: most requests of a worker carry the same few. */
let goodHost = 'localhost';

/** GuardedRequest is the head of a request that may go on; valid once guard returned null. */
export class GuardedRequest {
  /** As sent, `''` where an HTTP/1.0 client sent none. */
  host = '';
  /** Origin-form or `*`, byte for byte as it came. */
  target: string;
  /** The target without query; `/` for `*`. */
  path = '/';
  /** Whether the path may differ from its normal form (B27). */
  hasSuspectPath = false;
  /** As UpstreamRequest.bodyLength. */
  bodyLength = NO_BODY;
  /** Lines for the backend, each with CRLF; Host, framing and the forwarding fields are not among them. */
  headerLines = '';
  /** All values of X-Forwarded-For, joined; '' for none. */
  forwardedFor = '';
  /** Only from a trusted peer, else ''. */
  forwardedProto = '';
  forwardedHost = '';
  requestId = '';
  /** As it came, '' for none or more than one. */
  traceparent = '';
  tracestateLines = '';
  userAgent: string | null = null;
  /** All values of the field that carries API keys, joined; '' for none. */
  apiKey = '';
  expectsContinue = false;
  /**
   * The connection ends with this request. The client wanted another protocol: bytes behind such a request are lost by the
   * parser (found by running it). Or it said `close`, which the parser overlooks beside an HTTP/1.0 `keep-alive`.
   */
  isLast = false;

  readonly #input: GuardedInput;
  readonly #trusted: boolean;
  #apiKeyHeader = '';
  #hostCount = 0;
  #contentLength = '';
  #transferEncoding = '';
  #traceparentCount = 0;
  #wantsTrailers = false;
  /** Fields that the client's Connection takes away; almost never there. */
  #named: Set<string> | null = null;

  /** @param trusted whether the peer is a trusted proxy: its forwarding fields are kept (B26) */
  constructor(input: GuardedInput, trusted: boolean) {
    this.#input = input;
    this.#trusted = trusted;
    this.target = input.target;
  }

  /**
   * guard checks everything; the handler calls it once. Returns null when the request may go on.
   *
   * @param apiKeyHeader name of the field with the key in lower case; '': there is none. The field goes on to the backend.
   */
  guard(limits: GuardLimits, apiKeyHeader = ''): Refusal | null {
    this.#apiKeyHeader = apiKeyHeader;
    const { httpVersion, rawHeaders } = this.#input;
    if (httpVersion !== 11 && httpVersion !== 10) return UNKNOWN_VERSION;
    if (this.target.length > limits.targetBytes) return TARGET_TOO_LONG;
    if (rawHeaders.length > limits.headerCount * 2) return HEADERS_TOO_LARGE;
    let headerBytes = 0;
    for (let i = 0; i < rawHeaders.length; i += 2) {
      const name = rawHeaders[i]!;
      const value = rawHeaders[i + 1]!;
      headerBytes += name.length + value.length + LINE_OVERHEAD_BYTES;
      const refusal = this.#takeLine(name, value);
      if (refusal !== null) return refusal;
    }
    if (headerBytes > limits.headerBytes) return HEADERS_TOO_LARGE;
    return this.#checkHost() ?? this.#checkTarget() ?? this.#checkFraming() ?? this.#finishLines();
  }

  #takeLine(name: string, value: string): Refusal | null {
    switch (names.classOf(name)) {
      case names.PLAIN:
        this.headerLines += `${name}: ${value}\r\n`;
        if (name.length === 10 && name.toLowerCase() === 'user-agent') this.userAgent = value;
        else if (name.length === this.#apiKeyHeader.length) this.#takeApiKey(name, value);
        return null;
      case names.VIA:
      case names.DATE:
        this.headerLines += `${name}: ${value}\r\n`;
        return null;
      case names.INVALID:
        return BAD_REQUEST;
      case names.CONNECTION:
        return this.#takeConnection(value);
      case names.HOST:
        this.#hostCount += 1;
        this.host = value;
        return null;
      case names.CONTENT_LENGTH:
        if (this.#contentLength !== '' || !DIGITS.test(value)) return BAD_REQUEST;
        this.#contentLength = value;
        return null;
      case names.TRANSFER_ENCODING:
        if (this.#transferEncoding !== '' || value === '') return BAD_REQUEST;
        this.#transferEncoding = value;
        return null;
      case names.EXPECT:
        return this.#takeExpect(value);
      default:
        this.#takeForwarding(name, value);
        return null;
    }
  }

  /** Classes that never refuse a request; those not named here are dropped. */
  #takeForwarding(name: string, value: string): void {
    switch (names.classOf(name)) {
      case names.TE:
        this.#wantsTrailers ||= /(?:^|,)\s*trailers\s*(?:,|;|$)/i.test(value);
        break;
      case names.UPGRADE:
        this.isLast = true;
        break;
      case names.X_FORWARDED_FOR:
        this.forwardedFor += this.forwardedFor === '' ? value : `, ${value}`;
        break;
      case names.X_FORWARDED_PROTO:
        if (this.#trusted) this.forwardedProto ||= value;
        break;
      case names.X_FORWARDED_HOST:
        if (this.#trusted) this.forwardedHost ||= value;
        break;
      case names.FORWARDED_OTHER:
        if (this.#trusted && name.toLowerCase() !== 'x-real-ip') this.headerLines += `${name}: ${value}\r\n`;
        break;
      case names.X_REQUEST_ID:
        if (this.#trusted && REQUEST_ID.test(value)) this.requestId ||= value;
        break;
      case names.TRACEPARENT:
        this.#traceparentCount += 1;
        this.traceparent = value;
        break;
      case names.TRACESTATE:
        this.tracestateLines += `tracestate: ${value}\r\n`;
        break;
    }
  }

  #takeApiKey(name: string, value: string): void {
    if (name.toLowerCase() !== this.#apiKeyHeader) return;
    // Two keys are nobody's: together they never verify.
    this.apiKey += this.apiKey === '' ? value : `, ${value}`;
  }

  #takeConnection(value: string): Refusal | null {
    if (value === 'keep-alive') return null;
    if (value === 'close') {
      this.isLast = true;
      return null;
    }
    for (const token of names.connectionTokens(value)) {
      if (FRAMING_TOKENS.has(token)) return BAD_REQUEST;
      if (token === 'close') this.isLast = true;
      if (names.isProtected(token) || names.classOf(token) !== names.PLAIN) continue;
      if (token === 'close' || token === this.#apiKeyHeader) continue;
      this.#named ??= new Set();
      this.#named.add(token);
    }
    return null;
  }

  /** RFC 9110 §10.1.1: nothing but 100-continue is known; HTTP/1.0 has no expectations. */
  #takeExpect(value: string): Refusal | null {
    if (this.#input.httpVersion < 11) return null;
    if (value.toLowerCase() !== '100-continue') return UNKNOWN_EXPECTATION;
    this.expectsContinue = true;
    return null;
  }

  /** RFC 9112 §3.2: exactly one Host, which HTTP/1.0 may leave out. */
  #checkHost(): Refusal | null {
    if (this.#hostCount === 0) return this.#input.httpVersion === 11 ? BAD_REQUEST : null;
    if (this.#hostCount > 1) return BAD_REQUEST;
    if (this.host === goodHost) return null;
    if (!HOST.test(this.host)) return BAD_REQUEST;
    goodHost = this.host;
    return null;
  }

  #checkTarget(): Refusal | null {
    if (this.target.charCodeAt(0) === 0x2f && SIMPLE_TARGET.test(this.target)) {
      this.path = withoutQuery(this.target);
      return null;
    }
    this.hasSuspectPath = true;
    if (!TARGET.test(this.target)) return BAD_REQUEST;
    const isOriginForm = this.target.charCodeAt(0) === 0x2f;
    if (!isOriginForm && this.target !== '*' && !this.#toOriginForm()) return BAD_REQUEST;
    if (this.target === '*') return this.#input.method === 'OPTIONS' ? null : BAD_REQUEST;
    this.path = withoutQuery(this.target);
    return this.path.includes('\\') || hasNul(this.path) ? BAD_REQUEST : null;
  }

  /** RFC 9112 §3.2.2: absolute-form to origin-form; its authority must be the one of Host. */
  #toOriginForm(): boolean {
    const match = ABSOLUTE_FORM.exec(this.target);
    if (match === null) return false;
    const [, authority = '', rest = ''] = match;
    if (this.host === '' && HOST.test(authority)) this.host = authority;
    if (authority.toLowerCase() !== this.host.toLowerCase()) return false;
    if (rest === '') this.target = this.#input.method === 'OPTIONS' ? '*' : '/';
    else this.target = rest.startsWith('?') ? `/${rest}` : rest;
    return true;
  }

  /** RFC 9112 §6.1, §6.3, tightened: the length that goes on is made from the parsed one, never copied. */
  #checkFraming(): Refusal | null {
    if (this.#transferEncoding !== '') {
      if (this.#contentLength !== '' || this.#input.httpVersion < 11) return BAD_REQUEST;
      if (this.#transferEncoding.toLowerCase() !== 'chunked') return BAD_REQUEST;
      this.bodyLength = CHUNKED_BODY;
      return null;
    }
    if (this.#contentLength !== '') {
      this.bodyLength = Number(this.#contentLength);
      return Number.isSafeInteger(this.bodyLength) ? null : BAD_REQUEST;
    }
    if (METHODS_WITH_BODY.has(this.#input.method)) this.bodyLength = 0;
    return null;
  }

  #finishLines(): null {
    if (this.#named !== null) this.#removeNamed(this.#named);
    if (this.#wantsTrailers) this.headerLines += 'TE: trailers\r\n';
    if (this.#traceparentCount > 1) this.traceparent = '';
    return null;
  }

  /** A second look for the rare client whose Connection names end-to-end fields (RFC 9110 §7.6.1). */
  #removeNamed(named: ReadonlySet<string>): void {
    this.headerLines = this.headerLines
      .split('\r\n')
      .filter((line) => line !== '' && !named.has(line.slice(0, line.indexOf(':')).toLowerCase()))
      .map((line) => `${line}\r\n`)
      .join('');
  }
}

function withoutQuery(target: string): string {
  const queryAt = target.indexOf('?');
  return queryAt < 0 ? target : target.slice(0, queryAt);
}
