/** The head of a request as facts, which depend neither on limits nor on the peer. */

/** Values of a body length that are not a length. */
export const NO_BODY = -2;
export const CHUNKED_BODY = -1;

/** hasBody tells whether bytes of a body follow a head with this body length. */
export function hasBody(bodyLength: number): boolean {
  return bodyLength !== NO_BODY && bodyLength !== 0;
}

/** RequestHead is made by the reader of a protocol (http1/request-head-reader.ts), one per request. Texts are latin1. */
export class RequestHead {
  /** One of node's METHODS. */
  method = '';
  /** As it came. */
  target = '';
  /** 10, 11 or 20. */
  httpVersion = 11;
  lineCount = 0;
  /** Of all field lines together, ends included. */
  headerBytes = 0;
  /** Lines for the backend whoever the peer is, each with CRLF: no framing, hop-by-hop or forwarding fields. */
  lines = '';
  host = '';
  hostCount = 0;
  /** NO_BODY, CHUNKED_BODY or the exact length; it means nothing if hasBadFraming. */
  bodyLength = NO_BODY;
  /** The end of the request is ambiguous: two lengths, an unknown coding, or both (RFC 9112 §6.1, §6.3). */
  hasBadFraming = false;
  /** A request that has an end, but that HTTP/1.1 could not say (HTTP/2). */
  isMalformed = false;
  /** `Connection: close`. */
  closes = false;
  /** `Connection: keep-alive`; it matters in HTTP/1.0 only. */
  keepsAlive = false;
  /** Connection names a field that frames or routes the request. */
  namesFraming = false;
  /** Names of the fields that Connection removes, in lower case; null for none. */
  named: Set<string> | null = null;
  expectsContinue = false;
  hasUnknownExpectation = false;
  /** An Upgrade field came, of whatever use. */
  wantsUpgrade = false;
  /** The protocols of Upgrade, where Connection names it and the version has it (RFC 9110 §7.8): a list of tokens; '' for none. */
  upgrade = '';
  /** `TE: trailers`. */
  wantsTrailers = false;
  /** All values of X-Forwarded-For, joined; '' for none. */
  forwardedFor = '';
  /** The first value of each; '' for none. */
  forwardedProto = '';
  forwardedHost = '';
  /** `Forwarded` and further `X-Forwarded-…` lines, which go on if the peer is a trusted proxy. */
  forwardedLines = '';
  /** The first valid value; '' for none. */
  requestId = '';
  traceparent = '';
  traceparentCount = 0;
  tracestateLines = '';
  userAgent: string | null = null;

  /** Whether the connection can go on afterwards (RFC 9112 §9.3); a request for another protocol ends it. */
  get persistent(): boolean {
    return !this.closes && !this.wantsUpgrade && (this.httpVersion === 11 || this.keepsAlive);
  }

  /** Whether bytes of a body follow. */
  get hasBody(): boolean {
    return hasBody(this.bodyLength);
  }
}
