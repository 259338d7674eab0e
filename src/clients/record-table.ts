/**
 * All clients, API keys and tombstones in little memory: in the primary for new workers, in workers for requests. Each id has one
 * record, the one put last. An operation touches one shard, so it takes a fraction of a millisecond however many records there are.
 */
import type { ClientRecord } from '../contract/clients.ts';
import {
  hashId,
  IPV4,
  IPV4_RANGE,
  IPV6,
  IPV6_RANGE,
  MAX_ID_BYTES,
  rangeIdOf,
  writeDigest,
  writeId,
} from './packed-id.ts';
import {
  copyId,
  isTombstoneAt,
  lengthAt,
  type StoredKey,
  unpackApiKey,
  unpackClient,
  versionAt,
} from './packed-record.ts';
import { RecordShard } from './record-shard.ts';

/** With a million records each shard has 1,000: growing one takes 0.1 ms, and the buffers themselves cost 1 %. */
export const SHARDS = 1_024;
/** The lowest bits of a hash choose the slot, the highest ones the shard. */
const SHARD_SHIFT = 22;

/** Stands for every shard that never had a record. */
const EMPTY = new RecordShard();

/** What is known of a client's id. */
export interface Entry {
  /** null: deleted. */
  client: ClientRecord | null;
  versionUs: number;
}

/** Where a reader of a shard has got to. */
export interface ShardCursor {
  slot: number;
  layout: number;
}

export class RecordTable {
  readonly #shards: (RecordShard | null)[] = Array.from({ length: SHARDS }, () => null);
  readonly #ranges = new PrefixCounts();
  readonly #id = Buffer.allocUnsafeSlow(MAX_ID_BYTES);
  readonly #rangeId = Buffer.allocUnsafeSlow(MAX_ID_BYTES);
  #nextToForget = 0;
  /** Until this table is complete; null: it is. */
  #before: RecordTable | null;

  /** @param before the table that this one is to replace: when its clients were seen is taken over, until `replaceBefore` */
  constructor(before: RecordTable | null = null) {
    this.#before = before;
  }

  /** replaceBefore is called when all records are here. */
  replaceBefore(): void {
    this.#before = null;
  }

  /**
   * put takes the record at `from` unless it is here already, byte for byte.
   *
   * @returns the number of its shard; -1: nothing has changed
   */
  put(record: Buffer, from: number): number {
    const length = copyId(record, from, this.#id);
    const hash = hashId(this.#id, length);
    const number = hash >>> SHARD_SHIFT;
    const shard = this.#shards[number] ?? new RecordShard();
    this.#shards[number] = shard;
    const slot = shard.slotOf(this.#id, length, hash);
    if (slot !== -1 && shard.holds(slot, record, from)) return -1;
    const lived = slot !== -1 && !isTombstoneAt(shard.bytes, shard.placeOf(slot));
    const lives = !isTombstoneAt(record, from);
    if (lives !== lived) this.#countRange(lives ? 1 : -1);
    if (slot === -1) {
      const before = lives ? this.#before : null;
      shard.add(record, from, hash, before === null ? 0 : before.#seenSec(this.#id, length));
    } else shard.replace(slot, record, from);
    return number;
  }

  /** get finds a client's id, or an address; null: nothing is known of it. */
  get(id: string): Entry | null {
    return this.#entryOf(this.#id, writeId(id, this.#id));
  }

  /** noteSeen writes down when a client was last seen. It allocates nothing. @param sec since the epoch */
  noteSeen(clientId: string, sec: number): void {
    const length = writeId(clientId, this.#id);
    if (length === 0) return;
    const hash = hashId(this.#id, length);
    const shard = this.#shard(hash >>> SHARD_SHIFT);
    const slot = shard.slotOf(this.#id, length, hash);
    if (slot !== -1) shard.noteSeen(slot, sec);
  }

  /** seenSec is when a client was last seen, in seconds since the epoch; 0: not yet, or there is none. */
  seenSec(clientId: string): number {
    return this.#seenSec(this.#id, writeId(clientId, this.#id));
  }

  #seenSec(id: Buffer, length: number): number {
    if (length === 0) return 0;
    const hash = hashId(id, length);
    const shard = this.#shard(hash >>> SHARD_SHIFT);
    const slot = shard.slotOf(id, length, hash);
    return slot === -1 ? 0 : shard.seenSecOf(slot);
  }

  /** apiKey finds an API key by its digest of 32 bytes; null: there is none. */
  apiKey(digest: Uint8Array): Omit<StoredKey, 'digest'> | null {
    const { bytes, at } = this.#find(this.#id, writeDigest(digest, this.#id));
    return at === -1 ? null : unpackApiKey(bytes, at);
  }

  /** longestRange finds the client with the longest range that holds the address; null: none does, or no address. */
  longestRange(address: string): ClientRecord | null {
    if (this.#ranges.empty) return null;
    writeId(address, this.#id);
    for (const bits of this.#ranges.of(this.#id[0])) {
      const length = rangeIdOf(this.#id, bits, this.#rangeId);
      const client = this.#entryOf(this.#rangeId, length)?.client;
      if (client) return client;
    }
    return null;
  }

  /** has tells whether anything is known of the id of the record at `from`. */
  has(record: Buffer, from: number): boolean {
    return this.#find(this.#id, copyId(record, from, this.#id)).at !== -1;
  }

  /** records is everything in a shard. Nothing may change while it is walked, and each view is good until then. */
  *records(number: number): Generator<Buffer> {
    const shard = this.#shard(number);
    for (let slot = 0; slot < shard.slotCount; slot++) {
      const at = shard.placeOf(slot);
      if (at !== -1) yield shard.bytes.subarray(at, at + lengthAt(shard.bytes, at));
    }
  }

  /**
   * read copies the next records of a shard to `at` in `out`, as many as fit, and moves the cursor on. A shard that has
   * changed its layout is read from its beginning again. What changes behind the cursor meanwhile is not seen.
   *
   * @param of this table and shard; { slot: 0, layout: -1 } begins
   * @returns where the copied ones end, and whether the shard has no more
   */
  read(number: number, cursor: ShardCursor, out: Buffer, at: number): { end: number; done: boolean } {
    const shard = this.#shard(number);
    if (cursor.layout !== shard.layout) Object.assign(cursor, { slot: 0, layout: shard.layout });
    let end = at;
    for (; cursor.slot < shard.slotCount; cursor.slot++) {
      const place = shard.placeOf(cursor.slot);
      if (place === -1) continue;
      const length = lengthAt(shard.bytes, place);
      if (end + length > out.length) return { end, done: false };
      end += shard.bytes.copy(out, end, place, place + length);
    }
    return { end, done: true };
  }

  /** forgetSome drops tombstones of before `beforeUs` from the next shard in turn; SHARDS calls see all. */
  forgetSome(beforeUs: number): void {
    this.#shard(this.#nextToForget).forget(beforeUs);
    this.#nextToForget = (this.#nextToForget + 1) % SHARDS;
  }

  /** Of the id that was written last. */
  #countRange(by: 1 | -1): void {
    const kind = this.#id[0];
    if (kind === IPV4_RANGE || kind === IPV6_RANGE) this.#ranges.add(kind, this.#id[1] ?? 0, by);
  }

  #entryOf(id: Buffer, length: number): Entry | null {
    const { bytes, at } = this.#find(id, length);
    return at === -1 ? null : { client: unpackClient(bytes, at), versionUs: versionAt(bytes, at) };
  }

  /** at -1: not found. */
  #find(id: Buffer, length: number): { bytes: Buffer; at: number } {
    const hash = hashId(id, length);
    const shard = this.#shard(hash >>> SHARD_SHIFT);
    const slot = length === 0 ? -1 : shard.slotOf(id, length, hash);
    return { bytes: shard.bytes, at: slot === -1 ? -1 : shard.placeOf(slot) };
  }

  #shard(number: number): RecordShard {
    return this.#shards[number] ?? EMPTY;
  }
}

/** Which prefix lengths ranges have, by family. */
class PrefixCounts {
  readonly #counts = { [IPV4]: new Uint32Array(32), [IPV6]: new Uint32Array(128) };
  /** Of the kind of an address; longest first. */
  readonly #lengths: Record<number, number[]> = { [IPV4]: [], [IPV6]: [] };

  get empty(): boolean {
    return this.#lengths[IPV4]?.length === 0 && this.#lengths[IPV6]?.length === 0;
  }

  /** @param kind IPV4_RANGE or IPV6_RANGE */
  add(kind: number, bits: number, by: 1 | -1): void {
    const family = kind === IPV4_RANGE ? IPV4 : IPV6;
    const counts = this.#counts[family];
    const before = counts[bits] ?? 0;
    counts[bits] = before + by;
    if (before !== 0 && counts[bits] !== 0) return;
    this.#lengths[family] = [...counts.keys()].filter((length) => counts[length] !== 0).reverse();
  }

  /** of a kind of address; none for anything else. */
  of(kind: number | undefined): readonly number[] {
    return this.#lengths[kind ?? -1] ?? [];
  }
}
