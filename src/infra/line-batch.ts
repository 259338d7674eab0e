/** Whole lines in one buffer, on their way out. */
import { ATOMIC_WRITE_BYTES } from './line-sink.ts';

const NEWLINE = 10;

/** LineBatch is filled by LineWriter, then written from its start; it may be filled again once it is empty. */
export class LineBatch {
  readonly buffer: Buffer;
  /** What is before this has been written. */
  #start = 0;
  #end = 0;

  /** @param sizeBytes at least ATOMIC_WRITE_BYTES */
  constructor(sizeBytes: number) {
    this.buffer = Buffer.allocUnsafeSlow(sizeBytes);
  }

  get start(): number {
    return this.#start;
  }

  get isEmpty(): boolean {
    return this.#start === this.#end;
  }

  /** Whether the longest line might not fit any more. */
  get isFull(): boolean {
    return this.buffer.length - this.#end < ATOMIC_WRITE_BYTES;
  }

  /** add takes one line with its newline, while not full; false: it is longer than a line may be, and left out. */
  add(line: string): boolean {
    const end = this.#end + this.buffer.write(line, this.#end, ATOMIC_WRITE_BYTES);
    if (this.buffer[end - 1] !== NEWLINE) return false;
    this.#end = end;
    return true;
  }

  /** nextBytes is how much, from the start, one write of at most maxBytes takes: whole lines, the first perhaps begun. */
  nextBytes(maxBytes: number): number {
    if (this.#end - this.#start <= maxBytes) return this.#end - this.#start;
    return this.buffer.lastIndexOf(NEWLINE, this.#start + maxBytes - 1) + 1 - this.#start;
  }

  /** advance notes that so many bytes have been written; an empty batch begins anew. */
  advance(bytes: number): void {
    this.#start += bytes;
    if (!this.isEmpty) return;
    this.#start = 0;
    this.#end = 0;
  }

  /** clear empties the batch and returns how many lines were still in it. */
  clear(): number {
    let lines = 0;
    for (let at = this.#start; at < this.#end; lines++) at = this.buffer.indexOf(NEWLINE, at) + 1;
    this.advance(this.#end - this.#start);
    return lines;
  }
}
