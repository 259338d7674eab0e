/**
 * Bytes that cannot be used yet, copied out of memory that is read into again: requests behind the one that is served, a body
 * nobody reads yet, the beginning of a head, a trailer section. They take at most twice their size, or MIN_BYTES.
 */
const MIN_BYTES = 1024;
const NONE = Buffer.alloc(0);

/** ByteCount is a sum over several owners of PendingBytes. */
export interface ByteCount {
  bytes: number;
}

/** PendingBytes is owned by whoever reads a stream: one connection, or the decoder of one body. */
export class PendingBytes {
  /** The bytes are from…to-1 of this. */
  buffer: Buffer = NONE;
  from = 0;
  to = 0;
  readonly #count: ByteCount | null;

  /** @param count kept up to date with the memory taken here */
  constructor(count: ByteCount | null = null) {
    this.#count = count;
  }

  get length(): number {
    return this.to - this.from;
  }

  /** append copies source[sourceFrom…sourceTo-1] behind the others. Slices of `buffer` taken before keep their content. */
  append(source: Buffer, sourceFrom: number, sourceTo: number): void {
    const byteCount = sourceTo - sourceFrom;
    if (this.to + byteCount > this.buffer.length) this.#move(this.length + byteCount);
    source.copy(this.buffer, this.to, sourceFrom, sourceTo);
    this.to += byteCount;
  }

  /** consumeTo drops what lies before an index. The memory is let go with the last byte. */
  consumeTo(index: number): void {
    this.from = index;
    if (this.from === this.to) this.clear();
  }

  clear(): void {
    this.#swap(NONE);
    this.from = this.to = 0;
  }

  #move(byteCount: number): void {
    const next = Buffer.allocUnsafeSlow(Math.max(MIN_BYTES, 2 ** Math.ceil(Math.log2(byteCount))));
    this.buffer.copy(next, 0, this.from, this.to);
    this.to = this.length;
    this.from = 0;
    this.#swap(next);
  }

  #swap(next: Buffer): void {
    if (this.#count !== null) this.#count.bytes += next.length - this.buffer.length;
    this.buffer = next;
  }
}
