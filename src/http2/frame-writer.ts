/**
 * Puts frames (RFC 9113 §4.1) into buffers and gives these to the wire: many small frames leave in one write, and a large answer in few.
 * While the wire is blocked, what is framed waits here.
 */
import type { Wire } from '../contract/wire.ts';
import { FRAME_BUFFER_BYTES, frameBuffers } from './frame-buffers.ts';
import { FRAME_HEAD_BYTES, NO_BYTES } from './frames.ts';

/** The largest payload that `frame` takes. */
export const FRAMED_MAX_BYTES = FRAME_BUFFER_BYTES - FRAME_HEAD_BYTES;
const FLAGS_AT = 4;

/** FrameWriter is owned by a Session. */
export class FrameWriter {
  /** All that was ever framed. */
  totalBytes = 0;
  isBlocked = false;
  /** The memory of what waits behind the bytes that the wire could not take. */
  waitingMemoryBytes = 0;
  /** The payload of the frame that was begun last goes into this, from the index that `frame` has returned. NO_BYTES: none is in use. */
  buffer: Buffer<ArrayBuffer> = NO_BYTES;
  #used = 0;
  /** Full buffers that wait for the wire, and their lengths. */
  readonly #full: Buffer<ArrayBuffer>[] = [];
  readonly #fullBytes: number[] = [];
  /** The wire reads them until it drains. */
  readonly #lent: Buffer<ArrayBuffer>[] = [];
  readonly #wire: Wire;

  constructor(wire: Wire) {
    this.#wire = wire;
  }

  /** frame begins a frame. @param payloadBytes FRAMED_MAX_BYTES at most @returns the index of the payload, which the caller fills */
  frame(type: number, flags: number, streamId: number, payloadBytes: number): number {
    const frameBytes = FRAME_HEAD_BYTES + payloadBytes;
    if (this.#used + frameBytes > this.buffer.length) this.#makeRoom();
    const { buffer } = this;
    const at = this.#used;
    buffer[at] = payloadBytes >>> 16;
    buffer[at + 1] = payloadBytes >>> 8;
    buffer[at + 2] = payloadBytes;
    buffer[at + 3] = type;
    buffer[at + FLAGS_AT] = flags;
    buffer.writeUInt32BE(streamId, at + 5);
    this.#used = at + frameBytes;
    this.totalBytes += frameBytes;
    return at + FRAME_HEAD_BYTES;
  }

  /** addFlag sets a flag of an earlier frame. @param frameAt totalBytes before it @returns false: it has left, or is about to */
  addFlag(frameAt: number, flag: number): boolean {
    const at = frameAt - (this.totalBytes - this.#used);
    if (at < 0) return false;
    this.buffer[at + FLAGS_AT]! |= flag;
    return true;
  }

  /** flush gives everything to the wire. @returns whether the kernel has it */
  flush(): boolean {
    if (this.#used > 0 && !this.isBlocked) this.#write(this.buffer, this.#used);
    if (this.isBlocked) return false;
    if (this.buffer !== NO_BYTES) frameBuffers.give(this.buffer);
    this.buffer = NO_BYTES;
    return true;
  }

  /** onDrain is called when the wire has drained. @returns whether the kernel has everything */
  onDrain(): boolean {
    this.isBlocked = false;
    for (const buffer of this.#lent) frameBuffers.give(buffer);
    this.#lent.length = 0;
    while (!this.isBlocked) {
      const buffer = this.#full.shift();
      if (buffer === undefined) return this.flush();
      this.waitingMemoryBytes -= buffer.length;
      if (this.#writeOut(buffer, this.#fullBytes.shift() ?? 0)) frameBuffers.give(buffer);
    }
    return false;
  }

  /** drop is called when the session has ended: nothing more is sent, but the wire may still read what it was lent. */
  drop(): void {
    for (const buffer of this.#lent) frameBuffers.drop(buffer);
    for (const buffer of this.#full) frameBuffers.give(buffer);
    if (this.buffer !== NO_BYTES) frameBuffers.give(this.buffer);
    this.#lent.length = this.#full.length = this.#fullBytes.length = this.#used = this.waitingMemoryBytes = 0;
    this.buffer = NO_BYTES;
  }

  /** The current buffer is full, or there is none. */
  #makeRoom(): void {
    const { buffer } = this;
    const large = buffer.length === FRAME_BUFFER_BYTES ? frameBuffers.takeLarge() : null;
    if (large !== null) {
      buffer.copy(large, 0, 0, this.#used);
      frameBuffers.give(buffer);
      this.buffer = large;
      return;
    }
    if (this.#used > 0 && this.isBlocked) {
      this.#full.push(buffer);
      this.#fullBytes.push(this.#used);
      this.waitingMemoryBytes += buffer.length;
      this.#used = 0;
      this.buffer = NO_BYTES;
    } else if (this.#used > 0) this.#write(buffer, this.#used);
    if (this.buffer === NO_BYTES) this.buffer = frameBuffers.take();
  }

  #write(buffer: Buffer<ArrayBuffer>, byteCount: number): void {
    this.#used = 0;
    if (!this.#writeOut(buffer, byteCount)) this.buffer = NO_BYTES;
  }

  /** @returns whether the buffer is free */
  #writeOut(buffer: Buffer<ArrayBuffer>, byteCount: number): boolean {
    if (this.#wire.writeChunk('', buffer.subarray(0, byteCount), '')) return true;
    this.isBlocked = true;
    this.#lent.push(buffer);
    return false;
  }
}
