/** Buffers that hold one frame, or many small ones: for output, and for pieces of bodies that somebody may keep. */

/** Also the size of a TLS record. */
export const FRAME_BUFFER_BYTES = 16_384;
/** Output that fills a buffer goes on in one of these, so that a large answer leaves in few writes. */
const LARGE_BYTES = 131_072;
/** Large buffers in use at once: it bounds the memory that clients hold who take nothing. */
const LARGE_LIVE_MAX = 16;
/** 1 MiB. */
const POOLED_MAX = 64;

const pool: Buffer<ArrayBuffer>[] = [];
const largePool: Buffer<ArrayBuffer>[] = [];
let largeLiveCount = 0;

/** takeFrameBuffer lends a buffer with arbitrary content. It goes back with giveFrameBuffer, or to the garbage collector. */
export function takeFrameBuffer(): Buffer<ArrayBuffer> {
  return pool.pop() ?? Buffer.allocUnsafeSlow(FRAME_BUFFER_BYTES);
}

/** takeLargeBuffer lends a large one; null while LARGE_LIVE_MAX are lent. It goes back with giveFrameBuffer, or dropFrameBuffer. */
export function takeLargeBuffer(): Buffer<ArrayBuffer> | null {
  if (largeLiveCount >= LARGE_LIVE_MAX) return null;
  largeLiveCount++;
  return largePool.pop() ?? Buffer.allocUnsafeSlow(LARGE_BYTES);
}

/** giveFrameBuffer takes back a buffer that nobody reads any more. */
export function giveFrameBuffer(buffer: Buffer<ArrayBuffer>): void {
  dropFrameBuffer(buffer);
  if (buffer.length === LARGE_BYTES) largePool.push(buffer);
  else if (pool.length < POOLED_MAX) pool.push(buffer);
  // V8 would collect it late (http1/body-buffers.ts).
  else buffer.buffer.transfer(0);
}

/** dropFrameBuffer gives up a buffer that a write may still read: it is left to the garbage collector. */
export function dropFrameBuffer(buffer: Buffer<ArrayBuffer>): void {
  if (buffer.length === LARGE_BYTES) largeLiveCount--;
}
