/** What a field name means to a proxy, in both directions: by its bytes in the lines of a head, by its text elsewhere. */
import { TOKEN_BYTES, trimmedValue } from './head-bytes.ts';

/** Passed on unchanged; its value is not read. */
export const PLAIN = 0;
/** Not a token (RFC 9110 §5.6.2). A head with such a name is malformed; only classOf returns this. */
export const INVALID = 1;
/** Holds `_`: dropped from requests (B25), passed in responses. */
export const UNDERSCORE = 2;
/** Meant for this connection only (RFC 9110 §7.6.1) and of no use here: dropped. */
export const HOP_BY_HOP = 3;
export const CONNECTION = 4;
export const KEEP_ALIVE = 5;
export const HOST = 6;
export const CONTENT_LENGTH = 7;
export const TRANSFER_ENCODING = 8;
export const TE = 9;
export const TRAILER = 10;
export const UPGRADE = 11;
export const EXPECT = 12;
export const X_FORWARDED_FOR = 13;
export const X_FORWARDED_PROTO = 14;
export const X_FORWARDED_HOST = 15;
/** `Forwarded`, `X-Real-IP`, `X-Client-Cert-Subject` and every other `X-Forwarded-…`. */
export const FORWARDED_OTHER = 16;
export const X_REQUEST_ID = 17;
export const TRACEPARENT = 18;
export const TRACESTATE = 19;
export const VIA = 20;
export const DATE = 21;
/** Passed on like a plain one; the access log wants its value. */
export const USER_AGENT = 22;
export const PROXY_CONNECTION = 23;

/** Names in lower case. Exported for a test, too: config/ must let none of them carry API keys. */
export const CLASSES: ReadonlyMap<string, number> = new Map([
  ['connection', CONNECTION],
  ['keep-alive', KEEP_ALIVE],
  ['proxy-connection', PROXY_CONNECTION],
  ['proxy-authenticate', HOP_BY_HOP],
  ['proxy-authorization', HOP_BY_HOP],
  ['proxy-authentication-info', HOP_BY_HOP],
  ['http2-settings', HOP_BY_HOP],
  ['host', HOST],
  ['content-length', CONTENT_LENGTH],
  ['transfer-encoding', TRANSFER_ENCODING],
  ['te', TE],
  ['trailer', TRAILER],
  ['upgrade', UPGRADE],
  ['expect', EXPECT],
  ['x-forwarded-for', X_FORWARDED_FOR],
  ['x-forwarded-proto', X_FORWARDED_PROTO],
  ['x-forwarded-host', X_FORWARDED_HOST],
  ['forwarded', FORWARDED_OTHER],
  ['x-real-ip', FORWARDED_OTHER],
  ['x-client-cert-subject', FORWARDED_OTHER],
  ['x-request-id', X_REQUEST_ID],
  ['traceparent', TRACEPARENT],
  ['tracestate', TRACESTATE],
  ['via', VIA],
  ['date', DATE],
]);

/** All other names are plain: they pass as they came. */
const SPECIAL_NAMES = [...CLASSES.keys(), 'user-agent'];
const SPECIAL_CLASSES = [...CLASSES.values(), USER_AGENT];
const HASH_MASK = 4095;
/** By hash: 1 + the index of the special name with this hash; 0 where none has it. */
const PLACES = new Uint8Array(HASH_MASK + 1);
SPECIAL_NAMES.forEach((name, i) => {
  let hash = 0;
  for (let at = 0; at < name.length; at++) hash = nextHash(hash, name.charCodeAt(at));
  if (PLACES[hash & HASH_MASK] !== 0) throw new Error(`two special names with one hash: ${name}`);
  PLACES[hash & HASH_MASK] = i + 1;
});

/** Every name that begins so describes a request in a proxy's words. */
const FORWARDED_PREFIX = 'x-forwarded-';

/** nextHash adds the next byte of a name, as TOKEN_BYTES maps it, to the hash of those before; that begins as 0. */
export function nextHash(hash: number, byte: number): number {
  return (Math.imul(hash, 31) + byte) | 0;
}

/** specialClass is the class of the name at from…to-1. It makes no string: V8 would intern each name that a Map is asked for. */
export function specialClass(hash: number, bytes: Uint8Array, from: number, to: number): number {
  const place = PLACES[hash & HASH_MASK]!;
  if (place !== 0) {
    const name = SPECIAL_NAMES[place - 1]!;
    if (to - from === name.length && startsWith(bytes, from, name)) return SPECIAL_CLASSES[place - 1]!;
  }
  if (to - from < FORWARDED_PREFIX.length) return PLAIN;
  return startsWith(bytes, from, FORWARDED_PREFIX) ? FORWARDED_OTHER : PLAIN;
}

function startsWith(bytes: Uint8Array, from: number, lowerName: string): boolean {
  for (let i = 0; i < lowerName.length; i++) {
    if (TOKEN_BYTES[bytes[from + i]!] !== lowerName.charCodeAt(i)) return false;
  }
  return true;
}

/** Fields that `Connection` cannot remove (B24): without them framing, routing, identity or meaning of a message would change. */
const PROTECTED = wordSet(`
  host content-length transfer-encoding forwarded x-real-ip x-client-cert-subject x-request-id traceparent tracestate via date
  authorization www-authenticate cookie set-cookie cache-control pragma expires vary etag location server origin range
  content-type content-encoding content-range content-security-policy strict-transport-security
  ratelimit ratelimit-policy retry-after`);
const PROTECTED_PREFIX = /^(?:x-forwarded|access-control)-/;

/** Plain names that mean nothing, or do harm, as trailers (RFC 9110 §6.5.1). */
const NO_TRAILERS = wordSet(`
  authorization www-authenticate authentication-info cookie set-cookie cache-control pragma expires age vary location
  retry-after range max-forwards origin`);
const NO_TRAILERS_PREFIX = /^(?:content|access-control)-/;

/** wordSet is the set of the words between blanks. */
export function wordSet(text: string): ReadonlySet<string> {
  return new Set(text.trim().split(/\s+/));
}

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

/** classOf is the class of a field name that came as text: in trailers, in `Connection` and in HTTP/2. `user-agent` is PLAIN here. */
export function classOf(name: string): number {
  if (!TOKEN.test(name)) return INVALID;
  const lower = name.toLowerCase();
  const known = CLASSES.get(lower);
  if (known !== undefined) return known;
  if (lower.includes('_')) return UNDERSCORE;
  return lower.startsWith(FORWARDED_PREFIX) ? FORWARDED_OTHER : PLAIN;
}

/** isProtected tells whether a `Connection` token, in lower case, leaves the field of this name alone. */
export function isProtected(lowerName: string): boolean {
  return PROTECTED.has(lowerName) || PROTECTED_PREFIX.test(lowerName);
}

/** isTrailerAllowed is false for framing, routing, authentication and control names, which never pass as trailers. */
export function isTrailerAllowed(name: string): boolean {
  if (classOf(name) !== PLAIN) return false;
  const lower = name.toLowerCase();
  return !NO_TRAILERS.has(lower) && !NO_TRAILERS_PREFIX.test(lower);
}

/** What frames or routes a message, or belongs to a connection. */
const NO_METADATA = wordSet(`
  host content-length transfer-encoding te trailer expect connection keep-alive upgrade http2-settings
  proxy-connection proxy-authenticate proxy-authorization proxy-authentication-info`);

/**
 * isMetadata is isTrailerAllowed for the answer to a gRPC call. Its client takes trailers for what the author of the service has named,
 * and never for fields of the head, so that `date`, `x-request-id`, `content-language` or `authorization` do no harm.
 * @param lowerName a token
 */
export function isMetadata(lowerName: string): boolean {
  return !NO_METADATA.has(lowerName);
}

/** isOfConnection tells whether a field of this class may not be in HTTP/2 (RFC 9113 §8.2.2). TE may, where it says `trailers`. */
export function isOfConnection(kind: number): boolean {
  switch (kind) {
    case CONNECTION:
    case KEEP_ALIVE:
    case PROXY_CONNECTION:
    case TRANSFER_ENCODING:
    case UPGRADE:
      return true;
    default:
      return false;
  }
}

/** isFraming tells whether a field of this name says where a message ends. */
export function isFraming(name: string): boolean {
  const found = classOf(name);
  return found === CONTENT_LENGTH || found === TRANSFER_ENCODING;
}

/** isChunked tells whether a Transfer-Encoding is the one coding that Sluice understands; any other is refused. */
export function isChunked(value: string): boolean {
  return value === 'chunked' || value.toLowerCase() === 'chunked';
}

/** connectionTokens lists the options of a Connection value in lower case; what is not a token is left out. */
export function connectionTokens(value: string): string[] {
  return value
    .toLowerCase()
    .split(',')
    .map(trimmedValue)
    .filter((part) => TOKEN.test(part));
}
