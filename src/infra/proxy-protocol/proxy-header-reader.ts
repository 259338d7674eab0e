/**
 * Reads the header of the PROXY protocol, versions 1 and 2, at the front of a connection. What is not exactly a header is refused:
 * a wrong address would be the one that limits, logs and backends see.
 */
import { isIPv4, isIPv6 } from 'node:net';
import { canonicalAddress } from '../../contract/addresses.ts';
import type { ConnectionEnds } from '../../contract/downstream.ts';
import { crc32c } from './crc32c.ts';
import { V2_LOCAL, V2_PROXY, V2_SIGNATURE } from './proxy-header.ts';

/** The longest line of version 1, CRLF included. */
const V1_MAX_BYTES = 107;
const V1_PREFIX = Buffer.from('PROXY ', 'latin1');
const V1_LINE = /^PROXY (TCP4|TCP6) (\S+) (\S+) (0|[1-9]\d{0,4}) (0|[1-9]\d{0,4})$/;
const V1_UNKNOWN = /^PROXY UNKNOWN(?: .*)?$/;
const MAX_PORT = 65_535;

const V2_HEAD_BYTES = 16;
/** Of version 2 whole. Its length field would allow 64 KiB; the longest known extensions take some hundred bytes. */
const V2_MAX_BYTES = 4096;
/** Length of the addresses by family (the upper four bits); with the ports of TCP and UDP. */
const V2_ADDRESS_BYTES = [0, 12, 36, 216];
const V2_STREAM = 1;
const V2_DATAGRAM = 2;
const TLV_CRC32C = 0x03;
const TLV_HEAD_BYTES = 3;
const CRC_BYTES = 4;

/** Why bytes are no header. */
export type HeaderProblem = 'malformed' | 'too_long' | 'checksum';

/** `null` as ends: the header names no client (LOCAL, UNKNOWN, a Unix socket); the addresses of the connection stay. */
export type HeaderResult =
  | { state: 'more' }
  | { state: 'bad'; problem: HeaderProblem }
  | { state: 'done'; byteCount: number; ends: ConnectionEnds | null };

const MORE: HeaderResult = { state: 'more' };

/** readProxyHeader looks at all bytes that have come so far. What follows the header is not looked at. */
export function readProxyHeader(bytes: Buffer): HeaderResult {
  if (startsWith(bytes, V1_PREFIX)) return bytes.length < V1_PREFIX.length ? MORE : readV1(bytes);
  if (startsWith(bytes, V2_SIGNATURE)) return bytes.length < V2_HEAD_BYTES ? MORE : readV2(bytes);
  return bad('malformed');
}

/** As far as bytes have come. */
function startsWith(bytes: Buffer, prefix: Buffer): boolean {
  const size = Math.min(bytes.length, prefix.length);
  return bytes.compare(prefix, 0, size, 0, size) === 0;
}

function readV1(bytes: Buffer): HeaderResult {
  const end = bytes.subarray(0, V1_MAX_BYTES).indexOf('\r\n');
  if (end === -1) return bytes.length >= V1_MAX_BYTES ? bad('too_long') : MORE;
  const byteCount = end + 2;
  const line = bytes.toString('latin1', 0, end);
  if (V1_UNKNOWN.test(line)) return { state: 'done', byteCount, ends: null };
  const [, family, source = '', target = '', sourcePort, targetPort] = V1_LINE.exec(line) ?? [];
  const isAddress = family === 'TCP4' ? isIPv4 : isPlainIPv6;
  const ports = [Number(sourcePort), Number(targetPort)] as const;
  if (family === undefined || !isAddress(source) || !isAddress(target)) return bad('malformed');
  if (ports.some((port) => port > MAX_PORT)) return bad('malformed');
  return { state: 'done', byteCount, ends: endsOf(source, ports[0], target, ports[1]) };
}

function isPlainIPv6(text: string): boolean {
  return isIPv6(text) && !text.includes('%');
}

function readV2(bytes: Buffer): HeaderResult {
  const command = bytes[12]!;
  const family = bytes[13]! >> 4;
  const protocol = bytes[13]! & 0xf;
  const byteCount = V2_HEAD_BYTES + bytes.readUInt16BE(14);
  if (command !== V2_LOCAL && command !== V2_PROXY) return bad('malformed');
  const addressBytes = V2_ADDRESS_BYTES[family];
  if (addressBytes === undefined || protocol > V2_DATAGRAM) return bad('malformed');
  if (byteCount > V2_MAX_BYTES) return bad('too_long');
  if (bytes.length < byteCount) return MORE;
  const done: HeaderResult = { state: 'done', byteCount, ends: null };
  if (command === V2_LOCAL || family === 0) return done;
  const extensionsAt = V2_HEAD_BYTES + addressBytes;
  if (extensionsAt > byteCount) return bad('malformed');
  const problem = extensionProblem(bytes.subarray(0, byteCount), extensionsAt);
  if (problem !== null) return bad(problem);
  if (family === 3 || protocol !== V2_STREAM) return done;
  const size = family === 1 ? 4 : 16;
  const [source, target] = [V2_HEAD_BYTES, V2_HEAD_BYTES + size].map((at) => addressAt(bytes, at, size));
  const portsAt = V2_HEAD_BYTES + 2 * size;
  done.ends = endsOf(source!, bytes.readUInt16BE(portsAt), target!, bytes.readUInt16BE(portsAt + 2));
  return done;
}

function addressAt(bytes: Buffer, at: number, size: number): string {
  const part = bytes.subarray(at, at + size);
  if (size === 4) return part.join('.');
  const groups = Array.from({ length: 8 }, (_, i) => part.readUInt16BE(2 * i).toString(16));
  return groups.join(':');
}

/** Extensions (TLVs) are skipped, except the checksum over the whole header. */
function extensionProblem(header: Buffer, from: number): HeaderProblem | null {
  let at = from;
  while (at < header.length) {
    if (at + TLV_HEAD_BYTES > header.length) return 'malformed';
    const [type, length] = [header[at]!, header.readUInt16BE(at + 1)];
    const valueAt = at + TLV_HEAD_BYTES;
    at = valueAt + length;
    if (at > header.length) return 'malformed';
    if (type !== TLV_CRC32C) continue;
    if (length !== CRC_BYTES) return 'malformed';
    const zeroed = Buffer.from(header).fill(0, valueAt, at);
    if (crc32c(zeroed) !== header.readUInt32BE(valueAt)) return 'checksum';
  }
  return null;
}

function endsOf(source: string, sourcePort: number, target: string, targetPort: number): ConnectionEnds {
  return {
    remoteAddress: canonicalAddress(source) ?? undefined,
    remotePort: sourcePort,
    localAddress: canonicalAddress(target) ?? undefined,
    localPort: targetPort,
  };
}

function bad(problem: HeaderProblem): HeaderResult {
  return { state: 'bad', problem };
}
