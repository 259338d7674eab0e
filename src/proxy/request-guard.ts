/**
 * What a proxy must refuse although it can be parsed (B21, B22, B25, B27), and what of the head goes on to the backend. The
 * facts come from the reader of the head, which has left out what never goes on; here is what depends on limits, on the
 * configuration and on whether the peer is trusted.
 */
import type { Reason } from '../contract/problems.ts';
import { NO_BODY, type RequestHead } from '../contract/request-head.ts';
import { fieldValues, withoutFields } from '../http1/field-lines.ts';
import { hasNul } from './normal-path.ts';

/** Refusal is why a request gets an answer of our own; `reason` goes to the access line, `status` to the client. */
export interface Refusal {
  readonly reason: Reason;
  readonly status: number;
}

const BAD_REQUEST: Refusal = { reason: 'bad_request', status: 400 };
const UNKNOWN_EXPECTATION: Refusal = { reason: 'bad_request', status: 417 };
const TARGET_TOO_LONG: Refusal = { reason: 'target_too_long', status: 414 };
const HEADERS_TOO_LARGE: Refusal = { reason: 'headers_too_large', status: 431 };

export interface GuardLimits {
  readonly targetBytes: number;
  readonly headerBytes: number;
  readonly headerCount: number;
}

/** RFC 9110 §7.2 with the names that are in use: letters, digits, `.`, `-`, `_`; or an IPv6 literal. */
const HOST = /^(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?$/;
const ABSOLUTE_FORM = /^https?:\/\/([^/?]*)(.*)$/i;
/** Visible ASCII without `#`. */
const TARGET = /^[\x21\x22\x24-\x7e]+$/;
/** Origin-form of which nothing can be understood in two ways: no escape, dot segment or empty segment in its path. */
const SIMPLE_TARGET = /^(?:\/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*\/?(?:\?[\x21\x22\x24-\x7e]*)?$/;
/** Methods whose requests say `Content-Length: 0` when they have no body (RFC 9110 §8.6). */
const METHODS_WITH_BODY: ReadonlySet<string> = new Set(['POST', 'PUT', 'PATCH']);

/** The last value that was found to be a good Host: most requests of a worker carry the same few. */
let goodHost = 'localhost';

/** GuardedRequest is a request that may go on; valid once guard returned null. Made by Admission. */
export class GuardedRequest {
  readonly head: RequestHead;
  /** Whether the peer is a trusted proxy: what it says of the request is kept (B26). */
  readonly trusted: boolean;
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
  /** All values of the field that carries API keys, joined; '' for none. */
  apiKey = '';

  constructor(head: RequestHead, trusted: boolean) {
    this.head = head;
    this.trusted = trusted;
    this.target = head.target;
  }

  /**
   * guard checks everything; called once. Returns null when the request may go on.
   *
   * @param apiKeyHeader name of the field with the key in lower case; '': there is none. The field goes on to the backend.
   */
  guard(limits: GuardLimits, apiKeyHeader = ''): Refusal | null {
    const { head } = this;
    if (this.target.length > limits.targetBytes) return TARGET_TOO_LONG;
    if (head.lineCount > limits.headerCount || head.headerBytes > limits.headerBytes)
      return HEADERS_TOO_LARGE;
    if (head.hasBadFraming || head.namesFraming) return BAD_REQUEST;
    if (head.hasUnknownExpectation) return UNKNOWN_EXPECTATION;
    const refusal = this.#checkHost() ?? this.#checkTarget();
    if (refusal !== null) return refusal;
    this.bodyLength = head.bodyLength === NO_BODY && METHODS_WITH_BODY.has(head.method) ? 0 : head.bodyLength;
    this.#rewrite(apiKeyHeader);
    return null;
  }

  /** RFC 9112 §3.2: exactly one Host, which HTTP/1.0 may leave out. */
  #checkHost(): Refusal | null {
    const { host, hostCount, httpVersion } = this.head;
    if (hostCount === 0) return httpVersion === 11 ? BAD_REQUEST : null;
    if (hostCount > 1) return BAD_REQUEST;
    this.host = host;
    if (host === goodHost) return null;
    if (!HOST.test(host)) return BAD_REQUEST;
    goodHost = host;
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
    if (this.target === '*') return this.head.method === 'OPTIONS' ? null : BAD_REQUEST;
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
    if (rest === '') this.target = this.head.method === 'OPTIONS' ? '*' : '/';
    else this.target = rest.startsWith('?') ? `/${rest}` : rest;
    return true;
  }

  #rewrite(apiKeyHeader: string): void {
    const { head } = this;
    let { lines } = head;
    // Two keys are nobody's: together they never verify.
    if (apiKeyHeader !== '') this.apiKey = fieldValues(lines, apiKeyHeader).join(', ');
    if (head.named !== null) {
      // The key is not the client's to take away.
      head.named.delete(apiKeyHeader);
      lines = withoutFields(lines, head.named);
    }
    if (this.trusted) lines += head.forwardedLines;
    if (head.wantsTrailers) lines += 'TE: trailers\r\n';
    this.headerLines = lines;
  }
}

function withoutQuery(target: string): string {
  const queryAt = target.indexOf('?');
  return queryAt < 0 ? target : target.slice(0, queryAt);
}
