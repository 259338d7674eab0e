/**
 * The dynamic table of HPACK (RFC 7541 §2.3.2, §4): names and values that both ends of a connection remember. Decoder and encoder have
 * one each. It is a ring, so that no entry moves when another one comes or goes.
 */

/** The most bytes of a table: what every peer has until it says otherwise, and more than we ever use (§4.2). */
export const TABLE_MAX_BYTES = 4096;
/** What an entry costs beside its texts (§4.1). */
export const ENTRY_BYTES = 32;
/** Most connections need no more; there may be 128 entries (TABLE_MAX_BYTES / ENTRY_BYTES). */
const FIRST_CAPACITY = 16;

/** DynamicTable is owned by an HpackDecoder or an HpackEncoder. */
export class DynamicTable {
  /** By slot. Free slots hold ''. */
  names: string[] = new Array(FIRST_CAPACITY).fill('');
  values: string[] = new Array(FIRST_CAPACITY).fill('');
  /** A number that the owner keeps with an entry. */
  notes: number[] = new Array(FIRST_CAPACITY).fill(0);
  /** Entries that are in the table. */
  count = 0;
  /** Entries that were ever added: the number of the newest is one less. */
  addedCount = 0;
  maxBytes = TABLE_MAX_BYTES;
  #bytes = 0;

  /** slotOf is where the entry with this number is, if it is still in the table. */
  slotOf(number: number): number {
    return number & (this.names.length - 1);
  }

  /** add makes the entry the newest one. One that is larger than the table empties it and is not kept (§4.4). */
  add(name: string, value: string, note: number): void {
    const bytes = ENTRY_BYTES + name.length + value.length;
    this.#evict(this.maxBytes - bytes);
    if (bytes > this.maxBytes) return;
    if (this.count === this.names.length) this.#grow();
    const slot = this.slotOf(this.addedCount++);
    this.names[slot] = name;
    this.values[slot] = value;
    this.notes[slot] = note;
    this.count++;
    this.#bytes += bytes;
  }

  /** resize sets the most bytes of all entries. */
  resize(maxBytes: number): void {
    this.maxBytes = maxBytes;
    this.#evict(maxBytes);
  }

  /** Removes the oldest entries until the others have no more than this. */
  #evict(bytes: number): void {
    while (this.count > 0 && this.#bytes > bytes) {
      const slot = this.slotOf(this.addedCount - this.count--);
      this.#bytes -= ENTRY_BYTES + this.names[slot]!.length + this.values[slot]!.length;
      this.names[slot] = '';
      this.values[slot] = '';
    }
  }

  #grow(): void {
    const { names, values, notes } = this;
    const capacity = 2 * names.length;
    this.names = new Array(capacity).fill('');
    this.values = new Array(capacity).fill('');
    this.notes = new Array(capacity).fill(0);
    for (let number = this.addedCount - this.count; number < this.addedCount; number++) {
      const from = number & (names.length - 1);
      const to = this.slotOf(number);
      this.names[to] = names[from]!;
      this.values[to] = values[from]!;
      this.notes[to] = notes[from]!;
    }
  }
}
