/**
 * The id of a record in a few bytes, by which the directory's tables find it. Two spellings of an address are one id.
 *
 *   0  kind
 *   1  name: the length of its UTF-8, uint16, and the UTF-8; address: its 4 or 16 bytes; range: the number of its prefix bits,
 *      then the address; API key: the 32 bytes of its digest
 */
import { clearHostBits, networkText, parseNetwork } from '../contract/addresses.ts';

const NAME = 0;
/** The kind of a range is one more than that of its address. */
export const IPV4 = 1;
export const IPV4_RANGE = 2;
export const IPV6 = 3;
export const IPV6_RANGE = 4;
export const API_KEY = 5;

/** The database's 128 characters in UTF-16, each unit of which is at most 3 bytes of UTF-8. */
const MAX_UNITS = 256;
export const MAX_ID_BYTES = 3 + 3 * MAX_UNITS;
const V4_BYTES = 4;
const V6_BYTES = 16;

const DOT = 46;
const ZERO = 48;
const COLON = 58;

/**
 * writeId packs a client's id, or an address that is looked for, into `out` (at least MAX_ID_BYTES).
 *
 * @returns its length; 0: too long to be anybody's
 */
export function writeId(id: string, out: Buffer): number {
  if (id.length > MAX_UNITS) return 0;
  if (writeIpv4(id, out)) return 1 + V4_BYTES;
  const network = looksLikeAddress(id) ? parseNetwork(id) : null;
  if (network === null) {
    out[0] = NAME;
    const nameBytes = out.write(id, 3);
    return out.writeUInt16LE(nameBytes, 1) + nameBytes;
  }
  const { bytes, bits } = network;
  const isRange = bits < bytes.length * 8;
  out[0] = (bytes.length === V4_BYTES ? IPV4 : IPV6) + (isRange ? 1 : 0);
  out[1] = bits;
  const at = isRange ? 2 : 1;
  out.set(bytes, at);
  return at + bytes.length;
}

const BYTES_BY_KIND = [0, V4_BYTES, 1 + V4_BYTES, V6_BYTES, 1 + V6_BYTES, 32];

/** idLengthOf is the length of an id of this kind, whose second byte is at `at`. */
export function idLengthOf(kind: number, bytes: Buffer, at: number): number {
  return 1 + (kind === NAME ? 2 + bytes.readUInt16LE(at) : (BYTES_BY_KIND[kind] ?? 0));
}

/** writeDigest packs an API key's digest of 32 bytes into `out`, and returns the length. */
export function writeDigest(digest: Uint8Array, out: Buffer): number {
  out[0] = API_KEY;
  out.set(digest, 1);
  return 1 + digest.length;
}

/** readId is the inverse of writeId: the client's id in its canonical spelling. */
export function readId(id: Buffer): string {
  const kind = id[0];
  if (kind === NAME) return id.toString('utf8', 3);
  const isRange = kind === IPV4_RANGE || kind === IPV6_RANGE;
  const bytes = [...id.subarray(isRange ? 2 : 1)];
  return networkText({ bytes, bits: isRange ? (id[1] ?? 0) : bytes.length * 8 });
}

/**
 * rangeIdOf packs the range of `bits` bits that an address lies in.
 *
 * @param address packed, of kind IPV4 or IPV6
 * @param bits fewer than the address has
 * @returns the length of the range's id in `out`
 */
export function rangeIdOf(address: Buffer, bits: number, out: Buffer): number {
  const byteCount = address[0] === IPV4 ? V4_BYTES : V6_BYTES;
  out[0] = (address[0] ?? NAME) + 1;
  out[1] = bits;
  address.copy(out, 2, 1, 1 + byteCount);
  clearHostBits(out, 2, byteCount, bits);
  return 2 + byteCount;
}

/** Ten times as fast as parseNetwork, because most ids are plain IPv4 addresses. Accepts what node's isIPv4 does. */
function writeIpv4(text: string, out: Buffer): boolean {
  let index = 1;
  let value = -1;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === DOT) {
      if (value === -1 || index === V4_BYTES) return false;
      out[index++] = value;
      value = -1;
      continue;
    }
    const digit = code - ZERO;
    // A number with a leading zero is not decimal.
    if (digit < 0 || digit > 9 || value === 0) return false;
    value = value === -1 ? digit : value * 10 + digit;
    if (value > 255) return false;
  }
  if (value === -1 || index !== V4_BYTES) return false;
  out[0] = IPV4;
  out[index] = value;
  return true;
}

/** Whether a closer look is worth it. */
function looksLikeAddress(id: string): boolean {
  const first = id.charCodeAt(0);
  return (first >= ZERO && first < COLON) || id.includes(':');
}

const FNV_OFFSET = 0x811c9dc5;
const FNV_PRIME = 0x01000193;

/** hashId mixes the first `length` bytes into 32 bits, unsigned: FNV-1a, and the end of MurmurHash3 for the low bits. */
export function hashId(id: Buffer, length: number): number {
  let hash = FNV_OFFSET;
  for (let i = 0; i < length; i++) hash = Math.imul(hash ^ (id[i] ?? 0), FNV_PRIME);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
