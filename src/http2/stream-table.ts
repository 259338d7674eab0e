/**
 * The open streams of a session by their number. A Map whose entries come and go keeps its replaced tables, and so closed streams, until
 * the next full collection (docs/performance.md); here a stream that is removed is forgotten at once.
 */
import type { Stream } from './stream.ts';

const FIRST_SLOTS = 8;

/** StreamTable is a hash table with linear probing. */
export class StreamTable {
  size = 0;
  /** At most half are taken. */
  #slots: (Stream | null)[] = new Array(FIRST_SLOTS).fill(null);

  get(id: number): Stream | undefined {
    return this.#slots[this.#slotOf(id)] ?? undefined;
  }

  /** add takes a stream whose number is not in the table. */
  add(stream: Stream): void {
    if (2 * ++this.size > this.#slots.length) this.#grow();
    this.#slots[this.#slotOf(stream.id)] = stream;
  }

  /** @returns whether it was there */
  delete(id: number): boolean {
    const slots = this.#slots;
    const mask = slots.length - 1;
    let free = this.#slotOf(id);
    if (slots[free] === null) return false;
    slots[free] = null;
    this.size--;
    // Streams behind it that a search could not reach any more move up.
    for (let at = (free + 1) & mask; ; at = (at + 1) & mask) {
      const stream = slots[at]!;
      if (stream === null) return true;
      const home = hashOf(stream.id) & mask;
      if (((at - home) & mask) < ((at - free) & mask)) continue;
      slots[free] = stream;
      slots[at] = null;
      free = at;
    }
  }

  /** list makes a list of all, in no order. */
  list(): Stream[] {
    return this.#slots.filter((stream) => stream !== null);
  }

  /** The slot of this stream, or the free one in which it would be. */
  #slotOf(id: number): number {
    const slots = this.#slots;
    const mask = slots.length - 1;
    let at = hashOf(id) & mask;
    for (let stream = slots[at]; stream !== null && stream!.id !== id; stream = slots[at])
      at = (at + 1) & mask;
    return at;
  }

  #grow(): void {
    const streams = this.list();
    this.#slots = new Array(2 * this.#slots.length).fill(null);
    for (const stream of streams) this.#slots[this.#slotOf(stream.id)] = stream;
  }
}

/** Scatters numbers that follow one another: side by side they would be one long run, which each removal looks through. */
function hashOf(id: number): number {
  return Math.imul(id, 0x9e3779b1) >>> 16;
}
