/** How a message says where its body ends (RFC 9112 §6), in the words that both directions share. */
import { ZERO } from './head-bytes.ts';

/** The length of a body that ends with its connection (RFC 9112 §6.3, last case), beside NO_BODY and CHUNKED_BODY; answers only. */
export const UNTIL_CLOSE_BODY = -3;

/**
 * lengthOf is the value of a Content-Length at from…to-1: digits only, at most 2^53 - 1; -1 for anything else. Read from
 * bytes, so that no string is made of it.
 */
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

/** isChunked tells whether a Transfer-Encoding is the one coding that is understood; any other is refused. */
export function isChunked(value: string): boolean {
  return value === 'chunked' || value.toLowerCase() === 'chunked';
}
