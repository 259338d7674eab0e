/** The beginning of a request body, for another attempt. */

/** Of one request. */
export const KEPT_MAX_BYTES = 65_536;
/** This many pieces are made one: each costs a hundred bytes of its own. */
const PIECES_MAX = 16;
/** Of all requests of a worker together; what comes beyond it is not kept. */
const KEPT_TOTAL_MAX_BYTES = 33_554_432;

let totalBytes = 0;

/** keptTotalBytes is what all requests of this process keep; for tests. */
export function keptTotalBytes(): number {
  return totalBytes;
}

/** mayGather tells whether a body may be awaited before a backend is looked for. One without a length may depend on what the backend answers meanwhile. @param bodyLength of UpstreamRequest */
export function mayGather(bodyLength: number): boolean {
  return bodyLength > 0 && totalBytes < KEPT_TOTAL_MAX_BYTES;
}

/**
 * KeptBody holds copies of what was taken of a request body, up to KEPT_MAX_BYTES. With one byte more it drops all of them, so that a
 * large upload costs no copy from then on. The transaction makes it for a request that may be sent twice. The ExchangeOwner of each
 * attempt sends what it holds, and adds what it takes from the client. RequestBody calls `forget` at the end.
 */
export class KeptBody {
  /** All of the body was taken. */
  ended = false;
  trailers: string[] = [];
  takenBytes = 0;

  /** null: forgotten. */
  #pieces: Buffer[] | null = [];
  #heldBytes = 0;
  /** Nobody sends now, so one piece above the limit is kept too; its reader has been told to stop. */
  #waits = false;

  /** Whether all that was taken could be sent again. */
  get isWhole(): boolean {
    return this.#pieces !== null;
  }

  get pieces(): readonly Buffer[] {
    return this.#pieces ?? [];
  }

  /** Whether no further piece may be added before `sent`. */
  get isFull(): boolean {
    return this.#waits && this.takenBytes > KEPT_MAX_BYTES;
  }

  /** add takes the next piece. @returns a copy, or the piece itself where it is not kept */
  add(piece: Buffer): Buffer {
    this.takenBytes += piece.length;
    if (!this.#waits) this.#trim(piece.length);
    if (this.#pieces === null) return piece;
    const copy = Buffer.from(piece);
    this.#heldBytes += copy.length;
    totalBytes += copy.length;
    if (this.#pieces.push(copy) === PIECES_MAX) this.#pieces = [Buffer.concat(this.#pieces)];
    return copy;
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
    this.#waits = true;
  }

  /** sent is called by an ExchangeOwner that has sent all pieces. */
  sent(): void {
    this.#waits = false;
    this.#trim(0);
  }

  #trim(moreBytes: number): void {
    if (this.takenBytes > KEPT_MAX_BYTES || totalBytes + moreBytes > KEPT_TOTAL_MAX_BYTES) this.forget();
  }

  /** forget drops all pieces, for good. */
  forget(): void {
    totalBytes -= this.#heldBytes;
    this.#heldBytes = 0;
    this.#pieces = null;
  }
}
