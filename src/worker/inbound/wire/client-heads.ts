/** Finds the heads of a client's requests, and decides which incomplete ones are refused. */
import type { RequestHead } from '../../../contract/request-head.ts';
import { HEAD_INCOMPLETE, HEAD_MALFORMED } from '../../../http1/field-reader.ts';
import { CR, LF } from '../../../http1/head-bytes.ts';
import { PartialHead } from '../../../http1/partial-head.ts';
import { RequestHeadReader } from '../../../http1/request-head.ts';
import type { GuardLimits } from '../../../proxy/admission.ts';
import type { UnparsedRequest } from '../../../proxy/handler.ts';

/** Room for method, version and line end beside targetBytes. */
const REQUEST_LINE_MARGIN_BYTES = 1024;
const CRLF_BYTES = 2;

/** ClientHeads is owned by a connection. */
export class ClientHeads {
  /** The refusal of bytes that can never become a head; null while they may. */
  unparsed: UnparsedRequest | null = null;
  readonly #reader = new RequestHeadReader();
  readonly #partial = new PartialHead({ controlsInFirstLine: false });

  /** The head that the last read found. */
  get head(): RequestHead {
    return this.#reader.head;
  }

  /** read looks for a head that begins at `at`. @returns the index behind it, or a negative number: see `unparsed` */
  read(buffer: Buffer, at: number, to: number, limits: GuardLimits): number {
    const reader = this.#reader;
    const partial = this.#partial;
    const isDue = partial.isDue(buffer, at, to);
    const end = isDue ? reader.read(buffer, at, to, headMaxBytes(limits)) : HEAD_INCOMPLETE;
    if (end === HEAD_INCOMPLETE) {
      partial.noteIncomplete(buffer, at, to);
      const status = refusalOf(partial, to - at, limits);
      this.unparsed = status === 0 ? null : { status, method: null };
    } else if (end === HEAD_MALFORMED) {
      const method = reader.head.method === 'CONNECT' ? reader.head.method : null;
      this.unparsed = { status: reader.problemStatus, method };
    } else partial.restart();
    return end;
  }

  /** restart is called where the next read does not begin with the bytes of the last one. */
  restart(): void {
    this.#partial.restart();
  }

  /** forget drops the bytes and what was made of them. */
  forget(): void {
    this.#reader.forget();
  }
}

/** The largest head that is not refused for its size. */
function headMaxBytes({ targetBytes, headerBytes }: GuardLimits): number {
  return targetBytes + REQUEST_LINE_MARGIN_BYTES + headerBytes + CRLF_BYTES;
}

/** The status that refuses an incomplete head; 0 while it may become a head. */
function refusalOf(partial: PartialHead, bytes: number, { targetBytes, headerBytes }: GuardLimits): number {
  if (partial.isBroken) return 400;
  const lineBytes = partial.firstLineBytes;
  const lineMaxBytes = targetBytes + REQUEST_LINE_MARGIN_BYTES;
  if ((lineBytes || bytes) > lineMaxBytes) return 414;
  return lineBytes > 0 && bytes - lineBytes > headerBytes + CRLF_BYTES ? 431 : 0;
}

/** skipEmptyLines returns the index behind empty lines, ended by CRLF or LF: they are ignored before a request (RFC 9112 §2.2). */
export function skipEmptyLines(buffer: Buffer, from: number, to: number): number {
  let at = from;
  for (;;) {
    if (at < to && buffer[at] === LF) at += 1;
    else if (at + 1 < to && buffer[at] === CR && buffer[at + 1] === LF) at += 2;
    else return at;
  }
}
