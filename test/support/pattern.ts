/** Bodies that tell of every byte whose it is and where it belongs. */

/** One sequence without repetition; each body is a window of it. */
let sequence: Buffer = Buffer.alloc(0);
/** Between the starts of two windows; prime, so that no two buffers of a round size ever hold the same. */
const STEP_BYTES = 99_991;

/** bodyOf is the body of an id: bytes that no other one has at the same place. Do not write to it: it is a view. */
export function bodyOf(id: number, bytes: number): Buffer {
  const from = id * STEP_BYTES;
  const needed = from + bytes;
  if (sequence.length < needed) sequence = makeSequence(Math.max(2 * sequence.length, needed));
  return sequence.subarray(from, from + bytes);
}

function makeSequence(bytes: number): Buffer {
  const words = new Uint32Array(Math.ceil(bytes / 4));
  // An odd factor makes of each number below 2^32 another one.
  for (let i = 0; i < words.length; i++) words[i] = Math.imul(i + 1, 0x9e3779b1);
  return Buffer.from(words.buffer);
}

/** firstMismatch is the offset of the first difference, -1 for equal ones. */
export function firstMismatch(got: Buffer, wanted: Buffer): number {
  if (got.equals(wanted)) return -1;
  let at = 0;
  while (at < wanted.length && got[at] === wanted[at]) at++;
  return at;
}

/** BodyCheck holds a body that comes in pieces against the one that it should be. */
export class BodyCheck {
  /** Bytes so far. */
  bytes = 0;
  /** About the first wrong byte; '' while there is none. */
  problem = '';
  readonly #wanted: Buffer;

  constructor(wanted: Buffer) {
    this.#wanted = wanted;
  }

  take(piece: Buffer): void {
    const at = firstMismatch(piece, this.#wanted.subarray(this.bytes, this.bytes + piece.length));
    if (at >= 0 && this.problem === '') {
      const shown = piece.subarray(at, at + 8).toString('hex');
      this.problem = `byte ${this.bytes + at} of ${this.#wanted.length} is not its own: ${shown}`;
    }
    this.bytes += piece.length;
  }

  /** Whether all of it came and was right. */
  get whole(): boolean {
    return this.problem === '' && this.bytes === this.#wanted.length;
  }
}
