/**
 * Finds the class of a field name from its bytes, without making a string of it: V8 would intern each name that a Map is asked
 * for. A hash leads to the one special name that it may be.
 */
import { TOKEN_BYTES } from './head-bytes.ts';
import { CLASSES, FORWARDED_OTHER, PLAIN, USER_AGENT } from './header-names.ts';

export const UNDERSCORE_BYTE = 95;

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

/** specialClass is the class of the name at from…to-1, which has this hash; PLAIN where it is not special. */
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
