/**
 * Says when an incomplete head is parsed again: at its empty line, at the end of a line while it is small, or once it has grown
 * by a quarter. Each byte is scanned once, so that the time for a head in single bytes is proportional to its size.
 */
import { CR, LF, TEXT_BYTES } from './head-bytes.ts';

/** A head below this size is parsed at the end of each line, so that a bad line is refused at once. */
const SMALL_BYTES = 512;
const GROWTH = 1.25;
const EMPTY_LINE_BYTES = 2;

/** PartialHead is owned by a reader of heads. In all calls the head begins at `at`, and its bytes so far end before `to`. */
export class PartialHead {
  /** These bytes can never become a head: they hold a CR or LF alone, or a control byte. */
  isBroken = false;
  /** The first line with its CRLF; 0 while it is incomplete. */
  firstLineBytes = 0;

  readonly #controlsInFirstLine: boolean;
  #scannedBytes = 0;
  #lineBytes = 0;
  #lastByte = 0;
  /** The empty line has come. */
  #isWhole = false;
  #parseAgainBytes = SMALL_BYTES;

  /** @param options controlsInFirstLine: control bytes in the first line do not break the head; the parser judges them */
  constructor({ controlsInFirstLine }: { controlsInFirstLine: boolean }) {
    this.#controlsInFirstLine = controlsInFirstLine;
  }

  /** restart is called when the next bytes belong to another head. */
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

  /** noteIncomplete is called after isDue where the parser found the head neither whole nor malformed. */
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
      } else if (byte !== CR && TEXT_BYTES[byte] !== 1) {
        this.isBroken ||= this.firstLineBytes > 0 || !this.#controlsInFirstLine;
      }
    }
    return hasNewLine;
  }
}
