/**
 * The body of a request on its way to a stream. What its KeptBody holds is sent to each stream that is opened for the request: so a
 * stream that the backend did not process can be replaced.
 */

import { SMALL_PIECE_BYTES } from '../../contract/downstream.ts';
import { LbError } from '../../contract/errors.ts';
import { CHUNKED_BODY } from '../../contract/request-head.ts';
import type { Stream } from '../../http2/stream.ts';
import { wrongLength } from '../failures.ts';
import type { KeptBody } from '../kept-body.ts';
import { requestTrailers } from './h2-fields.ts';

/** H2RequestBody is owned by a BackendH2Request. */
export class H2RequestBody {
  /** No more may be written until the stream has drained. */
  blocked = false;

  readonly #bodyLength: number;
  readonly #kept: KeptBody;
  /** null: the request waits for a stream. */
  #stream: Stream | null = null;

  /** @param bodyLength announced, or CHUNKED_BODY */
  constructor(bodyLength: number, kept: KeptBody) {
    this.#bodyLength = bodyLength;
    this.#kept = kept;
  }

  /** All of it was taken. */
  get ended(): boolean {
    return this.#kept.ended;
  }

  /** Whether another stream could carry all of it. */
  get isRepeatable(): boolean {
    return this.#kept.isRepeatable;
  }

  /** flowTo sends to this stream what was taken so far, and then what comes; null: there is none for now, and all was kept. */
  flowTo(stream: Stream | null): void {
    const kept = this.#kept;
    this.#stream = stream;
    this.blocked = stream === null;
    if (stream === null) {
      kept.wait();
      return;
    }
    if (kept.bytes.length > 0 && !stream.write(kept.bytes)) this.blocked = true;
    kept.sent();
    if (kept.ended) stream.end(requestTrailers(kept.trailers));
  }

  /**
   * write sends or keeps a piece. If it is `blocked` then, the memory of the piece is in use until onRequestDrain, unless it is smaller
   * than SMALL_PIECE_BYTES. Throws an LbError where the body would become longer than announced, and where a request that waits for a
   * stream is given more than may wait.
   */
  write(piece: Buffer): void {
    if (piece.length === 0 || this.ended) return;
    const kept = this.#kept;
    if (this.#bodyLength !== CHUNKED_BODY && kept.takenBytes + piece.length > this.#bodyLength)
      throw wrongLength('longer');
    if (kept.isFull) throw new LbError('internal_error', 'more of the request body came than may wait');
    const taken = kept.add(piece);
    const isBorrowed = taken === piece && piece.length < SMALL_PIECE_BYTES;
    if (this.#stream?.write(isBorrowed ? Buffer.from(piece) : taken) !== true) this.blocked = true;
  }

  /** end: all was taken. Throws an LbError where bytes are missing. */
  end(rawTrailers: string[]): void {
    const kept = this.#kept;
    if (this.#bodyLength !== CHUNKED_BODY && kept.takenBytes !== this.#bodyLength)
      throw wrongLength('shorter');
    kept.end(rawTrailers);
    this.#stream?.end(requestTrailers(rawTrailers));
  }
}
