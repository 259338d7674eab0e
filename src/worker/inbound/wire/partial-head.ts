/**
 * The beginning of a head whose rest is still to come. It is read again from its start only when it has grown by a quarter
 * or its empty line has come, so that a head in single bytes costs time in proportion to its bytes. Bytes that can never
 * become a head are refused as soon as they are seen.
 */
import { hasBrokenLine, LF } from '../../../http1/head-bytes.ts';
import type { GuardLimits } from '../../../proxy/request-guard.ts';

/** Room for method, version and line end beside targetBytes. */
const REQUEST_LINE_MARGIN_BYTES = 1024;
const CRLF_BYTES = 2;
const FIRST_LOOK_BYTES = 512;
const LOOK_GROWTH = 1.25;
/** The end of the last line, and the empty one. */
const EMPTY_LINE_END = '\n\r\n';

/** PartialHead is owned by a connection; all its questions are of bytes at…to-1, which begin with the head. */
export class PartialHead {
  /** So many bytes are known to be a sound beginning. */
  #scannedBytes = 0;
  /** From this size on the head is parsed again although it is incomplete, so that a bad line is refused before the end. */
  #nextLookBytes = FIRST_LOOK_BYTES;

  forget(): void {
    this.#scannedBytes = 0;
    this.#nextLookBytes = FIRST_LOOK_BYTES;
  }

  /** isDue tells whether the head is to be read: it may be whole, or it is time to look at its lines. */
  isDue(buffer: Buffer, at: number, to: number): boolean {
    if (this.#scannedBytes === 0) return true;
    const end = buffer.indexOf(
      EMPTY_LINE_END,
      at + Math.max(0, this.#scannedBytes - EMPTY_LINE_END.length + 1),
      'latin1',
    );
    if (end >= 0 && end + EMPTY_LINE_END.length <= to) return true;
    const lf = buffer.indexOf(LF, at + this.#scannedBytes);
    if (lf < 0 || lf >= to) return false;
    if (to - at < FIRST_LOOK_BYTES) return true;
    if (to - at < this.#nextLookBytes) return false;
    this.#nextLookBytes = (to - at) * LOOK_GROWTH;
    return true;
  }

  /** refusalOf takes note of an incomplete head; returns the status that refuses it, 0 while it may become one. */
  refusalOf(buffer: Buffer, at: number, to: number, { targetBytes, headerBytes }: GuardLimits): number {
    if (hasBrokenLine(buffer, at, at + this.#scannedBytes, to)) return 400;
    this.#scannedBytes = to - at;
    const requestLineMaxBytes = targetBytes + REQUEST_LINE_MARGIN_BYTES;
    const lf = buffer.indexOf(LF, at);
    if (lf < 0 || lf >= Math.min(to, at + requestLineMaxBytes))
      return to - at > requestLineMaxBytes ? 414 : 0;
    return to - lf - 1 > headerBytes + CRLF_BYTES ? 431 : 0;
  }
}

/** headMaxBytes is what a head may take that is not refused for its size. */
export function headMaxBytes({ targetBytes, headerBytes }: GuardLimits): number {
  return targetBytes + REQUEST_LINE_MARGIN_BYTES + headerBytes + CRLF_BYTES;
}
