/**
 * The body of the request that a client's connection serves: where it ends, whether anybody wants it, and the memory that it
 * lies in. One object per connection, used for each of its requests.
 *
 * State     entered by  what it means
 * COMPLETE  #finish     all of it has come, or there is none.
 * UNASKED   begin       nobody has asked for it: it waits among the unread bytes.
 * FLOWING   ask/resume  pieces go to the request as they come.
 * PAUSED    pause       the request still uses the last piece: nothing is read into its memory.
 * UNWANTED  drop        the rest is discarded.
 *
 * Memory: the first piece is copied out of the buffer that all connections share. From then on a large body is read into a
 * buffer of its own, of up to 512 KiB, and written to the backend from there. Buffers change only between reads.
 */

import { SMALL_PIECE_BYTES } from '../../../contract/downstream.ts';
import type { RequestHead } from '../../../contract/request-head.ts';
import { BodyReader } from '../../../http1/body-reader.ts';
import { type BodyBuffers, FIRST_BUFFER_BYTES } from '../../../memory/body-buffers.ts';
import type { PendingOwner } from '../../../memory/pending-bytes.ts';
import type { ClientRequest } from './client-request.ts';
import { DISCARD_MAX_BYTES } from './http1-request.ts';

const COMPLETE = 0;
const UNASKED = 1;
const FLOWING = 2;
const PAUSED = 3;
const UNWANTED = 4;

/** After a smaller read the buffer is given back: the next read is likely as small, and slow clients must not hold memory. */
const KEPT_MIN_BYTES = FIRST_BUFFER_BYTES / 2;

export class ClientBody {
  readonly #buffers: BodyBuffers;
  #own: Buffer<ArrayBuffer> | null = null;
  readonly #reader: BodyReader;
  #state = COMPLETE;
  #unwantedBytes = 0;
  /** Its end cannot be found (two lengths, a broken chunk), so that no further request can be read either. */
  #endless = false;

  constructor(buffers: BodyBuffers, owner: PendingOwner) {
    this.#buffers = buffers;
    this.#reader = new BodyReader({ refusesFramingTrailers: true, owner });
  }

  get complete(): boolean {
    return this.#state === COMPLETE;
  }

  get paused(): boolean {
    return this.#state === PAUSED;
  }

  /** Whether the rest is short enough to discard. Chunks have no known length: unasked they count as short, flowing as long. */
  get isRestShort(): boolean {
    if (this.#endless) return false;
    const { length, remainingBytes } = this.#reader;
    return length >= 0 ? remainingBytes <= DISCARD_MAX_BYTES : this.#state === UNASKED;
  }

  /** Whether more was discarded than the connection is worth. */
  get isOverlong(): boolean {
    return this.#endless || this.#unwantedBytes > DISCARD_MAX_BYTES;
  }

  /** The memory for the next read; null: what all connections share. */
  get readBuffer(): Buffer | null {
    return this.#state === FLOWING ? this.#own : null;
  }

  begin(head: RequestHead): void {
    this.#endless = head.hasBadFraming;
    this.#unwantedBytes = 0;
    if (this.#endless) this.#state = UNWANTED;
    else if (!head.hasBody) this.#state = COMPLETE;
    else {
      this.#state = UNASKED;
      this.#reader.start(head.bodyLength);
    }
  }

  // Each of these returns whether it changed the state.

  ask(): boolean {
    return this.#change(UNASKED, FLOWING);
  }

  pause(): boolean {
    return this.#change(FLOWING, PAUSED);
  }

  resume(): boolean {
    return this.#change(PAUSED, FLOWING);
  }

  /** drop: nobody wants the rest. */
  drop(): boolean {
    if (this.#state === COMPLETE || this.#state === UNWANTED) return false;
    this.#state = UNWANTED;
    this.releaseMemory(false);
    return true;
  }

  #change(from: number, to: number): boolean {
    if (this.#state !== from) return false;
    this.#state = to;
    return true;
  }

  /**
   * read takes what the state allows of the bytes at…to-1 and returns the index after them. Where that is above `at`, deliver
   * must follow. The two are apart so that the connection knows what waits after a body before the request hears of its end.
   */
  read(buffer: Buffer, at: number, to: number): number {
    if (this.#state !== FLOWING && this.#state !== UNWANTED) return at;
    const reader = this.#reader;
    if (this.#endless) return to;
    reader.read(buffer, at, to);
    if (reader.problem === '') return reader.at;
    this.#endless = true;
    return to;
  }

  /** deliver tells what the last read found. @param request null: it is over */
  deliver(buffer: Buffer, request: ClientRequest | null): void {
    const reader = this.#reader;
    const isWanted = this.#state === FLOWING;
    if (this.#endless) {
      if (this.drop() && isWanted) request?.bodyInvalid(reader.problemStatus);
    } else {
      const { complete, trailers } = reader;
      if (isWanted) this.#passOn(reader, buffer, request);
      else this.#unwantedBytes += reader.payloadTo - reader.payloadFrom;
      if (complete) this.#finish(trailers, request);
    }
  }

  #passOn(reader: BodyReader, buffer: Buffer, request: ClientRequest | null): void {
    const { payloadFrom: from, payloadTo: to } = reader;
    if (from === to) return;
    // A small piece is copied by whoever is given it.
    if (buffer !== this.#buffers.shared || to - from < SMALL_PIECE_BYTES)
      request?.listener?.onRequestBody(buffer.subarray(from, to));
    else {
      this.#own ??= this.#buffers.take();
      buffer.copy(this.#own, 0, from, to);
      request?.listener?.onRequestBody(this.#own.subarray(0, to - from));
    }
  }

  #finish(trailers: string[], request: ClientRequest | null): void {
    // The end belongs to the last piece, also where that is still in use.
    if (this.#state === PAUSED) this.releaseMemory(false);
    const isWanted = this.#state !== UNWANTED;
    this.#state = COMPLETE;
    if (isWanted) request?.listener?.onRequestBodyEnd(trailers);
  }

  /** afterRead chooses the memory of the next read; called once all bytes of a read were looked at. */
  afterRead(readBytes: number): void {
    const own = this.#own;
    if (own === null || this.#state === PAUSED) return;
    const remainingBytes = this.#state === FLOWING ? this.#reader.remainingBytes : 0;
    if (remainingBytes === 0 || readBytes < KEPT_MIN_BYTES) this.releaseMemory();
    else if (readBytes >= FIRST_BUFFER_BYTES) this.#own = this.#buffers.grow(own, remainingBytes);
  }

  /** close is called when the connection is closed. */
  close(): void {
    this.releaseMemory();
    this.#reader.line.clear();
  }

  /** releaseMemory gives the memory back, or drops it while the backend's connection may still write from it. */
  releaseMemory(memoryIsFree = true): void {
    this.#buffers.release(this.#own, memoryIsFree);
    this.#own = null;
  }
}
