/**
 * Says when an incomplete head is worth parsing again: when its empty line has come, when a line of a small head ends, or when
 * a large one has grown by a quarter. Each byte is scanned once, so a head that comes in single bytes costs time in
 * proportion to its size. The scan also finds bytes that can never become a head.
 */
import { CR, LF, TEXT_BYTES } from './head-bytes.ts';

/** Below this size each new line is parsed as it ends, so that a bad one is refused at once. */
const SMALL_BYTES = 512;
const GROWTH = 1.25;
const EMPTY_LINE_BYTES = 2;

/** PartialHead is owned by a reader of heads, for one head after another. Its calls are about bytes at…to-1, which begin with the head. */
export class PartialHead {
  /** No further bytes can make a head of these: a CR or LF alone, or a control byte. */
  isBroken = false;
  /** Size of the first line with its end; 0 while it is incomplete. */
  firstLineBytes = 0;

  readonly #controlsInFirstLine: boolean;
  #scannedBytes = 0;
  #lineBytes = 0;
  #lastByte = 0;
  /** The empty line has come. */
  #isWhole = false;
  #parseAgainBytes = SMALL_BYTES;

  /** @param options controlsInFirstLine: control bytes in the first line are the parser's to judge */
  constructor({ controlsInFirstLine }: { controlsInFirstLine: boolean }) {
    this.#controlsInFirstLine = controlsInFirstLine;
  }

  /** restart is called when the next bytes begin another head. */
  restart(): void {
    if (this.#scannedBytes === 0) return;
    this.isBroken = this.#isWhole = false;
    this.firstLineBytes = this.#scannedBytes = this.#lineBytes = this.#lastByte = 0;
    this.#parseAgainBytes = SMALL_BYTES;
  }

  /** isDue tells whether to parse the head now. A head that comes in one piece is not scanned. */
  isDue(bytes: Uint8Array, at: number, to: number): boolean {
    if (this.#scannedBytes === 0) return true;
    const hasNewLine = this.#scan(bytes, at, to);
    if (this.#isWhole) return true;
    if (!hasNewLine) return false;
    if (to - at < SMALL_BYTES) return true;
    if (to - at < this.#parseAgainBytes) return false;
    this.#parseAgainBytes = (to - at) * GROWTH;
    return true;
  }

  /** noteIncomplete is called behind isDue where the head is neither whole nor malformed. */
  noteIncomplete(bytes: Uint8Array, at: number, to: number): void {
    if (this.#scannedBytes === 0) this.#scan(bytes, at, to);
  }

  /** Scans what is new, up to the end of the head. @returns whether a line ends there */
  #scan(bytes: Uint8Array, at: number, to: number): boolean {
    let hasNewLine = false;
    for (let i = at + this.#scannedBytes; i < to && !this.#isWhole; i++) {
      const byte = bytes[i]!;
      this.#scannedBytes += 1;
      this.#lineBytes += 1;
      if ((byte === LF) !== (this.#lastByte === CR)) this.isBroken = true;
      this.#lastByte = byte;
      if (byte === LF) {
        hasNewLine = true;
        if (this.firstLineBytes === 0) this.firstLineBytes = this.#scannedBytes;
        else if (this.#lineBytes === EMPTY_LINE_BYTES) this.#isWhole = true;
        this.#lineBytes = 0;
      } else if (byte !== CR && TEXT_BYTES[byte] !== 1 && !this.#mayHoldControls) this.isBroken = true;
    }
    return hasNewLine;
  }

  get #mayHoldControls(): boolean {
    return this.#controlsInFirstLine && this.firstLineBytes === 0;
  }
}
