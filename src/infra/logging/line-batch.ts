/** Whole lines in one buffer, waiting to be written. */
import { ATOMIC_WRITE_BYTES, UTF8_BYTES } from './line-sink.ts';

const NEWLINE = 10;
/** Lines that are encoded together: 0.7 µs a line instead of 1.1 with a call of `buffer.write` for each. */
const JOINED_LINES = 16;

/** LineBatch is filled by LineWriter, then written from its start. An empty batch can be filled again. */
export class LineBatch {
  readonly buffer: Buffer;
  /** Everything before this offset has been written. */
  #start = 0;
  #end = 0;
  /** The newest lines, not encoded yet. */
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

  /** Whether a line of ATOMIC_WRITE_BYTES might not fit. */
  get isFull(): boolean {
    const roomBytes = this.buffer.length - this.#end;
    if (roomBytes - this.#joined.length * UTF8_BYTES >= ATOMIC_WRITE_BYTES) return false;
    this.#encode();
    return this.buffer.length - this.#end < ATOMIC_WRITE_BYTES;
  }

  /** add takes one line with its newline, of at most ATOMIC_WRITE_BYTES. The batch must not be full. */
  add(line: string): void {
    this.#joined += line;
    if (++this.#joinedLines === JOINED_LINES) this.#encode();
  }

  /** nextBytes is the size of the next write: whole lines of maxBytes together, which is at least ATOMIC_WRITE_BYTES. */
  nextBytes(maxBytes: number): number {
    this.#encode();
    if (this.#end - this.#start <= maxBytes) return this.#end - this.#start;
    return this.buffer.lastIndexOf(NEWLINE, this.#start + maxBytes - 1) + 1 - this.#start;
  }

  /** advance notes that this many bytes have been written. */
  advance(bytes: number): void {
    this.#start += bytes;
    if (!this.isEmpty) return;
    this.#start = 0;
    this.#end = 0;
  }

  /** clear empties the batch and returns how many lines were lost. */
  clear(): number {
    this.#encode();
    let lines = 0;
    for (let at = this.#start; at < this.#end; lines++) at = this.buffer.indexOf(NEWLINE, at) + 1;
    this.advance(this.#end - this.#start);
    return lines;
  }

  #encode(): void {
    if (this.#joinedLines === 0) return;
    this.#end += this.buffer.write(this.#joined, this.#end);
    this.#joined = '';
    this.#joinedLines = 0;
  }
}
