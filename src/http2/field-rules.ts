/**
 * Which fields make a message malformed (RFC 9113 §8.2.2, §8.3). The decoder has looked at the bytes of names and values before. Requests
 * are judged as nghttp2 judges them, except for a host or a content-length that nobody can use.
 */
import { COLON, lengthOfText, TOKEN_BYTES } from '../http1/head-bytes.ts';

const SLASH = 47;
const OF_CONNECTION = 'a field of the connection';

/** Pseudo-header fields that a request has. */
const METHOD = 1;
const SCHEME = 2;
const PATH = 4;
const AUTHORITY = 8;
const PROTOCOL = 16;
const REQUIRED = METHOD | SCHEME | PATH;

/** Bytes of host and port (RFC 3986 §3.2), except those of a user. */
const AUTHORITY_BYTES = bytesOf(/[-!$%&'()*+,.:;=~\w[\]]/);
const SCHEME_BYTES = bytesOf(/[-+.0-9A-Za-z]/);

// What plainProblem has found last.
let hasHost = false;
/** -1: none. */
let contentLength = -1;

/**
 * requestProblem says why a request is malformed; null: it is not. Extended CONNECT (RFC 8441) is allowed.
 * @param fields name, value, name, value…
 * @param ends whether no body follows
 */
export function requestProblem(fields: readonly string[], ends: boolean): string | null {
  let seen = 0;
  let method = '';
  let scheme = '';
  let path = '';
  let at = 0;
  for (; at < fields.length && fields[at]!.charCodeAt(0) === COLON; at += 2) {
    const value = fields[at + 1]!;
    const kind = pseudoField(fields[at]!);
    if (kind === 0) return 'an unknown pseudo-header field';
    if ((seen & kind) !== 0) return 'a pseudo-header field twice';
    if (value === '') return 'an empty pseudo-header field';
    seen |= kind;
    if (kind === METHOD) method = value;
    else if (kind === SCHEME) scheme = value;
    else if (kind === PATH) path = value;
    else if (kind === AUTHORITY && !hasOnly(AUTHORITY_BYTES, value)) return 'a malformed :authority';
  }
  const problem = plainProblem(fields, at, true);
  if (problem !== null) return problem;
  if (method === 'CONNECT' && (seen & PROTOCOL) === 0) {
    return seen === (METHOD | AUTHORITY) ? null : 'a CONNECT with :scheme or :path, or without :authority';
  }
  if (ends && contentLength > 0) return 'a content-length without a body';
  return targetProblem(seen, method, scheme, path);
}

/** Of anything but a plain CONNECT. */
function targetProblem(seen: number, method: string, scheme: string, path: string): string | null {
  if ((seen & REQUIRED) !== REQUIRED) return 'no :method, :scheme or :path';
  if ((seen & AUTHORITY) === 0 && !hasHost) return 'neither :authority nor host';
  if ((seen & PROTOCOL) !== 0 && (method !== 'CONNECT' || (seen & AUTHORITY) === 0)) {
    return 'a :protocol without CONNECT or without :authority';
  }
  if (!hasOnly(TOKEN_BYTES, method)) return 'a malformed :method';
  if (path.includes(' ') || path.includes('\t')) return 'a :path with a blank';
  if (scheme === 'http' || scheme === 'https') {
    if (path.charCodeAt(0) === SLASH || (path === '*' && method === 'OPTIONS')) return null;
    return 'a :path without a slash';
  }
  return hasOnly(SCHEME_BYTES, scheme) && /^[a-z]/i.test(scheme) ? null : 'a malformed :scheme';
}

/** responseProblem says why the head of an answer, interim or final, is malformed; null: it is not. */
export function responseProblem(fields: readonly string[]): string | null {
  const status = fields[1] ?? '';
  if (fields[0] !== ':status' || !/^[1-9]\d\d$/.test(status) || status === '101')
    return 'no valid :status in front';
  const problem = plainProblem(fields, 2, false);
  if (problem !== null) return problem;
  if (contentLength >= 0 && status < '200') return 'a content-length in an interim answer';
  // Widely used servers send a 204 with the length 0, which RFC 9110 §8.6 forbids too.
  return contentLength > 0 && status === '204' ? 'a content-length in an answer without a body' : null;
}

/** trailerProblem says why trailers are malformed; null: they are not. */
export function trailerProblem(fields: readonly string[]): string | null {
  return plainProblem(fields, 0, false);
}

/** Of all fields but the pseudo-header fields in front. */
function plainProblem(fields: readonly string[], from: number, isRequest: boolean): string | null {
  hasHost = false;
  contentLength = -1;
  for (let i = from; i < fields.length; i += 2) {
    const name = fields[i]!;
    if (name.charCodeAt(0) === COLON) return 'a pseudo-header field out of place';
    const value = fields[i + 1]!;
    const problem = isRequest && name === 'host' ? hostProblem(value) : fieldProblem(name, value);
    if (problem !== null) return problem;
  }
  return null;
}

function fieldProblem(name: string, value: string): string | null {
  switch (name.length) {
    case 2:
      return name === 'te' && value.toLowerCase() !== 'trailers' ? 'a te other than trailers' : null;
    case 7:
      return name === 'upgrade' ? OF_CONNECTION : null;
    case 10:
      return name === 'connection' || name === 'keep-alive' ? OF_CONNECTION : null;
    case 14:
      return name === 'content-length' ? lengthProblem(value) : null;
    case 16:
      return name === 'proxy-connection' ? OF_CONNECTION : null;
    case 17:
      return name === 'transfer-encoding' ? OF_CONNECTION : null;
    default:
      return null;
  }
}

function hostProblem(value: string): string | null {
  if (hasHost) return 'two host fields';
  hasHost = true;
  return value !== '' && hasOnly(AUTHORITY_BYTES, value) ? null : 'a malformed host';
}

function lengthProblem(value: string): string | null {
  if (contentLength >= 0) return 'two content-lengths';
  contentLength = lengthOfText(value);
  return contentLength >= 0 ? null : 'a malformed content-length';
}

function pseudoField(name: string): number {
  switch (name) {
    case ':method':
      return METHOD;
    case ':scheme':
      return SCHEME;
    case ':path':
      return PATH;
    case ':authority':
      return AUTHORITY;
    case ':protocol':
      return PROTOCOL;
    default:
      return 0;
  }
}

/** @param bytes a table: 0 for those that may not occur */
function hasOnly(bytes: Uint8Array, text: string): boolean {
  for (let i = 0; i < text.length; i++) if (bytes[text.charCodeAt(i)] === 0) return false;
  return true;
}

function bytesOf(pattern: RegExp): Uint8Array {
  return Uint8Array.from({ length: 256 }, (_, byte) => (pattern.test(String.fromCharCode(byte)) ? 1 : 0));
}
