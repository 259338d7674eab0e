/** Whole lines in one buffer, on their way out. */
import { ATOMIC_WRITE_BYTES } from './line-sink.ts';

const NEWLINE = 10;
/** What one UTF-16 unit takes at most. */
export const UTF8_BYTES = 3;
/**
 * Lines become bytes so many at a time: a call of `buffer.write` costs as much as the making of a line (a line in all
 * 1.1 µs with a call for each, 0.7 with one for 16).
 */
const JOINED_LINES = 16;

/** LineBatch is filled by LineWriter, then written from its start; it may be filled again once it is empty. */
export class LineBatch {
  readonly buffer: Buffer;
  /** What is before this has been written. */
  #start = 0;
  #end = 0;
  /** The newest lines, not in the buffer yet. */
  #joined = '';
  #joinedLines = 0;

  /** @param sizeBytes at least ATOMIC_WRITE_BYTES */
  constructor(sizeBytes: number) {
    this.buffer = Buffer.allocUnsafeSlow(sizeBytes);
  }

  get start(): number {
    return this.#start;
  }

  get isEmpty(): boolean {
    return this.#start === this.#end && this.#joinedLines === 0;
  }

  /** Whether the longest line might not fit any more. */
  get isFull(): boolean {
    if (this.#roomBytes - this.#joined.length * UTF8_BYTES >= ATOMIC_WRITE_BYTES) return false;
    this.#encode();
    return this.#roomBytes < ATOMIC_WRITE_BYTES;
  }

  /** add takes one line with its newline, while not full; false: it is longer than a line may be, and left out. */
  add(line: string): boolean {
    const mayBeTooLong = line.length * UTF8_BYTES > ATOMIC_WRITE_BYTES;
    if (mayBeTooLong && Buffer.byteLength(line) > ATOMIC_WRITE_BYTES) return false;
    this.#joined += line;
    if (++this.#joinedLines === JOINED_LINES) this.#encode();
    return true;
  }

  /** nextBytes is how much, from the start, one write of at most maxBytes takes: whole lines, the first perhaps begun. */
  nextBytes(maxBytes: number): number {
    this.#encode();
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
    this.#encode();
    let lines = 0;
    for (let at = this.#start; at < this.#end; lines++) at = this.buffer.indexOf(NEWLINE, at) + 1;
    this.advance(this.#end - this.#start);
    return lines;
  }

  get #roomBytes(): number {
    return this.buffer.length - this.#end;
  }

  #encode(): void {
    if (this.#joinedLines === 0) return;
    this.#end += this.buffer.write(this.#joined, this.#end);
    this.#joined = '';
    this.#joinedLines = 0;
  }
}
