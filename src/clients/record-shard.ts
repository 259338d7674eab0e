/**
 * One of the many small hash tables of a RecordTable: packed records one after the other, and slots with their places. All work
 * that takes time in proportion to a table (growing, squeezing, forgetting) is done here, on a thousandth of all records.
 */
import { hashId, MAX_ID_BYTES } from './packed-id.ts';
import { copyId, hasId, isTombstoneAt, lengthAt, versionAt } from './packed-record.ts';

const MIN_SLOTS = 8;
const NO_BYTES = Buffer.allocUnsafeSlow(0);
/** A buffer that grows doubles, by at most this much or an eighth: every process pays for the spare room. */
const MAX_SPARE_BYTES = 4_096;
/** Behind each record: when its client was last seen, uint32, seconds since the epoch; 0: not yet. */
const SEEN_BYTES = 4;

/** Holds the id of a record of the shard. */
const scratch = Buffer.allocUnsafeSlow(MAX_ID_BYTES);

export class RecordShard {
  /** Raised by the shard when records change their slots. As long as it is the same, a record keeps its slot. */
  layout = 0;
  /** Whole records up to #end, some of them replaced since. */
  #bytes: Buffer = NO_BYTES;
  #end = 0;
  #liveBytes = 0;
  /** 1 + the place of a record; 0: free. Linear probing; the number of slots is a power of two. */
  #slots = new Uint32Array(MIN_SLOTS);
  /** Records, tombstones among them. */
  #count = 0;
  #tombstoneCount = 0;

  get slotCount(): number {
    return this.#slots.length;
  }

  /** What placeOf points into; good until the next change. */
  get bytes(): Buffer {
    return this.#bytes;
  }

  /** placeOf is where the record of a slot begins; -1: the slot is free. */
  placeOf(slot: number): number {
    return (this.#slots[slot] ?? 0) - 1;
  }

  /** slotOf finds the record with a packed id of `length` bytes; -1: there is none. */
  slotOf(id: Buffer, length: number, hash: number): number {
    const mask = this.#slots.length - 1;
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const place = this.placeOf(slot);
      if (place === -1) return -1;
      if (hasId(this.#bytes, place, id, length)) return slot;
    }
  }

  /** holds tells whether the record of a slot is, byte for byte, the one at `from`. */
  holds(slot: number, record: Buffer, from: number): boolean {
    const place = this.placeOf(slot);
    const length = lengthAt(record, from);
    return (
      record.compare(this.#bytes, place, place + lengthAt(this.#bytes, place), from, from + length) === 0
    );
  }

  /** add takes the record at `from`, whose id is not here yet. @param seenSec see seenSecOf */
  add(record: Buffer, from: number, hash: number, seenSec: number): void {
    if ((this.#count + 1) * 4 > this.#slots.length * 3) this.#rebuild(this.#slots.length * 2, 0);
    const place = this.#append(record, from, seenSec);
    this.#occupy(hash, place);
    this.#account(place, 1);
  }

  /** seenSecOf is when the client of a slot was last seen, in seconds since the epoch; 0: not yet. */
  seenSecOf(slot: number): number {
    return this.#bytes.readUInt32LE(this.#seenPlace(this.placeOf(slot)));
  }

  /** noteSeen writes what seenSecOf reads. */
  noteSeen(slot: number, sec: number): void {
    this.#bytes.writeUInt32LE(sec, this.#seenPlace(this.placeOf(slot)));
  }

  #seenPlace(place: number): number {
    return place + lengthAt(this.#bytes, place);
  }

  /** replace takes the record at `from` in place of a slot's, which has the same id. When it was seen stays, unless it is deleted. */
  replace(slot: number, record: Buffer, from: number): void {
    let place = this.placeOf(slot);
    const seenSec = isTombstoneAt(record, from) ? 0 : this.seenSecOf(slot);
    this.#account(place, -1);
    const length = lengthAt(record, from);
    if (length === lengthAt(this.#bytes, place)) {
      record.copy(this.#bytes, place, from, from + length);
      this.noteSeen(slot, seenSec);
    } else {
      // Freed first, so that #append does not keep the old record when it makes room.
      this.#slots[slot] = 0;
      place = this.#append(record, from, seenSec);
      this.#slots[slot] = place + 1;
    }
    this.#account(place, 1);
  }

  /** forget drops tombstones of before `beforeUs`. */
  forget(beforeUs: number): void {
    if (this.#tombstoneCount === 0) return;
    const isOld = (entry: number): boolean => entry !== 0 && this.#isForgotten(entry - 1, beforeUs);
    if (this.#slots.some(isOld)) this.#rebuild(this.#slots.length, beforeUs);
  }

  #isForgotten(place: number, beforeUs: number): boolean {
    return isTombstoneAt(this.#bytes, place) && versionAt(this.#bytes, place) < beforeUs;
  }

  #account(place: number, by: 1 | -1): void {
    this.#count += by;
    this.#liveBytes += by * (lengthAt(this.#bytes, place) + SEEN_BYTES);
    if (isTombstoneAt(this.#bytes, place)) this.#tombstoneCount += by;
  }

  #append(record: Buffer, from: number, seenSec: number): number {
    const length = lengthAt(record, from);
    const more = length + SEEN_BYTES;
    if (this.#end + more > this.#bytes.length) this.#squeeze(more);
    const place = this.#end;
    record.copy(this.#bytes, place, from, from + length);
    this.#end = this.#bytes.writeUInt32LE(seenSec, place + length);
    return place;
  }

  #occupy(hash: number, place: number): void {
    const mask = this.#slots.length - 1;
    let slot = hash & mask;
    while (this.#slots[slot] !== 0) slot = (slot + 1) & mask;
    this.#slots[slot] = place + 1;
  }

  /** Copies what is in use into a buffer with room for `more` bytes. */
  #squeeze(more: number): void {
    const before = this.#bytes;
    const needed = this.#liveBytes + more;
    const spare = Math.max(Math.min(needed, MAX_SPARE_BYTES), needed >> 3);
    this.#bytes = Buffer.allocUnsafeSlow(needed + spare);
    if (this.#end === this.#liveBytes) {
      before.copy(this.#bytes, 0, 0, this.#end);
      return;
    }
    this.#end = 0;
    for (let slot = 0; slot < this.#slots.length; slot++) {
      const place = this.placeOf(slot);
      if (place === -1) continue;
      this.#slots[slot] = this.#end + 1;
      const end = place + lengthAt(before, place) + SEEN_BYTES;
      this.#end += before.copy(this.#bytes, this.#end, place, end);
    }
  }

  /** Gives every record a slot anew, and drops tombstones of before `beforeUs`. */
  #rebuild(slotCount: number, beforeUs: number): void {
    const before = this.#slots;
    this.#slots = new Uint32Array(slotCount);
    this.layout++;
    for (const entry of before) {
      if (entry === 0) continue;
      const place = entry - 1;
      if (this.#isForgotten(place, beforeUs)) this.#account(place, -1);
      else this.#occupy(hashId(scratch, copyId(this.#bytes, place, scratch)), place);
    }
  }
}
