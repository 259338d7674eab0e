/**
 * The canonical text of addresses and ranges. The client directory and the limiter share it because both name buckets: two
 * spellings of one address would be two buckets.
 */
import { isIP } from 'node:net';
import ipaddr from 'ipaddr.js';
import type { ListenAddress } from './settings.ts';

const V4_BITS = 32;
const V6_BITS = 128;
/** Bits before the IPv4 part of an IPv4-mapped address (RFC 4291 §2.5.5.2). */
const MAPPED_BITS = V6_BITS - V4_BITS;
const MAPPED = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
/** No address is longer, its zone included. */
const MAX_ADDRESS_LENGTH = 64;

/** UNIX_PEER stands for the address of a peer on a Unix socket, also in `trustedProxies`. */
export const UNIX_PEER = 'unix:';

/**
 * canonicalAddress returns the one spelling of an address (RFC 5952): IPv4-mapped IPv6 as IPv4, without zone; null for
 * text that is not an address. Octal, hexadecimal and shortened IPv4 are refused.
 */
export function canonicalAddress(text: string): string | null {
  if (text.length > MAX_ADDRESS_LENGTH) return null;
  const family = isIP(text);
  if (family === 4) return text;
  if (family === 0) return null;
  const zoneAt = text.indexOf('%');
  return ipaddr.process(zoneAt === -1 ? text : text.slice(0, zoneAt)).toString();
}

/** isWildcard: whether it stands for every address of this machine, of IPv4 alone or of both. A ListenAddress has null for it too. */
export function isWildcard(host: string): boolean {
  return host === '::' || host === '0.0.0.0';
}

/** A range, or with all of its bits an address: IPv4-mapped IPv6 is IPv4, host bits are zero. */
interface Network {
  /** 4 or 16. */
  bytes: number[];
  /** Length of the prefix, 0…32 or 0…128. */
  bits: number;
}

/** parseNetwork reads an address or a CIDR without a zone; null for anything else. */
export function parseNetwork(text: string): Network | null {
  const slash = text.indexOf('/');
  const address = slash === -1 ? text : text.slice(0, slash);
  const family = isIP(address);
  if (family === 0 || address.includes('%')) return null;
  const fullBits = family === 4 ? V4_BITS : V6_BITS;
  const bits = slash === -1 ? fullBits : prefixOf(text.slice(slash + 1));
  if (bits > fullBits) return null;
  if (family === 4) return networkOf(address.split('.').map(Number), bits);
  const bytes = ipv6Bytes(address);
  const isMapped = bits >= MAPPED_BITS && MAPPED.every((byte, index) => bytes[index] === byte);
  return isMapped ? networkOf(bytes.slice(MAPPED.length), bits - MAPPED_BITS) : networkOf(bytes, bits);
}

/** networkText writes `address/prefix`, or the plain address where the prefix covers all of it. */
export function networkText({ bytes, bits }: Network): string {
  const address = bytes.length === 4 ? bytes.join('.') : ipaddr.fromByteArray(bytes).toString();
  return bits === bytes.length * 8 ? address : `${address}/${bits}`;
}

/** canonicalRange returns the one spelling of an address or a CIDR; null if the text is neither. */
export function canonicalRange(text: string): string | null {
  const network = parseNetwork(text);
  return network === null ? null : networkText(network);
}

/** hostPort joins a host and a port, with brackets around an IPv6 address (RFC 3986 §3.2.2). */
export function hostPort(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** backendUrl is the URL of a backend. */
export function backendUrl({ host, port, tls }: { host: string; port: number; tls: boolean }): string {
  return `${tls ? 'https' : 'http'}://${hostPort(host, port)}`;
}

/** addressText is an address as the configuration has it: `127.0.0.1:8080`, `:8080`, `unix:/path`. */
export function addressText(address: ListenAddress): string {
  if (address.kind === 'unix') return `unix:${address.path}`;
  return hostPort(address.host ?? '', address.port);
}

/**
 * addressesByKey names each address of `listen`, for messages and over reloads: by its text, with a number behind it where several ask
 * for any free port of one host.
 */
export function addressesByKey<T extends ListenAddress>(listen: readonly T[]): Map<string, T> {
  const byKey = new Map<string, T>();
  for (const address of listen) {
    const text = addressText(address);
    let key = text;
    for (let count = 2; byKey.has(key); count++) key = `${text} (${count})`;
    byKey.set(key, address);
  }
  return byKey;
}

/** addressUrl is the URL of a listener (`http://127.0.0.1:8080`, `unix:/path`). @param port the real one, where 0 was asked for */
export function addressUrl(address: ListenAddress & { tls?: object | null }, port: number): string {
  if (address.kind === 'unix') return addressText(address);
  const { host } = address;
  // A client cannot connect to a wildcard.
  const shown = host === null || isWildcard(host) ? '127.0.0.1' : host;
  return `${address.tls ? 'https' : 'http'}://${hostPort(shown, port)}`;
}

/** groupOf returns the range of a canonical address by the length of its prefix; for 32 and 128 the address itself. */
export function groupOf(address: string, ipv4Prefix: number, ipv6Prefix: number): string {
  const bytes = ipaddr.parse(address).toByteArray();
  const prefix = bytes.length === 4 ? ipv4Prefix : ipv6Prefix;
  return networkText(networkOf(bytes, Math.min(prefix, bytes.length * 8)));
}

/** clearHostBits sets the bits after the prefix to zero, in the address of `byteCount` bytes that begins at `from`. */
export function clearHostBits(
  bytes: number[] | Uint8Array,
  from: number,
  byteCount: number,
  bits: number,
): void {
  for (let i = bits >> 3; i < byteCount; i++) {
    const kept = Math.max(0, bits - i * 8);
    bytes[from + i] = (bytes[from + i] ?? 0) & (0xff00 >> kept) & 0xff;
  }
}

function networkOf(bytes: number[], bits: number): Network {
  clearHostBits(bytes, 0, bytes.length, bits);
  return { bytes, bits };
}

/** Four times as fast as ipaddr.js, for the table of clients. @param text an IPv6 address by isIP, without a zone */
function ipv6Bytes(text: string): number[] {
  const [head = '', tail = ''] = text.split('::');
  const [first, last] = [groupBytes(head), groupBytes(tail)];
  // As ipaddr.js does it in canonicalAddress: `::1.2.3.4` is taken for `::ffff:1.2.3.4`.
  if (first.length === 0 && last.length === 4 && tail.includes('.')) return [...MAPPED, ...last];
  const gap = V6_BITS / 8 - first.length - last.length;
  for (let i = 0; i < gap; i++) first.push(0);
  first.push(...last);
  return first;
}

function groupBytes(groups: string): number[] {
  const bytes: number[] = [];
  if (groups === '') return bytes;
  for (const group of groups.split(':')) {
    if (group.includes('.')) for (const part of group.split('.')) bytes.push(Number(part));
    else {
      const value = Number.parseInt(group, 16);
      bytes.push(value >> 8, value & 0xff);
    }
  }
  return bytes;
}

/** Infinity for text that is not a number of bits. */
function prefixOf(text: string): number {
  return /^\d{1,3}$/.test(text) ? Number(text) : Number.POSITIVE_INFINITY;
}
