/**
 * All clients and tombstones, by what their ids mean, in the least memory: in the primary for new workers, in workers for
 * requests. No operation touches more than one shard, so none takes longer than a fraction of a millisecond, whatever the
 * number of clients.
 *
 * An id is a client or a tombstone, never both, and the newer version wins.
 */
import type { ClientRecord } from '../contract/clients.ts';
import {
  hashKey,
  IPV4,
  IPV4_RANGE,
  IPV6,
  IPV6_RANGE,
  MAX_KEY_BYTES,
  rangeKeyOf,
  writeKey,
} from './client-key.ts';
import { ClientShard } from './client-shard.ts';
import { copyKey, isTombstoneAt, lengthAt, unpackClient, versionAt } from './packed-client.ts';

/** 1,000 records in each where there are a million: growing one takes 0.1 ms, and the buffers' own cost is 1 %. */
export const SHARDS = 1_024;
/** The lowest bits of a hash choose the slot, the highest ones the shard. */
const SHARD_SHIFT = 22;

/** Stands for all shards in which nothing ever was. */
const EMPTY = new ClientShard();

/** What is known of an id. */
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

export class ClientTable {
  readonly #shards: (ClientShard | null)[] = Array.from({ length: SHARDS }, () => null);
  readonly #ranges = new PrefixCounts();
  readonly #key = Buffer.allocUnsafeSlow(MAX_KEY_BYTES);
  readonly #rangeKey = Buffer.allocUnsafeSlow(MAX_KEY_BYTES);
  #clientCount = 0;
  #nextToForget = 0;

  /** Clients, without tombstones. */
  get clientCount(): number {
    return this.#clientCount;
  }

  /**
   * merge takes the record at `from` unless what is known is as new.
   *
   * @returns the number of its shard; -1: not taken
   */
  merge(record: Buffer, from: number): number {
    const length = copyKey(record, from, this.#key);
    const hash = hashKey(this.#key, length);
    const number = hash >>> SHARD_SHIFT;
    const shard = this.#shards[number] ?? new ClientShard();
    this.#shards[number] = shard;
    const slot = shard.slotOf(this.#key, length, hash);
    const existed = slot !== -1 && !isTombstoneAt(shard.bytes, shard.placeOf(slot));
    if (slot !== -1 && versionAt(record, from) <= versionAt(shard.bytes, shard.placeOf(slot))) return -1;
    const exists = !isTombstoneAt(record, from);
    if (exists !== existed) this.#count(exists ? 1 : -1);
    if (slot === -1) shard.add(record, from, hash);
    else shard.replace(slot, record, from);
    return number;
  }

  /** get finds an id, or an address; null: nothing is known of it. */
  get(id: string): Entry | null {
    return this.#entryOf(this.#key, writeKey(id, this.#key));
  }

  /** longestRange finds the client whose range holds the address and is the longest; null: none does, or no address. */
  longestRange(address: string): ClientRecord | null {
    if (this.#ranges.empty) return null;
    writeKey(address, this.#key);
    for (const bits of this.#ranges.of(this.#key[0])) {
      const length = rangeKeyOf(this.#key, bits, this.#rangeKey);
      const client = this.#entryOf(this.#rangeKey, length)?.client;
      if (client) return client;
    }
    return null;
  }

  /** versionOf is the version of what is known of the record's key; 0: nothing. */
  versionOf(record: Buffer, from: number): number {
    const length = copyKey(record, from, this.#key);
    const hash = hashKey(this.#key, length);
    const shard = this.#shard(hash >>> SHARD_SHIFT);
    const slot = shard.slotOf(this.#key, length, hash);
    return slot === -1 ? 0 : versionAt(shard.bytes, shard.placeOf(slot));
  }

  /** records is everything in a shard, as places in a buffer. Nothing may change while it is walked. */
  *records(number: number): Generator<{ bytes: Buffer; at: number }> {
    const shard = this.#shard(number);
    for (let slot = 0; slot < shard.slotCount; slot++) {
      const at = shard.placeOf(slot);
      if (at !== -1) yield { bytes: shard.bytes, at };
    }
  }

  /**
   * read copies the next records of a shard to `at` in `out`, as many as fit, and moves the cursor on. A shard that has
   * changed its layout is read from its beginning again. What changes behind the cursor meanwhile is not seen.
   *
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

  /** forgetSome drops old tombstones from the next shard in turn; SHARDS calls see all. */
  forgetSome(beforeUs: number): void {
    this.#shard(this.#nextToForget).forget(beforeUs);
    this.#nextToForget = (this.#nextToForget + 1) % SHARDS;
  }

  /** Of the key that was written last. */
  #count(by: 1 | -1): void {
    this.#clientCount += by;
    const kind = this.#key[0];
    if (kind === IPV4_RANGE || kind === IPV6_RANGE) this.#ranges.add(kind, this.#key[1] ?? 0, by);
  }

  #entryOf(key: Buffer, length: number): Entry | null {
    const hash = hashKey(key, length);
    const shard = this.#shard(hash >>> SHARD_SHIFT);
    const slot = length === 0 ? -1 : shard.slotOf(key, length, hash);
    if (slot === -1) return null;
    const at = shard.placeOf(slot);
    return { client: unpackClient(shard.bytes, at), versionUs: versionAt(shard.bytes, at) };
  }

  #shard(number: number): ClientShard {
    return this.#shards[number] ?? EMPTY;
  }
}

/** Which prefix lengths ranges have, by family. */
class PrefixCounts {
  readonly #counts = { [IPV4]: new Uint32Array(32), [IPV6]: new Uint32Array(128) };
  /** Longest first. */
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
    const used = [...counts.keys()].filter((length) => counts[length] !== 0);
    this.#lengths[family] = used.reverse();
  }

  /** of a kind of address; none for anything else. */
  of(kind: number | undefined): readonly number[] {
    return this.#lengths[kind ?? -1] ?? [];
  }
}
