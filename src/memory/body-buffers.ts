/**
 * Memory for bodies. A wire whose body has no buffer of its own reads into `shared`: those bytes are valid until the read
 * callback returns. A buffer of its own belongs to one streaming body from take() to give() or drop().
 */
import { BufferPool } from './buffer-pool.ts';

/** The size of the shared buffer, and of a body's first buffer. */
export const FIRST_BUFFER_BYTES = 65_536;
/** A body that fills its first buffer gets one of this size: a download of 1 MiB costs 0.49 × HAProxy's CPU time, with 256 KiB 0.58 ×. */
export const LARGE_BUFFER_BYTES = 524_288;
const LARGE_LIVE_MAX = 12;

/** BodyBuffers is made once per worker, for its connections in both directions. */
export class BodyBuffers extends BufferPool {
  readonly shared = Buffer.allocUnsafeSlow(FIRST_BUFFER_BYTES);

  constructor() {
    super(FIRST_BUFFER_BYTES, LARGE_BUFFER_BYTES, LARGE_LIVE_MAX);
  }

  /** grow swaps a first buffer for a large one, if there is one and the rest of the body needs it. Called between reads only. */
  grow(own: Buffer<ArrayBuffer>, remainingBytes: number): Buffer<ArrayBuffer> {
    if (own.length !== FIRST_BUFFER_BYTES || remainingBytes <= FIRST_BUFFER_BYTES) return own;
    const large = this.takeLarge();
    if (large === null) return own;
    this.give(own);
    return large;
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
