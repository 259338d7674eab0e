/**
 * Finds where the WebSocket frames of one direction end (RFC 6455 §5.2), so that Sluice can put a frame of its own between two of
 * them. Only lengths are read: nothing is checked, copied or kept.
 */
const OPCODE_BITS = 0x0f;
const CLOSE = 0x8;
const MASKED = 0x80;
const LENGTH_BITS = 0x7f;
/** A length that does not fit into 7 bits follows in two bytes or in eight. */
const LENGTH_IN_2 = 126;
const MASK_BYTES = 4;

/** FrameTracker is made for each direction of a WebSocket, at its first byte. */
export class FrameTracker {
  /** Whether a close frame has begun: no frame may follow it. */
  hasClosed = false;
  /** Bytes of the frame after its length: mask and payload. */
  #rest = 0;
  /** Bytes of an incomplete head that have come; 0: none. */
  #headBytes = 0;
  /** Bytes that this head has without the mask. */
  #headLength = 2;
  #maskBytes = 0;
  #length = 0;

  /** Whether the last frame has ended and no other has begun. */
  get isBetweenFrames(): boolean {
    return this.#rest === 0 && this.#headBytes === 0;
  }

  /** pass goes over the bytes from…to-1. @returns `to`, or where `stops` is true, the index of the first byte after a frame */
  pass(bytes: Uint8Array, from: number, to: number, stops = false): number {
    let at = from;
    while (at < to) {
      if (this.#rest > 0) {
        const count = Math.min(this.#rest, to - at);
        this.#rest -= count;
        at += count;
      } else this.#takeOfHead(bytes[at++]!);
      if (stops && this.isBetweenFrames) return at;
    }
    return to;
  }

  /** Takes the next byte before mask and payload. */
  #takeOfHead(byte: number): void {
    const place = this.#headBytes++;
    if (place === 0) {
      if ((byte & OPCODE_BITS) === CLOSE) this.hasClosed = true;
      return;
    }
    if (place === 1) {
      const short = byte & LENGTH_BITS;
      this.#maskBytes = (byte & MASKED) === 0 ? 0 : MASK_BYTES;
      this.#length = short < LENGTH_IN_2 ? short : 0;
      this.#headLength = short < LENGTH_IN_2 ? 2 : short === LENGTH_IN_2 ? 4 : 10;
    } else this.#length = this.#length * 256 + byte;
    if (place + 1 < this.#headLength) return;
    this.#headBytes = 0;
    this.#rest = this.#length + this.#maskBytes;
  }
}
