/**
 * A client, or the tombstone of one, as the bytes in which processes hold and pass it: some 30 to 60 instead of the 300 to
 * 500 of an object, invisible to the garbage collector, and copied from process to process as they are.
 *
 *    0  head: bits 0-2 the kind of the key, bits 3-4 the mode (3: a tombstone)
 *    1  length of the whole, uint16
 *    3  version, float64, µs since the epoch
 *   11  key without its kind (client-key.ts); that of a name after its length, uint16
 *    …  limits, to the end; for each policy: length of its name, uint8 (0: `default`), the name, capacity, uint32, and
 *       tokens per second, float64
 *
 * Little-endian throughout. Functions with `at` take a buffer that holds whole records and the place of one of them.
 */
import type { BucketLimits, ClientMode, ClientRecord } from '../contract/clients.ts';
import { LbError } from '../contract/errors.ts';
import { DEFAULT_NAME } from '../contract/settings.ts';
import { IPV4, IPV4_RANGE, IPV6, IPV6_RANGE, MAX_KEY_BYTES, NAME, readKey, writeKey } from './client-key.ts';

/** No record is longer: the database bounds limits to 64 KiB of JSON, which is longer than what becomes of it. */
export const MAX_RECORD_BYTES = 0xffff;

const KIND_BITS = 3;
const KIND_MASK = (1 << KIND_BITS) - 1;
const MODES: readonly ClientMode[] = ['limit', 'unlimited', 'blocked'];
const TOMBSTONE = 3;
const VERSION_AT = 3;
const KEY_AT = 11;
const LIMIT_BYTES = 12;
/** Policies of a configuration have shorter names; limits for longer ones could never apply and are left out. */
const MAX_POLICY_BYTES = 255;
const NO_LIMITS: ClientRecord['limits'] = Object.freeze({});

/** ClientPacker packs one record at a time, into a buffer of its own. */
export class ClientPacker {
  readonly #bytes = Buffer.allocUnsafeSlow(MAX_RECORD_BYTES);
  readonly #key = Buffer.allocUnsafeSlow(MAX_KEY_BYTES);

  /** client returns a view that is good until the next call. Throws LbError schema_mismatch for what no table can hold. */
  client({ clientId, mode, limits, versionUs }: ClientRecord): Buffer {
    const keyEnd = this.#start(clientId, MODES.indexOf(mode), versionUs);
    let end = keyEnd;
    for (const policy of Object.keys(limits)) {
      const own = limits[policy];
      if (own !== undefined) end = this.#addLimits(end, policy, own);
      if (end > MAX_RECORD_BYTES) throw tooLong(clientId);
    }
    return this.#finish(end);
  }

  /** tombstone returns a view that is good until the next call. Throws as client does. */
  tombstone(clientId: string, versionUs: number): Buffer {
    return this.#finish(this.#start(clientId, TOMBSTONE, versionUs));
  }

  #start(clientId: string, mode: number, versionUs: number): number {
    const bytes = this.#bytes;
    const length = writeKey(clientId, this.#key);
    if (length === 0) throw tooLong(clientId);
    const kind = this.#key[0] ?? NAME;
    bytes[0] = kind | (mode << KIND_BITS);
    bytes.writeDoubleLE(versionUs, VERSION_AT);
    let at = KEY_AT;
    if (kind === NAME) at = bytes.writeUInt16LE(length - 1, at);
    return at + this.#key.copy(bytes, at, 1, length);
  }

  /** Returns more than MAX_RECORD_BYTES when it does not fit. */
  #addLimits(at: number, policy: string, { capacity, refillPerSecond }: BucketLimits): number {
    const bytes = this.#bytes;
    const nameBytes = policy === DEFAULT_NAME ? 0 : Buffer.byteLength(policy);
    if (nameBytes > MAX_POLICY_BYTES || policy === '') return at;
    const end = at + 1 + nameBytes + LIMIT_BYTES;
    if (end > MAX_RECORD_BYTES) return end;
    bytes[at] = nameBytes;
    if (nameBytes > 0) bytes.write(policy, at + 1);
    bytes.writeUInt32LE(capacity, end - LIMIT_BYTES);
    return bytes.writeDoubleLE(refillPerSecond, end - LIMIT_BYTES + 4);
  }

  #finish(end: number): Buffer {
    this.#bytes.writeUInt16LE(end, 1);
    return this.#bytes.subarray(0, end);
  }
}

/** lengthAt is the length of the record at `at`. */
export function lengthAt(bytes: Buffer, at: number): number {
  return bytes.readUInt16LE(at + 1);
}

/** areRecords tells whether the bytes up to `end` are whole records. Their insides are the packer's word. */
export function areRecords(bytes: Buffer, end: number): boolean {
  let at = 0;
  while (at + KEY_AT < end) {
    const length = lengthAt(bytes, at);
    if (length <= KEY_AT) return false;
    at += length;
  }
  return at === end;
}

/** versionAt is the version of the record at `at`. */
export function versionAt(bytes: Buffer, at: number): number {
  return bytes.readDoubleLE(at + VERSION_AT);
}

/** isTombstoneAt tells a tombstone from a client. */
export function isTombstoneAt(bytes: Buffer, at: number): boolean {
  return (bytes[at] ?? 0) >> KIND_BITS === TOMBSTONE;
}

/** copyKey writes the key of the record at `at` as client-key.ts has it, and returns its length. */
export function copyKey(bytes: Buffer, at: number, out: Buffer): number {
  const from = keyAt(bytes, at);
  out[0] = (bytes[at] ?? 0) & KIND_MASK;
  return 1 + bytes.copy(out, 1, from, from + keyBytes(bytes, at));
}

/** hasKey tells whether the record at `at` has this key of `length` bytes. */
export function hasKey(bytes: Buffer, at: number, key: Buffer, length: number): boolean {
  if (((bytes[at] ?? 0) & KIND_MASK) !== key[0] || keyBytes(bytes, at) !== length - 1) return false;
  const from = keyAt(bytes, at) - 1;
  for (let i = 1; i < length; i++) if (bytes[from + i] !== key[i]) return false;
  return true;
}

/** idAt is the id of the record at `at`, a client's or a tombstone's. */
export function idAt(bytes: Buffer, at: number): string {
  const key = Buffer.allocUnsafe(1 + keyBytes(bytes, at));
  copyKey(bytes, at, key);
  return readKey(key);
}

/** unpackClient makes the object of the record at `at`; null: it is a tombstone. */
export function unpackClient(bytes: Buffer, at: number): ClientRecord | null {
  const mode = MODES[(bytes[at] ?? 0) >> KIND_BITS];
  if (mode === undefined) return null;
  const limits = readLimits(bytes, keyAt(bytes, at) + keyBytes(bytes, at), at + lengthAt(bytes, at));
  return { clientId: idAt(bytes, at), mode, limits, versionUs: versionAt(bytes, at) };
}

/** Where the key is, behind the length that a name has. */
function keyAt(bytes: Buffer, at: number): number {
  return at + KEY_AT + (isName(bytes, at) ? 2 : 0);
}

function keyBytes(bytes: Buffer, at: number): number {
  switch ((bytes[at] ?? 0) & KIND_MASK) {
    case IPV4:
      return 4;
    case IPV4_RANGE:
      return 5;
    case IPV6:
      return 16;
    case IPV6_RANGE:
      return 17;
    default:
      return bytes.readUInt16LE(at + KEY_AT);
  }
}

function isName(bytes: Buffer, at: number): boolean {
  return ((bytes[at] ?? 0) & KIND_MASK) === NAME;
}

function readLimits(bytes: Buffer, from: number, end: number): ClientRecord['limits'] {
  if (from === end) return NO_LIMITS;
  const limits: [string, BucketLimits][] = [];
  for (let at = from; at < end; ) {
    const numbersAt = at + 1 + (bytes[at] ?? 0);
    const policy = numbersAt === at + 1 ? DEFAULT_NAME : bytes.toString('utf8', at + 1, numbersAt);
    const capacity = bytes.readUInt32LE(numbersAt);
    limits.push([policy, { capacity, refillPerSecond: bytes.readDoubleLE(numbersAt + 4) }]);
    at = numbersAt + LIMIT_BYTES;
  }
  return Object.fromEntries(limits);
}

function tooLong(clientId: string): LbError {
  return new LbError(
    'schema_mismatch',
    `the row of client ${clientId.slice(0, 200)} does not fit this program`,
  );
}
