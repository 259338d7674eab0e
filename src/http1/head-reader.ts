/**
 * The base of both readers of heads. It reads strictly where RFC 9112 leaves a choice: two parsers that disagree about a head
 * take the bytes after it for different messages.
 *
 * Field lines are read in one pass over their bytes, which costs a third of searching their text. Neighbouring lines that pass
 * on unchanged are cut out of the text as one string.
 */
import { COLON, CR, isBlank, isTidyLine, LF, TAB, TEXT_BYTES, TOKEN_BYTES } from './head-bytes.ts';
import { nextHash, PLAIN, specialClass, TRANSFER_ENCODING, UNDERSCORE } from './header-names.ts';
import { PartialHead } from './partial-head.ts';

/** Results of a reader of heads. Any other result is the index of the first byte after the head. */
export const HEAD_INCOMPLETE = -1;
export const HEAD_MALFORMED = -2;

const UNDERSCORE_BYTE = 95;
const NO_BYTES = Buffer.alloc(0);
/** A read up to this size becomes text at once: it is most often one message, whose body is then cut out of that text. */
const SMALL_READ_BYTES = 18_432;
/** Of a larger read this much becomes text at first: heads are small, and bodies need not become text. */
const FIRST_TEXT_BYTES = 4096;

/** HeadReader is the base of RequestHeadReader and ResponseParser. */
export abstract class HeadReader {
  /** Why the last read returned HEAD_MALFORMED; for logs. */
  problem = '';

  /** Lines that pass on, each with CRLF. */
  protected lines = '';
  /** All lines of the head, those left out included. */
  protected lineCount = 0;
  /** The bytes from `base` on of `buffer`, as latin1. */
  protected text = '';
  protected base = 0;
  protected buffer: Buffer = NO_BYTES;
  /** Made with the first incomplete head: most connections never see one. */
  protected partial: PartialHead | null = null;
  /** See PartialHead. */
  protected abstract readonly controlsInFirstLine: boolean;
  #keptFrom = 0;

  /** parse reads the head that begins at `from`. The bytes so far end before `to`. */
  protected abstract parse(bytes: Buffer, from: number, to: number): number;

  /** take gets each field that is not PLAIN, or whose line is untidy. @returns whether the line passes on; see also refuse */
  protected abstract take(kind: number, name: string, value: string): boolean;

  /** takeBytes is asked before take, and may answer without a string of the value; null: ask take. */
  protected abstract takeBytes(kind: number, bytes: Uint8Array, from: number, to: number): boolean | null;

  /** findHead parses the head at `at`; one of more than maxBytes is incomplete. The text stays for the next head in the buffer. */
  protected findHead(buffer: Buffer, at: number, to: number, maxBytes: number): number {
    this.problem = '';
    const isDue = this.partial === null || this.partial.isDue(buffer, at, to);
    const found = isDue ? this.#parseText(buffer, at, to, maxBytes) : HEAD_INCOMPLETE;
    if (found !== HEAD_INCOMPLETE) {
      this.restart();
      return found;
    }
    this.forgetText();
    this.partial ??= new PartialHead({ controlsInFirstLine: this.controlsInFirstLine });
    this.partial.noteIncomplete(buffer, at, to);
    return this.partial.isBroken ? this.malformed('bytes that cannot be part of a head') : found;
  }

  #parseText(buffer: Buffer, at: number, to: number, maxBytes: number): number {
    // A body in the same read may have ended after what became text.
    if (this.buffer !== buffer || at >= this.base + this.text.length) {
      this.#makeText(buffer, at, to - at <= SMALL_READ_BYTES ? to : at + FIRST_TEXT_BYTES);
    }
    let textTo = this.base + this.text.length;
    const found = this.parse(buffer, at, textTo);
    if (found !== HEAD_INCOMPLETE || textTo === to) return found;
    textTo = Math.min(to, at + maxBytes);
    this.#makeText(buffer, at, textTo);
    return this.parse(buffer, at, textTo);
  }

  #makeText(buffer: Buffer, from: number, to: number): void {
    this.buffer = buffer;
    this.base = from;
    this.text = buffer.toString('latin1', from, to);
  }

  /** restart is called where the next bytes do not continue an incomplete head. */
  restart(): void {
    this.partial?.restart();
  }

  /** forgetText is called before the memory of a read is used again. */
  protected forgetText(): void {
    this.buffer = NO_BYTES;
    this.text = '';
  }

  /** readLines returns the index after the empty line, HEAD_INCOMPLETE or HEAD_MALFORMED. */
  protected readLines(bytes: Uint8Array, from: number, to: number, maxCount: number): number {
    this.lines = '';
    this.#keptFrom = from;
    let at = from;
    for (let count = 0; at + 1 < to; count++) {
      if (bytes[at] === CR && bytes[at + 1] === LF) {
        this.#cut(at, at);
        this.lineCount = count;
        return at + 2;
      }
      if (count === maxCount) return this.malformed('too many headers');
      let colon = at;
      let hash = 0;
      let hasUnderscore = false;
      for (; colon < to; colon++) {
        const byte = TOKEN_BYTES[bytes[colon]!]!;
        if (byte === 0) break;
        if (byte === UNDERSCORE_BYTE) hasUnderscore = true;
        hash = nextHash(hash, byte);
      }
      if (colon === to) return HEAD_INCOMPLETE;
      if (bytes[colon] !== COLON || colon === at) return this.malformed(nameProblem(bytes, colon, to));
      let eol = colon + 1;
      while (eol < to && TEXT_BYTES[bytes[eol]!] === 1) eol++;
      if (eol + 1 >= to)
        return eol < to && bytes[eol] !== CR ? this.malformed(LINE_PROBLEM) : HEAD_INCOMPLETE;
      if (bytes[eol] !== CR || bytes[eol + 1] !== LF) return this.malformed(valueProblem(bytes[eol]!));
      const kind = hasUnderscore ? UNDERSCORE : specialClass(hash, bytes, at, colon);
      if (kind !== PLAIN || !isTidyLine(bytes, colon, eol)) {
        this.#takeLine(bytes, at, colon, eol, kind);
        if (this.problem !== '') return HEAD_MALFORMED;
      }
      at = eol + 2;
    }
    return HEAD_INCOMPLETE;
  }

  /** Leaves a line out, or tidies it. */
  #takeLine(bytes: Uint8Array, at: number, colon: number, eol: number, kind: number): void {
    let from = colon + 1;
    let to = eol;
    while (from < to && isBlank(bytes[from]!)) from++;
    while (to > from && isBlank(bytes[to - 1]!)) to--;
    // llhttp finds no end of a body whose coding has a tab after it, and no two readers may differ here.
    if (kind === TRANSFER_ENCODING && bytes.subarray(to, eol).includes(TAB)) {
      this.refuse('tab after Transfer-Encoding');
    }
    const passes =
      this.takeBytes(kind, bytes, from, to) ??
      this.take(kind, this.cutText(at, colon), this.cutText(from, to));
    if (passes && isTidyLine(bytes, colon, eol)) return;
    this.#cut(at, eol + 2);
    if (passes) this.lines += `${this.cutText(at, colon)}: ${this.cutText(from, to)}\r\n`;
  }

  /** Keeps the lines up to `at` and goes on at `next`. */
  #cut(at: number, next: number): void {
    if (this.#keptFrom < at) this.lines += this.cutText(this.#keptFrom, at);
    this.#keptFrom = next;
  }

  /** cutText is the text of the bytes from…to-1. */
  protected cutText(from: number, to: number): string {
    return this.text.slice(from - this.base, to - this.base);
  }

  /** refuse is how take says that the head is malformed. */
  protected refuse(problem: string): false {
    this.problem = problem;
    return false;
  }

  protected malformed(problem: string): number {
    this.problem = problem;
    return HEAD_MALFORMED;
  }
}

const LINE_PROBLEM = 'line ends that are not CRLF';

/** `at` is the index of the first byte that ends the name of a line. */
function nameProblem(bytes: Uint8Array, at: number, to: number): string {
  for (let i = at; i < to && bytes[i] !== LF; i++) if (bytes[i] === COLON) return 'bad header name';
  return 'header line without a colon';
}

function valueProblem(byte: number): string {
  return byte === CR || byte === LF ? LINE_PROBLEM : 'control byte in a header';
}
