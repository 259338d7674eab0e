/**
 * Writes the header by which a proxy tells a server whose connection it forwards (the PROXY protocol, versions 1 and 2, as HAProxy
 * defines it). It is the first thing on a connection, before TLS.
 */
import { canonicalAddress, parseNetwork } from '../../contract/addresses.ts';
import type { ConnectionEnds } from '../../contract/downstream.ts';

/** The first 12 bytes of a header of version 2; no request and no TLS handshake begins so. */
export const V2_SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex');
/** Version 2 with the commands LOCAL (the connection is the proxy's own) and PROXY. */
export const V2_LOCAL = 0x20;
export const V2_PROXY = 0x21;
/** Family and protocol: TCP over IPv4, TCP over IPv6. */
const V2_TCP4 = 0x11;
const V2_TCP6 = 0x21;

const UNKNOWN = 'PROXY UNKNOWN\r\n';
const MAPPED = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

type ProxyVersion = 'v1' | 'v2';

/** proxyHeader is the header for one connection, latin1. @param ends null: no client has caused it (a health check) */
export function proxyHeader(version: ProxyVersion, ends: ConnectionEnds | null): string {
  const source = bytesOf(ends?.remoteAddress);
  const target = bytesOf(ends?.localAddress);
  const ports = [ends?.remotePort ?? 0, ends?.localPort ?? 0] as const;
  if (source === null || target === null) return version === 'v1' ? UNKNOWN : v2Header(V2_LOCAL, 0, []);
  const isV4 = source.length === 4 && target.length === 4;
  const addresses = isV4 ? ([source, target] as const) : ([mapped(source), mapped(target)] as const);
  if (version === 'v2') {
    const portBytes = ports.flatMap((port) => [port >> 8, port & 0xff]);
    return v2Header(V2_PROXY, isV4 ? V2_TCP4 : V2_TCP6, [...addresses[0], ...addresses[1], ...portBytes]);
  }
  const texts = addresses.map(isV4 ? (bytes) => bytes.join('.') : ipv6Text);
  return `PROXY ${isV4 ? 'TCP4' : 'TCP6'} ${texts.join(' ')} ${ports.join(' ')}\r\n`;
}

function v2Header(command: number, family: number, payload: readonly number[]): string {
  const { length } = payload;
  const head = [command, family, length >> 8, length & 0xff];
  return Buffer.concat([V2_SIGNATURE, Buffer.from([...head, ...payload])]).toString('latin1');
}

/** 4 bytes for IPv4, also where it is mapped into IPv6; null for no address (a Unix socket). */
function bytesOf(address: string | undefined): readonly number[] | null {
  const canonical = address === undefined ? null : canonicalAddress(address);
  return canonical === null ? null : (parseNetwork(canonical)?.bytes ?? null);
}

function mapped(bytes: readonly number[]): readonly number[] {
  return bytes.length === 4 ? [...MAPPED, ...bytes] : bytes;
}

/** Eight groups, which every reader understands. */
function ipv6Text(bytes: readonly number[]): string {
  return Array.from({ length: 8 }, (_, i) => ((bytes[2 * i]! << 8) | bytes[2 * i + 1]!).toString(16)).join(
    ':',
  );
}
