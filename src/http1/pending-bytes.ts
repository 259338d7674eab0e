/** Bytes that cannot be used yet, copied out of the memory of a read. They take at most twice their size, or MIN_BYTES. */
const MIN_BYTES = 1024;
const NONE = Buffer.alloc(0);

/** ByteCount is the memory of several PendingBytes together. */
export interface ByteCount {
  bytes: number;
}

/** PendingBytes is owned by a connection or by one of its parsers. */
export class PendingBytes {
  /** The bytes are from…to-1 of this. */
  buffer: Buffer = NONE;
  from = 0;
  to = 0;
  readonly #count: ByteCount;

  /** @param count the sum that includes this memory */
  constructor(count: ByteCount = { bytes: 0 }) {
    this.#count = count;
  }

  get length(): number {
    return this.to - this.from;
  }

  /** append copies source[sourceFrom…sourceTo-1] to the end. Slices of `buffer` taken before keep their content. */
  append(source: Buffer, sourceFrom: number, sourceTo: number): void {
    const byteCount = sourceTo - sourceFrom;
    if (this.to + byteCount > this.buffer.length) this.#move(this.length + byteCount);
    source.copy(this.buffer, this.to, sourceFrom, sourceTo);
    this.to += byteCount;
  }

  /** consumeTo drops the bytes before an index; with the last byte goes the memory. */
  consumeTo(index: number): void {
    this.from = index;
    if (this.from === this.to) this.clear();
  }

  /** takeText takes all of them out, as latin1. */
  takeText(): string {
    const text = this.buffer.toString('latin1', this.from, this.to);
    this.clear();
    return text;
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
    this.#count.bytes += next.length - this.buffer.length;
    this.buffer = next;
  }
}
