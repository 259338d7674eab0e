/**
 * Bytes of a client that came before their turn: requests behind the one that is served, a body that nobody reads yet, the
 * beginning of a head. Copied out of the memory that all connections read into, and kept as they came: the memory is at most
 * twice the bytes, and MIN_BYTES.
 */
const MIN_BYTES = 1024;

export class UnreadBytes {
  /** What waits lies at from…to-1 of it. */
  buffer: Buffer = NONE;
  from = 0;
  to = 0;

  get length(): number {
    return this.to - this.from;
  }

  /** append copies bytes behind those that wait. Memory that was handed out of here before stays as it is. */
  append(source: Buffer, sourceFrom: number, sourceTo: number): void {
    const count = sourceTo - sourceFrom;
    if (this.to + count > this.buffer.length) this.#move(this.length + count);
    source.copy(this.buffer, this.to, sourceFrom, sourceTo);
    this.to += count;
  }

  /** consumeTo drops what lies before an index; the memory goes with its last byte. */
  consumeTo(index: number): void {
    this.from = index;
    if (this.from === this.to) this.clear();
  }

  clear(): void {
    this.buffer = NONE;
    this.from = this.to = 0;
  }

  #move(byteCount: number): void {
    const next = Buffer.allocUnsafeSlow(Math.max(MIN_BYTES, 2 ** Math.ceil(Math.log2(byteCount))));
    this.buffer.copy(next, 0, this.from, this.to);
    this.to = this.length;
    this.from = 0;
    this.buffer = next;
  }
}

const NONE = Buffer.alloc(0);
