/**
 * The one canonical text of an address and of a range, shared by the client directory and the limiter: they meet in the
 * name of a bucket, so two spellings of one address would be two buckets.
 */
import { isIP } from 'node:net';
import ipaddr from 'ipaddr.js';

const V4_BITS = 32;
const V6_BITS = 128;
/** Bits before the IPv4 part of an IPv4-mapped address (RFC 4291 §2.5.5.2). */
const MAPPED_BITS = V6_BITS - V4_BITS;
/** The longest text of an address with a zone; longer input is not looked at. */
const MAX_ADDRESS_LENGTH = 64;

/**
 * canonicalAddress returns the one spelling of an address (RFC 5952): IPv4-mapped IPv6 as IPv4, a zone cut off; null for
 * anything that is no address. Octal, hexadecimal and shortened IPv4 are no addresses.
 */
export function canonicalAddress(text: string): string | null {
  if (text.length > MAX_ADDRESS_LENGTH) return null;
  const family = isIP(text);
  if (family === 4) return text;
  if (family === 0) return null;
  const zoneAt = text.indexOf('%');
  return ipaddr.process(zoneAt === -1 ? text : text.slice(0, zoneAt)).toString();
}

/**
 * canonicalRange returns `address/prefix` with the host bits cleared, or the plain address where the prefix covers all
 * of it. IPv4-mapped ranges become IPv4 ones. null if the text is neither an address nor a CIDR.
 */
export function canonicalRange(text: string): string | null {
  const slash = text.indexOf('/');
  if (slash === -1) return text.includes('%') ? null : canonicalAddress(text);
  const prefixText = text.slice(slash + 1);
  const family = isIP(text.slice(0, slash));
  if (family === 0 || text.includes('%') || !/^\d{1,3}$/.test(prefixText)) return null;
  const prefix = Number(prefixText);
  if (prefix > (family === 4 ? V4_BITS : V6_BITS)) return null;
  const address = ipaddr.parse(text.slice(0, slash));
  if (address instanceof ipaddr.IPv6 && address.isIPv4MappedAddress() && prefix >= MAPPED_BITS) {
    return networkOf(address.toIPv4Address(), prefix - MAPPED_BITS);
  }
  return networkOf(address, prefix);
}

/** hostPort joins a host and a port, with brackets around an IPv6 address (RFC 3986 §3.2.2). */
export function hostPort(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/**
 * groupOf returns the range that an address belongs to when prefixes of these lengths are told apart; the address itself
 * for 32 and 128.
 *
 * @param address canonical address
 */
export function groupOf(address: string, ipv4Prefix: number, ipv6Prefix: number): string {
  const parsed = ipaddr.parse(address);
  return networkOf(parsed, parsed.kind() === 'ipv4' ? ipv4Prefix : ipv6Prefix);
}

function networkOf(address: ipaddr.IPv4 | ipaddr.IPv6, prefix: number): string {
  const bytes = address.toByteArray();
  if (prefix >= bytes.length * 8) return address.toString();
  const kept = bytes.map((byte, index) => {
    const bits = Math.min(8, Math.max(0, prefix - index * 8));
    return byte & (0xff00 >> bits) & 0xff;
  });
  return `${ipaddr.fromByteArray(kept).toString()}/${prefix}`;
}
