/**
 * The memory of a request body on its way to the backend. The first piece is copied out of the buffer that all connections
 * share. From then on a large body is read into a buffer of its own, of up to 512 KiB, and written from there. A buffer that a
 * backend still takes bytes from is never read into, and buffers are swapped only between reads.
 */
import { type BodyBuffers, FIRST_BUFFER_BYTES, SMALL_PIECE_BYTES } from '../../../http1/body-buffers.ts';

/** A read of less gives the memory back: the next one is likely as small, and slow clients shall keep none. */
const KEPT_MIN_BYTES = FIRST_BUFFER_BYTES / 2;

/** BodyMemory is made by a connection with its first body. */
export class BodyMemory {
  readonly #buffers: BodyBuffers;
  #own: Buffer<ArrayBuffer> | null = null;
  #held = false;

  constructor(buffers: BodyBuffers) {
    this.#buffers = buffers;
  }

  /** What the next read may go into; null: what all share. */
  get readable(): Buffer | null {
    return this.#held ? null : this.#own;
  }

  /** pieceOf is the piece at from…to-1 for whoever passes it on, in memory that stays as it is until it has. */
  pieceOf(buffer: Buffer, from: number, to: number): Buffer {
    const isShared = buffer === this.#buffers.shared;
    if (!isShared || to - from < SMALL_PIECE_BYTES) return buffer.subarray(from, to);
    this.#own ??= this.#buffers.take();
    buffer.copy(this.#own, 0, from, to);
    return this.#own.subarray(0, to - from);
  }

  /**
   * afterRead decides what the next read goes into; called once everything of a read has been looked at.
   * @param remainingBytes of the body that flows, 0 for none
   */
  afterRead(readBytes: number, remainingBytes: number): void {
    const own = this.#own;
    if (own === null || this.#held) return;
    if (remainingBytes === 0 || readBytes < KEPT_MIN_BYTES) {
      this.#buffers.give(own);
      this.#own = null;
    } else if (readBytes >= FIRST_BUFFER_BYTES) this.#own = this.#buffers.grow(own, remainingBytes);
  }

  /** hold: the last piece is in use until release. */
  hold(): void {
    this.#held = true;
  }

  release(): void {
    this.#held = false;
  }

  /** close gives the memory back: neither side reads or writes any more. */
  close(): void {
    if (this.#own !== null) this.#buffers.give(this.#own);
    this.#own = null;
  }

  /** drop gives the memory up while somebody may still read from it: the collector takes it when that is over. */
  drop(): void {
    if (this.#own !== null) this.#buffers.drop(this.#own);
    this.#own = null;
    this.#held = false;
  }
}
