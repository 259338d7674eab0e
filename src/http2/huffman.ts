/** Reads strings in the Huffman code of HPACK (RFC 7541 §5.2 and Appendix B). Sluice writes none: fewer bytes would not pay for the time. */
import { compressionError } from './frames.ts';

/**
 * The bytes whose codes have 5, 6, 7 … 30 bits. The code is canonical: codes of one length are consecutive numbers in the order of
 * their bytes, and the first one follows from the codes before. The last code of 30 bits is EOS, which no string may hold.
 */
const BYTES_BY_LENGTH: Readonly<Record<number, string>> = {
  5: '012aceiost',
  6: ' %-./3456789=A_bdfghlmnpru',
  7: ':BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz',
  8: '&*,;XZ',
  10: '!"()?',
  11: "'+|",
  12: '#>',
  13: '\0$@[]~',
  14: '^}',
  15: '<`{',
  19: '\\\xc3\xd0',
  20: '\x80\x82\x83\xa2\xb8\xc2\xe0\xe2',
  21: '\x99\xa1\xa7\xac\xb0\xb1\xb3\xd1\xd8\xd9\xe3\xe5\xe6',
  22: '\x81\x84\x85\x86\x88\x92\x9a\x9c\xa0\xa3\xa4\xa9\xaa\xad\xb2\xb5\xb9\xba\xbb\xbd\xbe\xc4\xc6\xe4\xe8\xe9',
  23: '\x01\x87\x89\x8a\x8b\x8c\x8d\x8f\x93\x95\x96\x97\x98\x9b\x9d\x9e\xa5\xa6\xa8\xae\xaf\xb4\xb6\xb7\xbc\xbf\xc5\xe7\xef',
  24: '\t\x8e\x90\x91\x94\x9f\xab\xce\xd7\xe1\xec\xed',
  25: '\xc7\xcf\xea\xeb',
  26: '\xc0\xc1\xc8\xc9\xca\xcd\xd2\xd5\xda\xdb\xee\xf0\xf2\xf3\xff',
  27: '\xcb\xcc\xd3\xd4\xd6\xdd\xde\xdf\xf1\xf4\xf5\xf6\xf7\xf8\xfa\xfb\xfc\xfd\xfe',
  28: '\x02\x03\x04\x05\x06\x07\x08\x0b\x0c\x0e\x0f\x10\x11\x12\x13\x14\x15\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f\x7f\xdc\xf9',
  30: '\n\r\x16',
};

const LONGEST_CODE = 30;
const FIRST_CODES = new Int32Array(LONGEST_CODE + 1);
for (let bits = 1, code = 0; bits <= LONGEST_CODE; bits++) {
  FIRST_CODES[bits] = code;
  code = 2 * (code + (BYTES_BY_LENGTH[bits] ?? '').length);
}

/** This many bits are looked up at once. They hold one or two characters of most texts. */
const PEEK_BITS = 12;
const PEEK_MASK = 2 ** PEEK_BITS - 1;
/** By the next PEEK_BITS bits: the first byte | its bits << 8; 0 where no code ends within them. */
const SINGLES = new Uint16Array(2 ** PEEK_BITS);
/** By the same: first byte | second byte << 8 | bits of both << 16 | 2 << 24; or with one byte, if a second one does not end within them. */
const PAIRS = new Int32Array(2 ** PEEK_BITS);
for (let bits = 1; bits <= PEEK_BITS; bits++) {
  [...(BYTES_BY_LENGTH[bits] ?? '')].forEach((text, i) => {
    const from = (FIRST_CODES[bits]! + i) << (PEEK_BITS - bits);
    SINGLES.fill(text.charCodeAt(0) | (bits << 8), from, from + 2 ** (PEEK_BITS - bits));
  });
}
for (let peeked = 0; peeked <= PEEK_MASK; peeked++) {
  const first = SINGLES[peeked]!;
  if (first === 0) continue;
  const bits = first >>> 8;
  const second = SINGLES[(peeked << bits) & PEEK_MASK]!;
  const bothBits = bits + (second >>> 8);
  PAIRS[peeked] =
    second !== 0 && bothBits <= PEEK_BITS
      ? (first & 0xff) | ((second & 0xff) << 8) | (bothBits << 16) | (2 << 24)
      : (first & 0xff) | (bits << 16) | (1 << 24);
}

/** maxDecodedBytes is the room that `decodeHuffman` needs for this many bytes: no code has less than 5 bits, and two bytes are written at once. */
export function maxDecodedBytes(bytes: number): number {
  return Math.floor((bytes * 8) / 5) + 2;
}

/**
 * decodeHuffman decodes the bytes at from…to-1 into `out`.
 * @returns the number of decoded bytes
 * @throws Http2Error COMPRESSION_ERROR: EOS, or an end that is not less than 8 bits of ones
 */
export function decodeHuffman(bytes: Uint8Array, from: number, to: number, out: Uint8Array): number {
  let at = from;
  let length = 0;
  /** Its lowest `bitCount` bits are the next ones. */
  let window = 0;
  let bitCount = 0;
  for (;;) {
    while (bitCount < 24 && at < to) {
      window = (window << 8) | bytes[at++]!;
      bitCount += 8;
    }
    if (bitCount < PEEK_BITS) return decodeEnd(window, bitCount, out, length);
    const pair = PAIRS[(window >>> (bitCount - PEEK_BITS)) & PEEK_MASK]!;
    if (pair === 0) {
      const bit = 8 * at - bitCount;
      const found = decodeLong(bytes, bit, 8 * to);
      out[length++] = found;
      const next = bit + (found >>> 8);
      at = (next + 7) >>> 3;
      bitCount = 8 * at - next;
      window = bytes[at - 1]!;
    } else {
      out[length] = pair;
      out[length + 1] = pair >>> 8;
      length += pair >>> 24;
      bitCount -= (pair >>> 16) & 0xff;
    }
  }
}

/** Decodes the last bits, which are less than PEEK_BITS. @returns the number of all decoded bytes */
function decodeEnd(window: number, bitCount: number, out: Uint8Array, decodedBytes: number): number {
  let length = decodedBytes;
  let rest = bitCount;
  for (;;) {
    const ones = 2 ** (PEEK_BITS - rest) - 1;
    const peeked = ((window << (PEEK_BITS - rest)) | ones) & PEEK_MASK;
    const single = SINGLES[peeked]!;
    const bits = single >>> 8;
    if (single !== 0 && bits <= rest) {
      out[length++] = single;
      rest -= bits;
    } else if (rest < 8 && peeked === PEEK_MASK) return length;
    else throw compressionError('A Huffman-coded text is cut or has bad padding.');
  }
}

/** Reads a code of more than PEEK_BITS bits. @returns byte | bits << 8 */
function decodeLong(bytes: Uint8Array, fromBit: number, toBit: number): number {
  let code = 0;
  for (let bits = 1; bits <= LONGEST_CODE && fromBit + bits <= toBit; bits++) {
    const bit = fromBit + bits - 1;
    code = (code << 1) | ((bytes[bit >>> 3]! >>> (7 - (bit & 7))) & 1);
    const index = code - FIRST_CODES[bits]!;
    const known = BYTES_BY_LENGTH[bits];
    if (bits > PEEK_BITS && known !== undefined && index < known.length)
      return known.charCodeAt(index) | (bits << 8);
  }
  throw compressionError('A Huffman-coded text is cut or holds EOS.');
}
