/**
 * Memory for bodies. A wire whose body has no buffer of its own reads into `shared`: those bytes are valid until the read
 * callback returns. A buffer of its own belongs to one streaming body from take() to give() or drop(). Buffers are used again,
 * or freed by transfer(0): V8 collects dead ArrayBuffers so late that a worker would grow by 41–69 MiB instead of 0.2–1.
 */

/** The size of the shared buffer, and of a body's first buffer. */
export const FIRST_BUFFER_BYTES = 65_536;
/** A body that fills its first buffer gets one of this size: a download of 1 MiB costs 0.49 × HAProxy's CPU time, with 256 KiB 0.58 ×. */
export const LARGE_BUFFER_BYTES = 524_288;
/** Large buffers in use at once: it bounds the memory that slow and stopped peers hold. */
const LARGE_LIVE_MAX = 12;
const POOLED_MAX = 16;
/** Whoever is given a smaller piece of a request body copies it before returning: the next read may overwrite it. */
export const SMALL_PIECE_BYTES = 1024;

/** BodyBuffers is made once per worker, for its connections in both directions. */
export class BodyBuffers {
  readonly shared = Buffer.allocUnsafeSlow(FIRST_BUFFER_BYTES);

  readonly #first: Buffer<ArrayBuffer>[] = [];
  readonly #large: Buffer<ArrayBuffer>[] = [];
  /** Large buffers in use; written by this class only. */
  largeLiveCount = 0;

  get pooledCount(): number {
    return this.#first.length + this.#large.length;
  }

  /** take lends a buffer of FIRST_BUFFER_BYTES with arbitrary content. */
  take(): Buffer<ArrayBuffer> {
    return this.#first.pop() ?? Buffer.allocUnsafeSlow(FIRST_BUFFER_BYTES);
  }

  /** takeLarge lends a buffer of LARGE_BUFFER_BYTES; null while LARGE_LIVE_MAX are lent. */
  takeLarge(): Buffer<ArrayBuffer> | null {
    if (this.largeLiveCount >= LARGE_LIVE_MAX) return null;
    this.largeLiveCount++;
    return this.#large.pop() ?? Buffer.allocUnsafeSlow(LARGE_BUFFER_BYTES);
  }

  /** grow swaps a first buffer for a large one, if there is one and the rest of the body needs it. Called between reads only. */
  grow(own: Buffer<ArrayBuffer>, remainingBytes: number): Buffer<ArrayBuffer> {
    if (own.length !== FIRST_BUFFER_BYTES || remainingBytes <= FIRST_BUFFER_BYTES) return own;
    const large = this.takeLarge();
    if (large === null) return own;
    this.give(own);
    return large;
  }

  /** give takes a buffer back, which nobody reads any more. */
  give(buffer: Buffer<ArrayBuffer>): void {
    this.drop(buffer);
    const pool = buffer.length === LARGE_BUFFER_BYTES ? this.#large : this.#first;
    if (pool.length < POOLED_MAX) pool.push(buffer);
    else buffer.buffer.transfer(0);
  }

  /** drop gives up a buffer that a write may still read: it is left to the garbage collector. */
  drop(buffer: Buffer<ArrayBuffer>): void {
    if (buffer.length === LARGE_BUFFER_BYTES) this.largeLiveCount--;
  }

  /** release gives a buffer back, or drops it where somebody may still read it; null for none. */
  release(buffer: Buffer<ArrayBuffer> | null, isFree: boolean): void {
    if (buffer === null) return;
    if (isFree) this.give(buffer);
    else this.drop(buffer);
  }

  /** afterRead is called at the end of a read callback: from now on another wire may read into `shared`. */
  afterRead(): void {
    // Tests overwrite `shared` here, and find out who still reads from it.
  }
}

/** processBodyBuffers are those of this process. */
export const processBodyBuffers = new BodyBuffers();
