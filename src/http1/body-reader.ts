/** Reads the body of one message after another, whatever tells its end. It keeps no reference to a buffer. */
import { CHUNKED_BODY, NO_BODY } from '../contract/request-head.ts';
import { ChunkedDecoder } from './chunked-decoder.ts';
import { UNTIL_CLOSE_BODY } from './framing.ts';

const NONE: string[] = [];

/** BodyReader is owned by a parser of either direction: start() once per body, then read() once per read. */
export class BodyReader {
  /** Payload of the last read: payloadFrom…payloadTo-1 of its buffer. */
  payloadFrom = 0;
  payloadTo = 0;
  /** Index of the first byte behind the last read: its end, unless the body is complete. */
  at = 0;
  /** Whether the body has come to its end by its framing. */
  complete = true;
  /** What is wrong; empty while nothing is. */
  problem = '';
  /** Exact bytes, or NO_BODY, CHUNKED_BODY, UNTIL_CLOSE_BODY. */
  length = NO_BODY;

  /** Made with the first body in chunks: most connections never see one. */
  #chunked: ChunkedDecoder | null = null;
  #leftBytes = 0;
  readonly #refusesFramingTrailers: boolean;

  /** @param options refusesFramingTrailers: a trailer that frames makes the body invalid, instead of being left out */
  constructor({ refusesFramingTrailers }: { refusesFramingTrailers: boolean }) {
    this.#refusesFramingTrailers = refusesFramingTrailers;
  }

  start(length: number): void {
    this.length = length;
    this.problem = '';
    this.complete = length === NO_BODY || length === 0;
    this.#leftBytes = Math.max(0, length);
    if (length !== CHUNKED_BODY) return;
    this.#chunked ??= new ChunkedDecoder(this.#refusesFramingTrailers);
    this.#chunked.start();
  }

  /** Bytes of the body that have not come yet; Infinity where only its end will tell. */
  get remainingBytes(): number {
    return this.complete || this.length >= 0 ? this.#leftBytes : Number.POSITIVE_INFINITY;
  }

  /** Status that answers the problem: 400, 413, 431. */
  get problemStatus(): number {
    return this.#chunked?.problemStatus ?? 400;
  }

  /** Field pairs behind a complete body in chunks. */
  get trailers(): string[] {
    return this.length === CHUNKED_BODY ? (this.#chunked?.trailers ?? NONE) : NONE;
  }

  /**
   * read consumes bytes from…to-1 up to the end of the body (`at`), and moves payload together within them. Afterwards
   * `payload…`, `complete` and `problem` tell; bytes behind a complete body are the caller's to judge.
   */
  read(buffer: Buffer, from: number, to: number): void {
    switch (this.length) {
      case CHUNKED_BODY:
        this.#readChunked(buffer, from, to);
        return;
      case UNTIL_CLOSE_BODY:
        this.#took(from, to);
        return;
      default: {
        const count = Math.min(this.#leftBytes, to - from);
        this.#leftBytes -= count;
        this.complete = this.#leftBytes === 0;
        this.#took(from, from + count);
      }
    }
  }

  #took(from: number, to: number): void {
    this.payloadFrom = from;
    this.payloadTo = this.at = to;
  }

  #readChunked(buffer: Buffer, from: number, to: number): void {
    const chunked = this.#chunked;
    if (chunked === null) return;
    chunked.decode(buffer, from, to);
    this.payloadFrom = chunked.payloadFrom;
    this.payloadTo = chunked.payloadTo;
    this.at = chunked.at;
    this.complete = chunked.complete;
    this.problem = chunked.problem;
  }

  /** endOfInput tells whether a FIN here is the proper end of the body: only of one that lasts until close. */
  endOfInput(): boolean {
    if (this.length !== UNTIL_CLOSE_BODY) return false;
    this.complete = true;
    return true;
  }
}
