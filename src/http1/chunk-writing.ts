/** Writes the framing of a body in chunks, in both directions (RFC 9112 §7.1). */
import { BAD_VALUE } from './head-bytes.ts';
import { isTrailerAllowed } from './header-names.ts';

export const CRLF = '\r\n';

/** chunkHead is the size line of a chunk. `bytes` is 1 or more: 0 would end the body. */
export function chunkHead(bytes: number): string {
  return `${bytes.toString(16)}\r\n`;
}

/**
 * lastChunk ends a body in chunks. Trailers whose names or values may not pass are left out. Names of an answer were looked at when they
 * were read: more of them pass, such as those with `_`.
 */
export function lastChunk(rawTrailers: readonly string[], { ofAnswer = false } = {}): string {
  let lines = '';
  for (let i = 0; i + 1 < rawTrailers.length; i += 2) {
    const name = rawTrailers[i] ?? '';
    const value = rawTrailers[i + 1] ?? '';
    if ((ofAnswer || isTrailerAllowed(name)) && !BAD_VALUE.test(value)) lines += `${name}: ${value}\r\n`;
  }
  return `0\r\n${lines}${CRLF}`;
}

/** withoutTrailer leaves out the pairs of this name, in any case. */
export function withoutTrailer(rawTrailers: string[], lowerName: string): string[] {
  return rawTrailers.filter((_, i) => rawTrailers[i - (i % 2)]?.toLowerCase() !== lowerName);
}
