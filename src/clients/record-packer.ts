/** Packs records; packed-record.ts says how they look and reads them. */
import type { BucketLimits, ClientRecord } from '../contract/clients.ts';
import { LbError } from '../contract/errors.ts';
import { DEFAULT_NAME } from '../contract/settings.ts';
import { MAX_ID_BYTES, NAME, writeDigest, writeId } from './packed-id.ts';
import {
  copyId,
  ID_AT,
  KIND_BITS,
  LIMIT_BYTES,
  MODES,
  type StoredKey,
  TOMBSTONE,
  VERSION_AT,
} from './packed-record.ts';

/** No record is longer: the database bounds limits to 64 KiB of JSON, which is longer than what becomes of it. */
export const MAX_RECORD_BYTES = 0xffff;

const LIVE = 0;
/** Policies of a configuration have shorter names; limits for longer ones could never apply and are left out. */
const MAX_POLICY_BYTES = 255;

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
    const at = this.#start(writeDigest(digest, this.#id), LIVE, 0);
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
    const bytes = this.#bytes;
    const kind = this.#id[0] ?? NAME;
    bytes[0] = kind | (mode << KIND_BITS);
    bytes.writeDoubleLE(versionUs, VERSION_AT);
    let at = ID_AT;
    if (kind === NAME) at = bytes.writeUInt16LE(idBytes - 1, at);
    return at + this.#id.copy(bytes, at, 1, idBytes);
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
  return new LbError(
    'schema_mismatch',
    `the row of client ${clientId.slice(0, 200)} does not fit this program`,
  );
}
