/** Framing of a body in chunks, written in both directions (RFC 9112 §7.1). */
import { isTrailerAllowed } from './header-names.ts';

export const CRLF = '\r\n';
/** The size line of the last chunk; trailers and CRLF follow. */
const LAST_CHUNK = '0\r\n';

const BAD_VALUE = /[\x00-\x08\x0a-\x1f\x7f]/;

/** chunkHead is the size line of a chunk of `bytes` bytes, 1 or more: 0 would end the body. */
export function chunkHead(bytes: number): string {
  return `${bytes.toString(16)}\r\n`;
}

/** lastChunk ends a body in chunks; trailers that may not pass are left out. */
export function lastChunk(rawTrailers: readonly string[]): string {
  return `${LAST_CHUNK}${trailerLines(rawTrailers)}${CRLF}`;
}

/** withoutTrailer leaves out the pairs of this name, in any case. */
export function withoutTrailer(rawTrailers: string[], lowerName: string): string[] {
  return rawTrailers.filter((_, i) => rawTrailers[i - (i % 2)]?.toLowerCase() !== lowerName);
}

/** trailerLines writes the pairs that may pass behind a body; those with names or values that may not are left out. */
export function trailerLines(rawTrailers: readonly string[]): string {
  let lines = '';
  for (let i = 0; i + 1 < rawTrailers.length; i += 2) {
    const name = rawTrailers[i] ?? '';
    const value = rawTrailers[i + 1] ?? '';
    if (!isTrailerAllowed(name) || BAD_VALUE.test(value)) continue;
    lines += `${name}: ${value}\r\n`;
  }
  return lines;
}
