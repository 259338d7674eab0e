/** Bodies whose bytes identify the body and the offset. */

/** A sequence without repetition. Each body is a part of it. */
let sequence: Buffer = Buffer.alloc(0);
/** Distance of two bodies in the sequence. A prime, so that buffers of a round size never hold the same bytes. */
const STEP_BYTES = 99_991;

/** bodyOf returns the body of an id: no other body has these bytes at the same offset. Read only. */
export function bodyOf(id: number, bytes: number): Buffer {
  const from = id * STEP_BYTES;
  const needed = from + bytes;
  if (sequence.length < needed) sequence = makeSequence(Math.max(2 * sequence.length, needed));
  return sequence.subarray(from, from + bytes);
}

function makeSequence(bytes: number): Buffer {
  const words = new Uint32Array(Math.ceil(bytes / 4));
  // Multiplying by an odd factor gives a different result for each number below 2^32.
  for (let i = 0; i < words.length; i++) words[i] = Math.imul(i + 1, 0x9e3779b1);
  return Buffer.from(words.buffer);
}

/** firstMismatch returns the offset of the first difference; -1: none. */
export function firstMismatch(got: Buffer, wanted: Buffer): number {
  if (got.equals(wanted)) return -1;
  let at = 0;
  while (at < wanted.length && got[at] === wanted[at]) at++;
  return at;
}

/** BodyCheck compares a body that comes in pieces with the expected one. */
export class BodyCheck {
  /** Bytes so far. */
  bytes = 0;
  /** Describes the first wrong byte; '' if there is none. */
  problem = '';
  readonly #wanted: Buffer;

  constructor(wanted: Buffer) {
    this.#wanted = wanted;
  }

  take(piece: Buffer): void {
    const at = firstMismatch(piece, this.#wanted.subarray(this.bytes, this.bytes + piece.length));
    if (at >= 0 && this.problem === '') {
      const shown = piece.subarray(at, at + 8).toString('hex');
      this.problem = `byte ${this.bytes + at} of ${this.#wanted.length} is wrong: ${shown}`;
    }
    this.bytes += piece.length;
  }

  /** Whether the body is complete and right. */
  get whole(): boolean {
    return this.problem === '' && this.bytes === this.#wanted.length;
  }
}
