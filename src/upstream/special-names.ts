/**
 * Which field names of a response want a look, told from their bytes: no string is made of a name that does not, and none of
 * the few that nearly every response has (V8 interns each string that a Map is asked for).
 */
import { classOf, PLAIN } from './header-names.ts';

/** Bytes of a token (RFC 9110 §5.6.2), letters in lower case; 0 for every other byte. */
export const TOKEN_BYTES = Uint8Array.from({ length: 256 }, (_, byte) => {
  const character = String.fromCharCode(byte);
  return /[!#$%&'*+\-.^_`|~0-9A-Za-z]/.test(character) ? character.toLowerCase().charCodeAt(0) : 0;
});
/** All others, the more frequent ones, are plain: they pass as they came. */
const SPECIAL_NAMES = [
  ...['connection', 'keep-alive', 'proxy-connection', 'proxy-authenticate', 'proxy-authorization'],
  ...['proxy-authentication-info', 'http2-settings', 'content-length', 'transfer-encoding', 'te', 'trailer'],
  ...['upgrade', 'x-request-id', 'date'],
];
const SPECIAL_CLASSES = SPECIAL_NAMES.map(classOf);
const HASH_MASK = 1023;
/** By hash, the place of a special name in SPECIAL_NAMES plus 1; 0 for hashes that none has. */
const PLACES = new Uint8Array(HASH_MASK + 1);
SPECIAL_NAMES.forEach((name, i) => {
  let hash = 0;
  for (let at = 0; at < name.length; at++) hash = nextHash(hash, name.charCodeAt(at));
  if (PLACES[hash & HASH_MASK] !== 0) throw new Error(`two special names with one hash: ${name}`);
  PLACES[hash & HASH_MASK] = i + 1;
});

/** nextHash takes the next byte of a name, as TOKEN_BYTES has it, into its hash; 0 before the first. */
export function nextHash(hash: number, byte: number): number {
  return (Math.imul(hash, 31) + byte) | 0;
}

/** specialClass is the class of the name at from…to-1 with this hash, PLAIN for one that is not special. */
export function specialClass(hash: number, bytes: Uint8Array, from: number, to: number): number {
  const place = PLACES[hash & HASH_MASK]!;
  if (place === 0) return PLAIN;
  const name = SPECIAL_NAMES[place - 1]!;
  if (to - from !== name.length) return PLAIN;
  for (let i = 0; i < name.length; i++) {
    if (TOKEN_BYTES[bytes[from + i]!] !== name.charCodeAt(i)) return PLAIN;
  }
  return SPECIAL_CLASSES[place - 1]!;
}
