/**
 * The id of a client as a few bytes, by which the client table finds it: addresses and ranges by what they mean, however
 * they are spelt, names by their UTF-8. An IPv4 address is 5 bytes, an IPv6 one 17.
 *
 *   0  kind
 *   1  name: its UTF-8; address: its 4 or 16 bytes; range: the number of its prefix bits, then the address
 */
import { isIPv6 } from 'node:net';
import ipaddr from 'ipaddr.js';

export const NAME = 0;
export const IPV4 = 1;
export const IPV4_RANGE = 2;
export const IPV6 = 3;
export const IPV6_RANGE = 4;

/** The database's 128 characters in UTF-16, each unit of which is at most 3 bytes of UTF-8. */
const MAX_UNITS = 256;
export const MAX_KEY_BYTES = 1 + 3 * MAX_UNITS;
const V4_BYTES = 4;
const V6_BYTES = 16;
/** Bytes before the IPv4 part of an IPv4-mapped address (RFC 4291 §2.5.5.2). */
const MAPPED_BYTES = V6_BYTES - V4_BYTES;

const DOT = 46;
const ZERO = 48;
const COLON = 58;

/**
 * writeKey writes the key of an id, or of an address that is looked for, into `out` (MAX_KEY_BYTES at least).
 *
 * @returns its length; 0: too long to be anybody's
 */
export function writeKey(id: string, out: Buffer): number {
  if (id.length > MAX_UNITS) return 0;
  // Most are told apart by their first character; a name may look like an address until its end, all the same.
  const length = looksLikeAddress(id) ? writeNetwork(id, out) : 0;
  if (length > 0) return length;
  out[0] = NAME;
  return 1 + out.write(id, 1);
}

/** readKey is the inverse of writeKey: the id in its canonical spelling. */
export function readKey(key: Buffer): string {
  const kind = key[0];
  if (kind === NAME) return key.toString('utf8', 1);
  if (kind === IPV4) return ipv4Text(key, 1);
  if (kind === IPV4_RANGE) return `${ipv4Text(key, 2)}/${key[1]}`;
  const isWhole = kind === IPV6;
  const text = ipaddr.fromByteArray([...key.subarray(isWhole ? 1 : 2)]).toString();
  return isWhole ? text : `${text}/${key[1]}`;
}

/**
 * rangeKeyOf writes the key of the range of `bits` bits that an address lies in.
 *
 * @param address key of kind IPV4 or IPV6
 * @param bits fewer than the address has
 * @returns the length of the key in `out`
 */
export function rangeKeyOf(address: Buffer, bits: number, out: Buffer): number {
  const isV4 = address[0] === IPV4;
  const byteCount = isV4 ? V4_BYTES : V6_BYTES;
  out[0] = isV4 ? IPV4_RANGE : IPV6_RANGE;
  out[1] = bits;
  address.copy(out, 2, 1, 1 + byteCount);
  clearHostBits(out, 2, { byteCount, bits });
  return 2 + byteCount;
}

/** Decides nothing: whether a closer look is worth it. */
function looksLikeAddress(id: string): boolean {
  const first = id.charCodeAt(0);
  const startsLikeV4 = first >= ZERO && first < COLON;
  return startsLikeV4 || id.includes(':');
}

/** 0: neither address nor range. */
function writeNetwork(id: string, out: Buffer): number {
  const slash = id.indexOf('/');
  if (slash === -1) return writeAddress(id, out, 1);
  const bits = prefixBitsOf(id, slash + 1);
  if (bits === -1) return 0;
  const length = writeAddress(id.slice(0, slash), out, 2);
  if (length === 0) return 0;
  const isMapped = out[0] === IPV4 && id.includes(':');
  return isMapped ? mappedRange(bits, id.slice(0, slash), out) : toRange(bits, out);
}

/** Turns the address that was written at 2 into a range. */
function toRange(bits: number, out: Buffer): number {
  const byteCount = out[0] === IPV4 ? V4_BYTES : V6_BYTES;
  if (bits > byteCount * 8) return 0;
  if (bits === byteCount * 8) {
    out.copyWithin(1, 2, 2 + byteCount);
    return 1 + byteCount;
  }
  out[0] = byteCount === V4_BYTES ? IPV4_RANGE : IPV6_RANGE;
  out[1] = bits;
  clearHostBits(out, 2, { byteCount, bits });
  return 2 + byteCount;
}

/** `::ffff:10.0.0.0/104` is `10.0.0.0/8`; with fewer bits than 96 it is a range of IPv6. */
function mappedRange(bits: number, address: string, out: Buffer): number {
  if (bits >= MAPPED_BYTES * 8) return toRange(bits - MAPPED_BYTES * 8, out);
  if (!writeIpv6(address, out, 2)) return 0;
  out[0] = IPV6;
  return toRange(bits, out);
}

/** -1: no number of bits. */
function prefixBitsOf(id: string, from: number): number {
  if (id.length === from || id.length > from + 3) return -1;
  let bits = 0;
  for (let i = from; i < id.length; i++) {
    const digit = id.charCodeAt(i) - ZERO;
    if (digit < 0 || digit > 9) return -1;
    bits = bits * 10 + digit;
  }
  return bits;
}

/** Writes the kind at 0 and the address at `at`; returns where it ends, 0: no address. */
function writeAddress(text: string, out: Buffer, at: number): number {
  if (writeIpv4(text, out, at)) {
    out[0] = IPV4;
    return at + V4_BYTES;
  }
  // A zone is no part of an id; isIPv6 would let it pass.
  if (text.includes('%') || !isIPv6(text) || !writeIpv6(text, out, at)) return 0;
  out[0] = IPV6;
  if (!isMapped(out, at)) return at + V6_BYTES;
  out.copyWithin(at, at + MAPPED_BYTES, at + V6_BYTES);
  out[0] = IPV4;
  return at + V4_BYTES;
}

/** Four decimal numbers without leading zeros, as node's isIPv4; five times as fast as asking it and splitting. */
function writeIpv4(text: string, out: Buffer, at: number): boolean {
  let index = at;
  let value = -1;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === DOT) {
      if (value === -1 || index === at + 3) return false;
      out[index++] = value;
      value = -1;
      continue;
    }
    const digit = code - ZERO;
    if (digit < 0 || digit > 9 || value === 0) return false;
    value = value === -1 ? digit : value * 10 + digit;
    if (value > 255) return false;
  }
  if (value === -1 || index !== at + 3) return false;
  out[index] = value;
  return true;
}

/** @param text an address by isIPv6, without a zone */
function writeIpv6(text: string, out: Buffer, at: number): boolean {
  const gap = text.indexOf('::');
  // `::1.2.3.4` is taken for `::ffff:1.2.3.4`, as by ipaddr.js in contract/addresses.ts: both must find the same bucket.
  if (gap === 0 && text.lastIndexOf(':') === 1 && text.includes('.')) {
    out.fill(0, at, at + MAPPED_BYTES - 2).fill(0xff, at + MAPPED_BYTES - 2, at + MAPPED_BYTES);
    return writeIpv4(text.slice(2), out, at + MAPPED_BYTES);
  }
  const head = gap === -1 ? text : text.slice(0, gap);
  out.fill(0, at, at + V6_BYTES);
  const end = writeGroups(head, out, at);
  if (gap === -1) return end === at + V6_BYTES;
  const tail = text.slice(gap + 2);
  const tailBytes = byteCountOf(tail);
  return writeGroups(tail, out, at + V6_BYTES - tailBytes) === at + V6_BYTES || tailBytes === 0;
}

function byteCountOf(groups: string): number {
  if (groups === '') return 0;
  let count = 2;
  for (let i = 0; i < groups.length; i++) if (groups.charCodeAt(i) === COLON) count += 2;
  // A dotted end is two groups in one.
  return groups.includes('.') ? count + 2 : count;
}

function writeGroups(groups: string, out: Buffer, at: number): number {
  if (groups === '') return at;
  let index = at;
  for (const group of groups.split(':')) {
    if (group.includes('.')) {
      if (!writeIpv4(group, out, index)) return 0;
      index += V4_BYTES;
    } else index = out.writeUInt16BE(Number.parseInt(group, 16), index);
  }
  return index;
}

function isMapped(out: Buffer, at: number): boolean {
  for (let i = 0; i < MAPPED_BYTES - 2; i++) if (out[at + i] !== 0) return false;
  return out[at + MAPPED_BYTES - 2] === 0xff && out[at + MAPPED_BYTES - 1] === 0xff;
}

function clearHostBits(out: Buffer, at: number, range: { byteCount: number; bits: number }): void {
  for (let i = range.bits >> 3; i < range.byteCount; i++) {
    const kept = Math.max(0, range.bits - i * 8);
    out[at + i] = (out[at + i] ?? 0) & (0xff00 >> kept) & 0xff;
  }
}

function ipv4Text(key: Buffer, at: number): string {
  return `${key[at]}.${key[at + 1]}.${key[at + 2]}.${key[at + 3]}`;
}

const FNV_OFFSET = 0x811c9dc5;
const FNV_PRIME = 0x01000193;

/** hashKey mixes the first `length` bytes of a key into 32 bits, unsigned: FNV-1a, and MurmurHash3's end for its low bits. */
export function hashKey(key: Buffer, length: number): number {
  let hash = FNV_OFFSET;
  for (let i = 0; i < length; i++) hash = Math.imul(hash ^ (key[i] ?? 0), FNV_PRIME);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
