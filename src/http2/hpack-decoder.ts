/** Reads header blocks (RFC 7541). The decoder of a connection sees every block, because each may change the dynamic table. */
import { COLON, isBlank, TEXT_BYTES, TOKEN_BYTES } from '../http1/head-bytes.ts';
import { DynamicTable, ENTRY_BYTES, TABLE_MAX_BYTES } from './dynamic-table.ts';
import { compressionError } from './frames.ts';
import { decodeHuffman, maxDecodedBytes } from './huffman.ts';
import { STATIC_COUNT, STATIC_NAMES, STATIC_VALUES } from './static-table.ts';

/** First bytes of fields (§6): a set bit says what it is, the bits below are the prefix of its first number. */
const INDEXED = 0x80;
const WITH_INDEXING = 0x40;
const SIZE_UPDATE = 0x20;
const HUFFMAN = 0x80;
/** Bytes of a number behind its first one: 5 hold 32 bits and more than any number may be (§5.1 leaves the bound to us). */
const NUMBER_MAX_BYTES = 5;

/** Notes of entries. */
const BAD_NAME = 1;
const BAD_VALUE = 2;

/** Texts of a block above the limits that are dropped together. */
const DROPPED_AT_ONCE = 64;

/** Huffman-coded texts of up to 16 KiB are decoded into this. */
const SCRATCH = Buffer.allocUnsafeSlow(maxDecodedBytes(16_384));

/** The types of Node.js lack it: toString('latin1', …) without the look-up of the encoding. */
interface SliceableBuffer extends Buffer {
  latin1Slice(from: number, to: number): string;
}

/** HpackDecoder is owned by the FieldBlocks of a session. */
export class HpackDecoder {
  /** Whether a field of the last block has a name that is no lower-case token (except for a colon in front), or a value that RFC 9113 §8.2.1 forbids. */
  isMalformed = false;

  readonly #table = new DynamicTable();
  readonly #maxFields: number;
  readonly #maxListBytes: number;
  /** The next byte of the block, and the end of the block. */
  #at = 0;
  #to = 0;
  /** BAD_NAME | BAD_VALUE: of the last literal. */
  #problems = 0;

  /** @param limits maxListBytes counts 32 bytes more for each field (RFC 9113 §6.5.2, MAX_HEADER_LIST_SIZE) */
  constructor(limits: { maxFields: number; maxListBytes: number }) {
    this.#maxFields = limits.maxFields;
    this.#maxListBytes = limits.maxListBytes;
  }

  /**
   * decode reads the block at from…to-1, which is whole.
   * @returns name, value, name, value… in latin1; null: it is above the limits. The table has its entries all the same
   * @throws Http2Error COMPRESSION_ERROR; then this decoder is of no use any more
   */
  decode(block: Buffer, from: number, to: number): string[] | null {
    this.#at = from;
    this.#to = to;
    this.isMalformed = false;
    while (this.#at < to && (block[this.#at]! & 0xe0) === SIZE_UPDATE) this.#resizeTable(block);
    const fields: string[] = [];
    let listBytes = 0;
    let isAbove = false;
    while (this.#at < to) {
      const nameAt = fields.length;
      if (block[this.#at]! >= INDEXED) this.#readIndexed(block, fields);
      else this.#readLiteral(block, fields, !isAbove);
      listBytes += ENTRY_BYTES + fields[nameAt]!.length + fields[nameAt + 1]!.length;
      isAbove = isAbove || listBytes > this.#maxListBytes || fields.length > 2 * this.#maxFields;
      // Every 32 fields, not each: emptying an array makes it grow again.
      if (isAbove && fields.length > DROPPED_AT_ONCE) fields.length = 0;
    }
    return isAbove ? null : fields;
  }

  /** A field of one of the tables (§6.1). */
  #readIndexed(block: Buffer, fields: string[]): void {
    const index = this.#readNumber(block, 0x7f);
    if (index <= STATIC_COUNT) {
      if (index === 0) throw compressionError('An indexed field has the index 0.');
      fields.push(STATIC_NAMES[index]!, STATIC_VALUES[index]!);
      return;
    }
    const slot = this.#slotOf(index);
    const { names, values, notes } = this.#table;
    if (notes[slot] !== 0) this.isMalformed = true;
    fields.push(names[slot]!, values[slot]!);
  }

  /** A field with a value, and a name or the index of one (§6.2). @param isKept false: the texts are of use to the table only */
  #readLiteral(block: Buffer, fields: string[], isKept: boolean): void {
    const kind = block[this.#at]!;
    if ((kind & 0xe0) === SIZE_UPDATE) throw compressionError('A table size update stands behind a field.');
    const isIndexing = kind >= WITH_INDEXING;
    const index = this.#readNumber(block, isIndexing ? 0x3f : 0x0f);
    this.#problems = 0;
    let name: string;
    if (index === 0) name = this.#readText(block, true, isKept || isIndexing);
    else if (index <= STATIC_COUNT) name = STATIC_NAMES[index]!;
    else {
      const slot = this.#slotOf(index);
      name = this.#table.names[slot]!;
      this.#problems = this.#table.notes[slot]! & BAD_NAME;
    }
    const value = this.#readText(block, false, isKept || isIndexing);
    if (isIndexing) this.#table.add(name, value, this.#problems);
    if (this.#problems !== 0) this.isMalformed = true;
    fields.push(name, value);
  }

  /** A number whose first bits are in the next byte, below the bits that say what it is (§5.1). @param prefix the mask of its first bits */
  #readNumber(block: Buffer, prefix: number): number {
    if (this.#at >= this.#to) throw compressionError('A field is cut.');
    const low = block[this.#at++]! & prefix;
    return low < prefix ? low : this.#readLongNumber(block, prefix);
  }

  #readLongNumber(block: Buffer, prefix: number): number {
    let number = prefix;
    let unit = 1;
    for (let i = 0; i < NUMBER_MAX_BYTES; i++) {
      if (this.#at >= this.#to) throw compressionError('A field is cut.');
      const byte = block[this.#at++]!;
      number += (byte & 0x7f) * unit;
      unit *= 128;
      if (byte < 0x80) return number;
    }
    throw compressionError('A number is too large.');
  }

  /** A text with its length (§5.2); sets #problems. @returns '' where it is not wanted */
  #readText(block: Buffer, isName: boolean, isWanted: boolean): string {
    const isHuffman = block[this.#at]! >= HUFFMAN;
    const length = this.#readNumber(block, 0x7f);
    const from = this.#at;
    if (length > this.#to - from) throw compressionError('A text is cut.');
    this.#at += length;
    if (!isHuffman) return isWanted ? this.#checkedText(block, from, this.#at, isName) : '';
    const room = maxDecodedBytes(length);
    const decoded = room > SCRATCH.length ? Buffer.allocUnsafeSlow(room) : SCRATCH;
    const decodedBytes = decodeHuffman(block, from, this.#at, decoded);
    return isWanted ? this.#checkedText(decoded, 0, decodedBytes, isName) : '';
  }

  #checkedText(bytes: Buffer, from: number, to: number, isName: boolean): string {
    if (isName ? !isFieldName(bytes, from, to) : !isFieldValue(bytes, from, to)) {
      this.#problems |= isName ? BAD_NAME : BAD_VALUE;
    }
    return (bytes as SliceableBuffer).latin1Slice(from, to);
  }

  /** A size update (§6.3). */
  #resizeTable(block: Buffer): void {
    const bytes = this.#readNumber(block, 0x1f);
    if (bytes > TABLE_MAX_BYTES) throw compressionError('A table size is above the limit.');
    this.#table.resize(bytes);
  }

  /** Where an index above the static table points to (§2.3.3). */
  #slotOf(index: number): number {
    const age = index - STATIC_COUNT - 1;
    const table = this.#table;
    if (age >= table.count) throw compressionError('An index is above the tables.');
    return table.slotOf(table.addedCount - 1 - age);
  }
}

/** Lower-case token, perhaps with a colon in front. */
function isFieldName(bytes: Uint8Array, from: number, to: number): boolean {
  const start = bytes[from] === COLON ? from + 1 : from;
  if (start >= to) return false;
  for (let i = start; i < to; i++) {
    const byte = bytes[i]!;
    if (TOKEN_BYTES[byte] !== byte || byte === 0) return false;
  }
  return true;
}

function isFieldValue(bytes: Uint8Array, from: number, to: number): boolean {
  for (let i = from; i < to; i++) if (TEXT_BYTES[bytes[i]!] === 0) return false;
  return from === to || !(isBlank(bytes[from]!) || isBlank(bytes[to - 1]!));
}
