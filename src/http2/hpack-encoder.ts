/**
 * Writes header blocks (RFC 7541). What is sent for the second time in a row gets into the dynamic table, and is one or two bytes from
 * then on. Texts that change with each message never get there: they would push out the others.
 */
import { DynamicTable, ENTRY_BYTES, TABLE_MAX_BYTES } from './dynamic-table.ts';
import { copyOf, type Name, nameOf, PLACES } from './encoder-names.ts';
import { STATIC_COUNT, STATIC_VALUES } from './static-table.ts';

/** First bytes of fields (§6) … */
const INDEXED = 0x80;
const WITH_INDEXING = 0x40;
const WITHOUT_INDEXING = 0x00;
const NEVER_INDEXED = 0x10;
const SIZE_UPDATE = 0x20;
/** … and the masks of their numbers. */
const INDEX_BITS = 0x7f;
const WITH_INDEXING_BITS = 0x3f;
const LITERAL_BITS = 0x0f;
const SIZE_BITS = 0x1f;
const LENGTH_BITS = 0x7f;
/** A first byte and 5 bytes behind it. */
const NUMBER_MAX_BYTES = 6;

/** Shorter texts are written faster by a loop than by a call. */
const LOOP_MAX_BYTES = 8;
const BLOCK_BYTES = 16_384;

/** Blocks of all encoders. */
const BLOCK = Buffer.allocUnsafeSlow(BLOCK_BYTES);

/** HpackEncoder is owned by a session. */
export class HpackEncoder {
  readonly #table = new DynamicTable();
  /** By place: the number of the table's last entry, and the hash of the last value that got no index. */
  readonly #entries: number[] = new Array(PLACES).fill(-1);
  readonly #hashes: number[] = new Array(PLACES).fill(0);
  /** The smallest size of the table since the last block; -1: it has not changed. */
  #smallestTableBytes = -1;
  #out = BLOCK;
  #at = 0;

  /** limitTable takes the peer's SETTINGS_HEADER_TABLE_SIZE. The next block tells it our size: no more than that, nor than 4,096 (§4.2). */
  limitTable(bytes: number): void {
    const tableBytes = Math.min(bytes, TABLE_MAX_BYTES);
    if (tableBytes === this.#table.maxBytes) return;
    this.#table.resize(tableBytes);
    const smallest = this.#smallestTableBytes;
    this.#smallestTableBytes = smallest < 0 ? tableBytes : Math.min(smallest, tableBytes);
  }

  /**
   * encode makes a header block.
   * @param fields name, value, name, value… in latin1; names in any case
   * @returns a view of memory that all encoders share: it is valid until the next call
   */
  encode(fields: readonly string[]): Buffer {
    let maxBytes = 2 * NUMBER_MAX_BYTES;
    for (let i = 0; i < fields.length; i++) maxBytes += NUMBER_MAX_BYTES + fields[i]!.length;
    this.#out = maxBytes > BLOCK.length ? Buffer.allocUnsafeSlow(maxBytes) : BLOCK;
    this.#at = 0;
    if (this.#smallestTableBytes >= 0) this.#writeSizes();
    for (let i = 0; i < fields.length; i += 2) this.#writeField(nameOf(fields[i]!), fields[i + 1]!);
    const out = this.#out;
    this.#out = BLOCK;
    return out.subarray(0, this.#at);
  }

  #writeSizes(): void {
    const { maxBytes } = this.#table;
    if (this.#smallestTableBytes < maxBytes)
      this.#writeNumber(SIZE_UPDATE, SIZE_BITS, this.#smallestTableBytes);
    this.#writeNumber(SIZE_UPDATE, SIZE_BITS, maxBytes);
    this.#smallestTableBytes = -1;
  }

  #writeField(name: Name, value: string): void {
    const found = this.#find(name, value);
    if (found > 0) this.#writeNumber(INDEXED, INDEX_BITS, found);
    else if (name.isSecret) this.#writeLiteral(NEVER_INDEXED, LITERAL_BITS, -found, name, value);
    else if (this.#isRepeated(name, value)) {
      this.#writeLiteral(WITH_INDEXING, WITH_INDEXING_BITS, -found, name, value);
      this.#entries[name.place] = this.#table.addedCount;
      // A copy, because the value may be a slice that keeps a whole head in memory.
      this.#table.add(name.lower, copyOf(value), 0);
    } else this.#writeLiteral(WITHOUT_INDEXING, LITERAL_BITS, -found, name, value);
  }

  /** @returns the index of the whole field; or that of its name, negative; 0: no table has the name */
  #find(name: Name, value: string): number {
    const { staticFrom, staticTo } = name;
    if (staticFrom > 0) {
      for (let index = staticFrom; index <= staticTo; index++)
        if (STATIC_VALUES[index] === value) return index;
    }
    const table = this.#table;
    const number = this.#entries[name.place]!;
    const age = table.addedCount - 1 - number;
    if (age >= table.count) return -staticFrom;
    const slot = table.slotOf(number);
    if (table.names[slot] !== name.lower) return -staticFrom;
    const index = STATIC_COUNT + 1 + age;
    if (table.values[slot] === value) return index;
    return staticFrom > 0 ? -staticFrom : -index;
  }

  /** Whether a value that no table has is that of the last time, and is worth an entry. */
  #isRepeated(name: Name, value: string): boolean {
    const hash = hashOf(value);
    const isSame = hash === this.#hashes[name.place];
    this.#hashes[name.place] = hash;
    return isSame && 2 * (ENTRY_BYTES + name.lower.length + value.length) <= this.#table.maxBytes;
  }

  /** @param nameIndex 0: no table has the name */
  #writeLiteral(kind: number, prefix: number, nameIndex: number, name: Name, value: string): void {
    this.#writeNumber(kind, prefix, nameIndex);
    if (nameIndex === 0) this.#writeText(name.lower);
    this.#writeText(value);
  }

  /** A number (§5.1). @param kind what it is, in the bits above the prefix @param prefix the mask of the number's first bits */
  #writeNumber(kind: number, prefix: number, number: number): void {
    const out = this.#out;
    if (number < prefix) {
      out[this.#at++] = kind | number;
      return;
    }
    out[this.#at++] = kind | prefix;
    let rest = number - prefix;
    for (; rest >= 0x80; rest >>>= 7) out[this.#at++] = (rest & 0x7f) | 0x80;
    out[this.#at++] = rest;
  }

  /** A text with its length, not Huffman-coded (§5.2). */
  #writeText(text: string): void {
    const { length } = text;
    this.#writeNumber(0, LENGTH_BITS, length);
    if (length > LOOP_MAX_BYTES) this.#out.write(text, this.#at, 'latin1');
    else for (let i = 0; i < length; i++) this.#out[this.#at + i] = text.charCodeAt(i);
    this.#at += length;
  }
}

/** Of the length and of up to 16 characters, the last among them: it is of no harm when two texts are taken for the same. */
function hashOf(text: string): number {
  const { length } = text;
  const step = (length >>> 4) + 1;
  let hash = length + 1;
  for (let i = length - 1; i >= 0; i -= step) hash = (Math.imul(hash, 31) + text.charCodeAt(i)) | 0;
  return hash;
}
