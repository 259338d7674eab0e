/** The beginning of a request body, for another attempt. */
import { PendingBytes } from '../memory/pending-bytes.ts';

/** Of one request. */
export const KEPT_MAX_BYTES = 65_536;
/** Memory of all requests of a worker together; what comes beyond it is not kept. */
const KEPT_TOTAL_MAX_BYTES = 33_554_432;

let totalBytes = 0;

/** keptTotalBytes is the memory of what all requests of this process keep; for tests. */
export function keptTotalBytes(): number {
  return totalBytes;
}

/** mayGather tells whether a body may be gathered. One without a length may depend on what the backend answers meanwhile. @param bodyLength of UpstreamRequest */
export function mayGather(bodyLength: number): boolean {
  return bodyLength > 0 && totalBytes < KEPT_TOTAL_MAX_BYTES;
}

/**
 * KeptBody holds a copy of what was taken of a request body, up to KEPT_MAX_BYTES. With one byte more it drops all of it, so that a
 * large upload costs no copy from then on. The copy is in memory of its own: one byte in a slab that node shares would keep the whole
 * slab alive, 64 KiB for each byte of a client that sends them one by one. backendRequestOf makes it for a request that may be sent
 * twice. The ExchangeOwner of each attempt sends what it holds, and adds what it takes from the client. RequestBody calls `forget` at
 * the end.
 */
export class KeptBody {
  /** All of the body was taken. */
  ended = false;
  trailers: string[] = [];
  takenBytes = 0;
  /** Nobody sends now, so one piece above the limit is kept too; its reader has been told to stop. Set by `wait` and `sent`. */
  waits = false;

  readonly #bytes = new PendingBytes();
  #isForgotten = false;
  /** Its part of totalBytes. */
  #countedBytes = 0;

  /** Whether all that was taken could be sent again. */
  get isRepeatable(): boolean {
    return !this.#isForgotten;
  }

  /** What was taken so far and is kept. */
  get bytes(): Buffer {
    const { buffer, from, to } = this.#bytes;
    return buffer.subarray(from, to);
  }

  /** Whether no further piece may be added before `sent`. */
  get isFull(): boolean {
    return this.waits && this.takenBytes > KEPT_MAX_BYTES;
  }

  /** add takes the next piece. @returns a copy, or the piece itself where it is not kept */
  add(piece: Buffer): Buffer {
    this.takenBytes += piece.length;
    if (!this.waits) this.#trim(piece.length);
    if (this.#isForgotten) return piece;
    this.#bytes.append(piece, 0, piece.length);
    this.#count();
    return this.bytes.subarray(this.#bytes.length - piece.length);
  }

  /** Whether no more of it should be awaited: it has KEPT_MAX_BYTES, or all bodies together have what they may. */
  get isGathered(): boolean {
    return this.takenBytes >= KEPT_MAX_BYTES || totalBytes >= KEPT_TOTAL_MAX_BYTES;
  }

  end(rawTrailers: string[]): void {
    this.ended = true;
    this.trailers = rawTrailers;
  }

  /** wait: nobody sends until `sent`. */
  wait(): void {
    this.waits = true;
  }

  /** sent is called by an ExchangeOwner that has sent all bytes. */
  sent(): void {
    this.waits = false;
    this.#trim(0);
  }

  #trim(moreBytes: number): void {
    if (this.takenBytes > KEPT_MAX_BYTES || totalBytes + moreBytes > KEPT_TOTAL_MAX_BYTES) this.forget();
  }

  /** forget drops all bytes, for good. */
  forget(): void {
    this.#isForgotten = true;
    this.#bytes.clear();
    this.#count();
  }

  #count(): void {
    totalBytes += this.#bytes.buffer.length - this.#countedBytes;
    this.#countedBytes = this.#bytes.buffer.length;
  }
}
