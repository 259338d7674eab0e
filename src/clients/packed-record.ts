/**
 * The packed form of one record of the directory: a client, an API key, or the tombstone of either. It takes 30 to 60 bytes,
 * where an object takes 300 to 500. The garbage collector does not see it, and processes pass it on as it is.
 *
 *    0  head: bits 0-2 the kind of the id, bits 3-4 the client's mode (3: a tombstone)
 *    1  length of the whole, uint16
 *    3  version, float64, µs since the epoch; 0 for an API key
 *   11  id without its kind (packed-id.ts)
 *    …  body, to the end
 *
 * The body of a client is its limits. For each policy: length of its name, uint8 (0: `default`), the name, capacity, uint32, and
 * tokens per second, float64. The body of an API key: length of the secret's id, uint8, that id, the id of the client.
 *
 * All numbers are little-endian. Functions with `at` take a buffer that holds whole records, and the place of one of them.
 */
import type { BucketLimits, ClientMode, ClientRecord } from '../contract/clients.ts';
import { LbError } from '../contract/errors.ts';
import { DEFAULT_NAME } from '../contract/settings.ts';
import { API_KEY, idLengthOf, MAX_ID_BYTES, readId, writeDigest, writeId } from './packed-id.ts';

const KIND_BITS = 3;
const KIND_MASK = (1 << KIND_BITS) - 1;
const MODES: readonly ClientMode[] = ['limit', 'unlimited', 'blocked'];
const TOMBSTONE = 3;
const VERSION_AT = 3;
const ID_AT = 11;
/** Stands for the mode of an API key. */
const VALID = 0;
const LIMIT_BYTES = 12;
/** No record is longer: the database bounds limits to 64 KiB of JSON, which is longer than their packed form. */
export const MAX_RECORD_BYTES = 0xffff;
/** Policies of a configuration have shorter names. Limits for longer ones could never apply and are left out. */
const MAX_POLICY_BYTES = 255;
const NO_LIMITS: ClientRecord['limits'] = Object.freeze({});

/** StoredKey is an API key as the database has it. */
export interface StoredKey {
  /** 32 bytes: the HMAC of the key. */
  digest: Uint8Array;
  clientId: string;
  /** The secret that the digest was made with. At most 64 characters. */
  secretId: string;
}

export function lengthAt(bytes: Buffer, at: number): number {
  return bytes.readUInt16LE(at + 1);
}

/** areRecords tells whether the bytes up to `end` are whole records. What is inside of them is trusted. */
export function areRecords(bytes: Buffer, end: number): boolean {
  let at = 0;
  while (at + ID_AT < end) {
    const length = lengthAt(bytes, at);
    if (length <= ID_AT) return false;
    at += length;
  }
  return at === end;
}

export function versionAt(bytes: Buffer, at: number): number {
  return bytes.readDoubleLE(at + VERSION_AT);
}

export function isTombstoneAt(bytes: Buffer, at: number): boolean {
  return (bytes[at] ?? 0) >> KIND_BITS === TOMBSTONE;
}

/** isApiKeyAt tells API keys, and their tombstones, from clients. */
export function isApiKeyAt(bytes: Buffer, at: number): boolean {
  return kindAt(bytes, at) === API_KEY;
}

/** copyId writes the packed id of the record at `at` and returns its length. */
export function copyId(bytes: Buffer, at: number, out: Buffer): number {
  out[0] = kindAt(bytes, at);
  return 1 + bytes.copy(out, 1, at + ID_AT, bodyPlace(bytes, at));
}

/** hasId tells whether the record at `at` has this packed id of `length` bytes. */
export function hasId(bytes: Buffer, at: number, id: Buffer, length: number): boolean {
  const from = at + ID_AT - 1;
  if (kindAt(bytes, at) !== id[0] || bodyPlace(bytes, at) !== from + length) return false;
  for (let i = 1; i < length; i++) if (bytes[from + i] !== id[i]) return false;
  return true;
}

/** clientIdAt is the client's id of the record at `at`, a client's or a tombstone's. */
export function clientIdAt(bytes: Buffer, at: number): string {
  const id = Buffer.allocUnsafe(bodyPlace(bytes, at) - at - ID_AT + 1);
  copyId(bytes, at, id);
  return readId(id);
}

/** unpackClient makes the object of the client at `at`; null: it is a tombstone. */
export function unpackClient(bytes: Buffer, at: number): ClientRecord | null {
  const mode = MODES[(bytes[at] ?? 0) >> KIND_BITS];
  if (mode === undefined) return null;
  const limits = readLimits(bytes, bodyPlace(bytes, at), at + lengthAt(bytes, at));
  return { clientId: clientIdAt(bytes, at), mode, limits, versionUs: versionAt(bytes, at) };
}

/** unpackApiKey makes the object of the API key at `at`; null: it is a tombstone. */
export function unpackApiKey(bytes: Buffer, at: number): Omit<StoredKey, 'digest'> | null {
  if (isTombstoneAt(bytes, at)) return null;
  const body = bodyPlace(bytes, at);
  const clientPlace = body + 1 + (bytes[body] ?? 0);
  return {
    secretId: bytes.toString('utf8', body + 1, clientPlace),
    clientId: bytes.toString('utf8', clientPlace, at + lengthAt(bytes, at)),
  };
}

function kindAt(bytes: Buffer, at: number): number {
  return (bytes[at] ?? 0) & KIND_MASK;
}

/** Where the id ends and the body begins. */
function bodyPlace(bytes: Buffer, at: number): number {
  const idAt = at + ID_AT;
  return idAt + idLengthOf(kindAt(bytes, at), bytes, idAt) - 1;
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

/** RecordPacker packs one record at a time into a buffer of its own; each view that it returns is good until the next call. */
export class RecordPacker {
  readonly #bytes = Buffer.allocUnsafeSlow(MAX_RECORD_BYTES);
  readonly #id = Buffer.allocUnsafeSlow(MAX_ID_BYTES);

  /** Throws LbError schema_mismatch for what no table can hold. */
  client({ clientId, mode, limits, versionUs }: ClientRecord): Buffer {
    let end = this.#start(this.#writeId(clientId), MODES.indexOf(mode), versionUs);
    for (const policy of Object.keys(limits)) {
      const own = limits[policy];
      if (own !== undefined) end = this.#addLimits(end, policy, own);
      if (end > MAX_RECORD_BYTES) throw tooLong(clientId);
    }
    return this.#finish(end);
  }

  /** The tombstone of a client. Throws as client does. */
  tombstone(clientId: string, versionUs: number): Buffer {
    return this.#finish(this.#start(this.#writeId(clientId), TOMBSTONE, versionUs));
  }

  apiKey({ digest, clientId, secretId }: StoredKey): Buffer {
    const at = this.#start(writeDigest(digest, this.#id), VALID, 0);
    const secretBytes = this.#bytes.write(secretId, at + 1);
    this.#bytes[at] = secretBytes;
    const clientAt = at + 1 + secretBytes;
    return this.#finish(clientAt + this.#bytes.write(clientId, clientAt));
  }

  apiKeyTombstone(digest: Uint8Array, versionUs: number): Buffer {
    return this.#finish(this.#start(writeDigest(digest, this.#id), TOMBSTONE, versionUs));
  }

  /** The tombstone of whatever the record at `at` is. */
  tombstoneOf(bytes: Buffer, at: number, versionUs: number): Buffer {
    return this.#finish(this.#start(copyId(bytes, at, this.#id), TOMBSTONE, versionUs));
  }

  #writeId(clientId: string): number {
    const length = writeId(clientId, this.#id);
    if (length === 0) throw tooLong(clientId);
    return length;
  }

  /** Of the id that was written last. */
  #start(idBytes: number, mode: number, versionUs: number): number {
    this.#bytes[0] = (this.#id[0] ?? 0) | (mode << KIND_BITS);
    this.#bytes.writeDoubleLE(versionUs, VERSION_AT);
    return ID_AT + this.#id.copy(this.#bytes, ID_AT, 1, idBytes);
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

function tooLong(clientId: string): LbError {
  const message = `the row of client ${clientId.slice(0, 200)} does not fit this program`;
  return new LbError('schema_mismatch', message);
}
