/**
 * Memory for bodies. V8 collects dead ArrayBuffers only after tens of MiB of them, so buffers are recycled, or freed by
 * transfer(0): a worker grows by 0.2–1 MiB instead of 41–69.
 *
 * Every wire whose body has no buffer of its own reads into `shared`: its bytes are valid until the read callback returns.
 * An own buffer belongs to one streaming body from take() to give() or drop().
 */

/** Size of the shared buffer, and of the first one that a body has for its own. */
export const FIRST_BUFFER_BYTES = 65_536;
/**
 * What a stream grows to once a read fills the first one: 1 MiB down costs 0.49 × HAProxy's CPU time, with 256 KiB 0.58.
 * Twelve of them bound what slow and stopped peers can hold.
 */
export const LARGE_BUFFER_BYTES = 524_288;
const LARGE_LIVE_MAX = 12;
const POOLED_MAX = 16;
/**
 * Pieces of a request body below this size are copied before whoever is given them returns: they may lie in memory that the
 * next read overwrites.
 */
export const SMALL_PIECE_BYTES = 1024;
/** Tests fill memory that was given back with this, and find it where somebody still reads. */
export const POISON = 0x21;

/** BodyBuffers is made once per worker and used by its connections of both directions. */
export class BodyBuffers {
  readonly shared = Buffer.allocUnsafeSlow(FIRST_BUFFER_BYTES);

  readonly #poisoned: boolean;
  readonly #first: Buffer<ArrayBuffer>[] = [];
  readonly #large: Buffer<ArrayBuffer>[] = [];
  #largeLive = 0;

  /** @param options poisoned: overwrites memory when it is given back; for tests */
  constructor(options: { poisoned?: boolean } = {}) {
    this.#poisoned = options.poisoned ?? false;
  }

  get largeLiveCount(): number {
    return this.#largeLive;
  }

  get pooledCount(): number {
    return this.#first.length + this.#large.length;
  }

  /** take lends a buffer of FIRST_BUFFER_BYTES; its content is whatever it held before. */
  take(): Buffer<ArrayBuffer> {
    return this.#first.pop() ?? Buffer.allocUnsafeSlow(FIRST_BUFFER_BYTES);
  }

  /** takeLarge lends one of LARGE_BUFFER_BYTES, null when the budget is spent. */
  takeLarge(): Buffer<ArrayBuffer> | null {
    if (this.#largeLive >= LARGE_LIVE_MAX) return null;
    this.#largeLive++;
    return this.#large.pop() ?? Buffer.allocUnsafeSlow(LARGE_BUFFER_BYTES);
  }

  /** grow swaps a first buffer for a large one where the rest of the body is worth it and the budget allows; only between reads. */
  grow(own: Buffer<ArrayBuffer>, remainingBytes: number): Buffer<ArrayBuffer> {
    if (own.length !== FIRST_BUFFER_BYTES || remainingBytes <= FIRST_BUFFER_BYTES) return own;
    const large = this.takeLarge();
    if (large === null) return own;
    this.give(own);
    return large;
  }

  /** give returns a buffer to the pool. No write may still read from it. */
  give(buffer: Buffer<ArrayBuffer>): void {
    this.drop(buffer);
    if (this.#poisoned) buffer.fill(POISON);
    const pool = buffer.length === LARGE_BUFFER_BYTES ? this.#large : this.#first;
    if (pool.length < POOLED_MAX) pool.push(buffer);
    else buffer.buffer.transfer(0);
  }

  /** drop gives up a buffer that a write may still read from; it is not used again. */
  drop(buffer: Buffer<ArrayBuffer>): void {
    if (buffer.length === LARGE_BUFFER_BYTES) this.#largeLive--;
  }

  /** afterRead is called when a read callback is over: from now on the next socket may write into `shared`. */
  afterRead(): void {
    if (this.#poisoned) this.shared.fill(POISON);
  }
}

let processBuffers: BodyBuffers | null = null;

/** processBodyBuffers is the one of this process, for whoever was given none. */
export function processBodyBuffers(): BodyBuffers {
  processBuffers ??= new BodyBuffers();
  return processBuffers;
}
