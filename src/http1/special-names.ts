/**
 * Which field names want a look, told from their bytes: no string is made of a name that does not, and none of the few that
 * nearly every message has (V8 interns each string that a Map is asked for).
 */
import { TOKEN_BYTES } from './head-bytes.ts';
import { CLASSES, FORWARDED_OTHER, PLAIN, USER_AGENT } from './header-names.ts';

export const UNDERSCORE_BYTE = 95;

/** All other names are plain: they pass as they came. */
const SPECIAL: readonly [name: string, kind: number][] = [...CLASSES, ['user-agent', USER_AGENT]];
const SPECIAL_NAMES = SPECIAL.map(([name]) => name);
const SPECIAL_CLASSES = SPECIAL.map(([, kind]) => kind);
const HASH_MASK = 4095;
/** By hash, the place of a special name in SPECIAL plus 1; 0 for hashes that none has. */
const PLACES = new Uint8Array(HASH_MASK + 1);
SPECIAL_NAMES.forEach((name, i) => {
  let hash = 0;
  for (let at = 0; at < name.length; at++) hash = nextHash(hash, name.charCodeAt(at));
  if (PLACES[hash & HASH_MASK] !== 0) throw new Error(`two special names with one hash: ${name}`);
  PLACES[hash & HASH_MASK] = i + 1;
});

/** Every name that begins so carries what a proxy says of a request. */
const FORWARDED_PREFIX = 'x-forwarded-';

/** nextHash takes the next byte of a name, as TOKEN_BYTES has it, into its hash; 0 before the first. */
export function nextHash(hash: number, byte: number): number {
  return (Math.imul(hash, 31) + byte) | 0;
}

/** specialClass is the class of the name at from…to-1 with this hash, PLAIN for one that is not special. */
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
