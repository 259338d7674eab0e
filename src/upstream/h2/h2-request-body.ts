/**
 * The body of a request on its way to a stream. What was taken of it is kept, up to KEPT_MAX_BYTES and until the answer begins, and is
 * sent to each stream that is opened for the request: so a stream that the backend did not process can be replaced.
 */
import { LbError } from '../../contract/errors.ts';
import { CHUNKED_BODY } from '../../contract/request-head.ts';
import type { BegunBody } from '../exchange.ts';
import { wrongLength } from '../failures.ts';
import type { HookedStream } from './hooked-stream.ts';

const KEPT_MAX_BYTES = 16_384;

/** H2RequestBody is owned by an H2Request. When that ends without a stream, another one may take it over. */
export class H2RequestBody implements BegunBody {
  /** All of it was taken. */
  ended = false;
  /** No more may be written until the stream has drained. */
  blocked = false;

  readonly #bodyLength: number;
  #takenBytes = 0;
  /** All that was taken; null: too much, or nobody will need it again. */
  #kept: Buffer[] | null = [];
  /** null: the request waits for a stream. */
  #stream: HookedStream | null = null;

  /** @param bodyLength announced, or CHUNKED_BODY */
  constructor(bodyLength: number) {
    this.#bodyLength = bodyLength;
  }

  /** Whether another stream could carry all of it. */
  get isKept(): boolean {
    return this.#kept !== null;
  }

  /** forget is called when the answer begins. */
  forget(): void {
    this.#kept = null;
  }

  /** flowTo sends to this stream what was taken so far, and then what comes; null: there is none for now, and all was kept. */
  flowTo(stream: HookedStream | null): void {
    this.#stream = stream;
    this.blocked = stream === null;
    if (stream === null) return;
    for (const piece of this.#kept ?? []) if (!stream.write(piece)) this.blocked = true;
    if (this.#takenBytes > KEPT_MAX_BYTES) this.#kept = null;
    if (this.ended) stream.end();
  }

  /**
   * write copies a piece; see `blocked`. Throws an LbError where the body would become longer than announced,
   * and where a request that waits for a stream is given more than one piece above KEPT_MAX_BYTES.
   */
  write(piece: Buffer): void {
    if (piece.length === 0 || this.ended) return;
    const stream = this.#stream;
    if (stream === null && this.#takenBytes > KEPT_MAX_BYTES)
      throw new LbError('internal_error', 'more of the request body came than may wait for a stream');
    this.#takenBytes += piece.length;
    if (this.#bodyLength !== CHUNKED_BODY && this.#takenBytes > this.#bodyLength) throw wrongLength('longer');
    // node sends it later, when its memory may belong to other bytes.
    const copy = Buffer.from(piece);
    if (stream !== null && this.#takenBytes > KEPT_MAX_BYTES) this.#kept = null;
    this.#kept?.push(copy);
    if (stream !== null) holdBack(stream);
    if (stream?.write(copy) !== true) this.blocked = true;
  }

  /** end: all was taken. Throws an LbError where bytes are missing. */
  end(): void {
    if (this.#bodyLength !== CHUNKED_BODY && this.#takenBytes !== this.#bodyLength) {
      if (this.#stream !== null) letGo(this.#stream);
      throw wrongLength('shorter');
    }
    this.ended = true;
    this.#stream?.end();
  }
}

/** The end of a body often comes in the same read as its last piece. Then both leave in one frame. */
function holdBack(stream: HookedStream): void {
  if (stream.writableCorked > 0) return;
  stream.cork();
  setImmediate(letGo, stream);
}

function letGo(stream: HookedStream): void {
  if (stream.writableCorked > 0 && !stream.closed) stream.uncork();
}
