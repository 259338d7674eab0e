/** Which bytes may stand where in a head, as tables: one look-up per byte. */

export const LF = 10;
export const CR = 13;
export const SPACE = 32;
export const TAB = 9;
export const COLON = 58;
export const ZERO = 48;
const DELETE = 0x7f;

/** Bytes of a token (RFC 9110 §5.6.2), letters in lower case; 0 for every other byte. */
export const TOKEN_BYTES = Uint8Array.from({ length: 256 }, (_, byte) => {
  const character = String.fromCharCode(byte);
  return /[!#$%&'*+\-.^_`|~0-9A-Za-z]/.test(character) ? character.toLowerCase().charCodeAt(0) : 0;
});

/** 1 for bytes that a value or a reason may hold (RFC 9110 §5.5): HTAB, SP, visible ones, 0x80 and above. */
export const TEXT_BYTES = Uint8Array.from({ length: 256 }, (_, byte) =>
  byte === TAB || (byte >= SPACE && byte !== DELETE) ? 1 : 0,
);

/** What no value may hold, as text. */
export const BAD_VALUE = /[^\t\x20-\x7e\x80-\xff]/;

/** trimmedValue cuts the blanks around a value (RFC 9110 §5.5). A regular expression would be quadratic in a field of blanks. */
export function trimmedValue(text: string): string {
  let from = 0;
  let to = text.length;
  while (from < to && isBlank(text.charCodeAt(from))) from++;
  while (to > from && isBlank(text.charCodeAt(to - 1))) to--;
  return text.slice(from, to);
}

/** isBlank: optional whitespace, RFC 9110 §5.6.3. */
export function isBlank(byte: number): boolean {
  return byte === SPACE || byte === TAB;
}

/** isTidyLine tells whether a field line is already as it passes on: one space after the colon, none at the end. */
export function isTidyLine(bytes: Uint8Array, colon: number, eol: number): boolean {
  if (bytes[colon + 1] !== SPACE) return false;
  return eol === colon + 2 || !(isBlank(bytes[colon + 2]!) || isBlank(bytes[eol - 1]!));
}

/** lengthOf is the value of a Content-Length at from…to-1: digits only, at most 2^53 - 1. -1 for anything else. */
export function lengthOf(bytes: Uint8Array, from: number, to: number): number {
  if (to === from) return -1;
  let length = 0;
  for (let i = from; i < to; i++) {
    const digit = bytes[i]! - ZERO;
    if (digit < 0 || digit > 9) return -1;
    length = length * 10 + digit;
    if (length > Number.MAX_SAFE_INTEGER) return -1;
  }
  return length;
}

/** lengthOfText is lengthOf for text. */
export function lengthOfText(value: string): number {
  const length = /^\d+$/.test(value) ? Number(value) : -1;
  return length <= Number.MAX_SAFE_INTEGER ? length : -1;
}

/** isAt tells whether the bytes from `from` on are the wanted ones. */
export function isAt(bytes: Uint8Array, from: number, wanted: Uint8Array): boolean {
  for (let i = 0; i < wanted.length; i++) if (bytes[from + i] !== wanted[i]) return false;
  return true;
}
