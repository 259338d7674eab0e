/**
 * The body of a request on its way to a stream. What was taken of it is kept, up to KEPT_MAX_BYTES and until the answer begins, and is
 * sent to each stream that is opened for the request: so a stream that the backend did not process can be replaced.
 */

import { SMALL_PIECE_BYTES } from '../../contract/downstream.ts';
import { LbError } from '../../contract/errors.ts';
import { CHUNKED_BODY } from '../../contract/request-head.ts';
import type { Stream } from '../../http2/stream.ts';
import { wrongLength } from '../failures.ts';
import type { BegunBody } from '../upstream-request.ts';
import { requestTrailers } from './h2-fields.ts';

const KEPT_MAX_BYTES = 16_384;
/** This many pieces are made one: each costs a hundred bytes of its own. */
const KEPT_MAX_PIECES = 16;

/** H2RequestBody is owned by a BackendH2Request. When that ends without a stream, another one may take it over. */
export class H2RequestBody implements BegunBody {
  /** All of it was taken. */
  ended = false;
  /** No more may be written until the stream has drained. */
  blocked = false;

  readonly #bodyLength: number;
  #takenBytes = 0;
  #trailers: readonly string[] = [];
  /** All that was taken; null: too much, or nobody will need it again. */
  #kept: Buffer[] | null = [];
  /** null: the request waits for a stream. */
  #stream: Stream | null = null;

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
  flowTo(stream: Stream | null): void {
    this.#stream = stream;
    this.blocked = stream === null;
    if (stream === null) return;
    for (const piece of this.#kept ?? []) if (!stream.write(piece)) this.blocked = true;
    if (this.#takenBytes > KEPT_MAX_BYTES) this.#kept = null;
    if (this.ended) stream.end(this.#trailers);
  }

  /**
   * write sends or keeps a piece. If it is `blocked` then, the memory of the piece is in use until onRequestDrain, unless it is smaller
   * than SMALL_PIECE_BYTES. Throws an LbError where the body would become longer than announced, and where a request that waits for a
   * stream is given more than one piece above KEPT_MAX_BYTES.
   */
  write(piece: Buffer): void {
    if (piece.length === 0 || this.ended) return;
    const stream = this.#stream;
    if (stream === null && this.#takenBytes > KEPT_MAX_BYTES)
      throw new LbError('internal_error', 'more of the request body came than may wait for a stream');
    this.#takenBytes += piece.length;
    if (this.#bodyLength !== CHUNKED_BODY && this.#takenBytes > this.#bodyLength) throw wrongLength('longer');
    if (stream !== null && this.#takenBytes > KEPT_MAX_BYTES) this.#kept = null;
    const isOwned = this.#kept !== null || piece.length < SMALL_PIECE_BYTES;
    const sent = isOwned ? Buffer.from(piece) : piece;
    if (this.#kept?.push(sent) === KEPT_MAX_PIECES) this.#kept = [Buffer.concat(this.#kept)];
    if (stream?.write(sent) !== true) this.blocked = true;
  }

  /** end: all was taken. Throws an LbError where bytes are missing. */
  end(rawTrailers: string[]): void {
    if (this.#bodyLength !== CHUNKED_BODY && this.#takenBytes !== this.#bodyLength)
      throw wrongLength('shorter');
    this.ended = true;
    this.#trailers = requestTrailers(rawTrailers);
    this.#stream?.end(this.#trailers);
  }
}
