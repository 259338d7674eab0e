/** BufferPool lends memory of two sizes, of which the small one is always to be had. */

/** Small buffers that are kept to be lent again, of one pool. */
const KEPT_BYTES = 1_048_576;

/**
 * There is one for bodies (body-buffers.ts) and one for frames of HTTP/2 (http2/frame-buffers.ts): neither uses up the large buffers of
 * the other.
 */
export class BufferPool {
  /** Large buffers that are lent; written by this class only. */
  largeLiveCount = 0;
  readonly #smallBytes: number;
  readonly #largeBytes: number;
  readonly #largeLiveMax: number;
  readonly #small: Buffer<ArrayBuffer>[] = [];
  /** With those that are lent, never more than #largeLiveMax. */
  readonly #large: Buffer<ArrayBuffer>[] = [];

  /** @param largeLiveMax large buffers lent at once: it bounds the memory that slow and stopped peers hold */
  constructor(smallBytes: number, largeBytes: number, largeLiveMax: number) {
    this.#smallBytes = smallBytes;
    this.#largeBytes = largeBytes;
    this.#largeLiveMax = largeLiveMax;
  }

  /** Buffers that nobody has. */
  get pooledCount(): number {
    return this.#small.length + this.#large.length;
  }

  /** take lends a small buffer with arbitrary content, until give or drop. */
  take(): Buffer<ArrayBuffer> {
    return this.#small.pop() ?? Buffer.allocUnsafeSlow(this.#smallBytes);
  }

  /** takeLarge lends a large one; null while `largeLiveMax` are lent. */
  takeLarge(): Buffer<ArrayBuffer> | null {
    if (this.largeLiveCount >= this.#largeLiveMax) return null;
    this.largeLiveCount++;
    return this.#large.pop() ?? Buffer.allocUnsafeSlow(this.#largeBytes);
  }

  /** give takes a buffer back, which nobody reads any more. */
  give(buffer: Buffer<ArrayBuffer>): void {
    this.drop(buffer);
    if (buffer.length === this.#largeBytes) this.#large.push(buffer);
    else if (this.#small.length * this.#smallBytes < KEPT_BYTES) this.#small.push(buffer);
    // V8 collects dead ArrayBuffers so late that a worker would grow by 41–69 MiB instead of 0.2–1.
    else buffer.buffer.transfer(0);
  }

  /** drop gives up a buffer that a write may still read: it is left to the garbage collector. */
  drop(buffer: Buffer<ArrayBuffer>): void {
    if (buffer.length === this.#largeBytes) this.largeLiveCount--;
  }
}
