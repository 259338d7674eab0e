/** Buffers that hold one frame, or many small ones: for output, and for pieces of bodies that somebody may keep. */
import { BufferPool } from '../memory/buffer-pool.ts';

/** Also the size of a TLS record. */
export const FRAME_BUFFER_BYTES = 16_384;
/** Output that fills a buffer goes on in one of these, so that a large answer leaves in few writes. */
const LARGE_BYTES = 131_072;
const LARGE_LIVE_MAX = 16;

/** frameBuffers are those of this process. */
export const frameBuffers = new BufferPool(FRAME_BUFFER_BYTES, LARGE_BYTES, LARGE_LIVE_MAX);
