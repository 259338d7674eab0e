/** Chunk extensions, read as strictly as llhttp does: `;name`, `;name=value` or `;name="value"`, no blanks (RFC 9112 §7.1.1). */
import { CR, TEXT_BYTES, TOKEN_BYTES } from './head-bytes.ts';

export const SEMICOLON = 59;
const EQUALS = 61;
const QUOTE = 34;
const BACKSLASH = 92;

/** The parts of an extension. A semicolon has come: a name follows. */
export const START = 0;
const NAME = 1;
const VALUE = 2;
const QUOTED = 3;
const ESCAPED = 4;
const CLOSED = 5;
/** The CR after the extensions has come. */
export const END = 6;
export const BAD = 7;

/** nextPart is the part that the next byte leads to; the body reader calls it for each byte. */
export function nextPart(part: number, byte: number): number {
  switch (part) {
    case START:
      return byte === CR ? BAD : nextPart(NAME, byte);
    case NAME:
    case VALUE:
      if (TOKEN_BYTES[byte] !== 0) return part;
      if (byte === EQUALS && part === NAME) return VALUE;
      if (byte === QUOTE && part === VALUE) return QUOTED;
      return behindExtension(byte);
    case QUOTED:
      if (byte === QUOTE) return CLOSED;
      if (byte === BACKSLASH) return ESCAPED;
      return TEXT_BYTES[byte] === 1 ? QUOTED : BAD;
    case ESCAPED:
      return TEXT_BYTES[byte] === 1 ? QUOTED : BAD;
    default:
      return behindExtension(byte);
  }
}

function behindExtension(byte: number): number {
  if (byte === CR) return END;
  return byte === SEMICOLON ? START : BAD;
}
