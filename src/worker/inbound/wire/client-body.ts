/**
 * The body of the request that a client's connection serves: where it ends, whether anybody wants it, and the memory that it
 * lies in. One object per connection, used again for each request.
 *
 * COMPLETE  nothing of it is still to come, or there is none.
 * UNASKED   nobody has asked for it yet: it waits among the unread bytes. Out: FLOWING, UNWANTED.
 * FLOWING   pieces go to the request as they come. Out: PAUSED, UNWANTED, COMPLETE.
 * PAUSED    the last piece is in use. Out: FLOWING, UNWANTED, COMPLETE.
 * UNWANTED  the rest is read into nothing. Out: COMPLETE.
 */
import type { RequestHead } from '../../../contract/request-head.ts';
import type { BodyBuffers } from '../../../http1/body-buffers.ts';
import { BodyReader } from '../../../http1/body-reader.ts';
import { DISCARD_MAX_BYTES } from '../base-request.ts';
import { BodyMemory } from './body-memory.ts';

const COMPLETE = 0;
const UNASKED = 1;
const FLOWING = 2;
const PAUSED = 3;
const UNWANTED = 4;

/** What is told of a body; ClientRequest. */
export interface BodySink {
  onBody(piece: Buffer): void;
  onBodyEnd(rawTrailers: string[]): void;
  bodyInvalid(status: number): void;
}

export class ClientBody {
  readonly #memory: BodyMemory;
  #reader: BodyReader | null = null;
  #state = COMPLETE;
  #unwantedBytes = 0;
  /** Its end cannot be found: two lengths, a broken chunk. No further request can be, either. */
  #endless = false;

  constructor(buffers: BodyBuffers) {
    this.#memory = new BodyMemory(buffers);
  }

  get complete(): boolean {
    return this.#state === COMPLETE;
  }

  get paused(): boolean {
    return this.#state === PAUSED;
  }

  /**
   * Whether the rest may be read into nothing so that the connection can go on. Nobody knows how long a body in chunks is: one
   * that has begun to flow is taken for a long one, one that nobody asked for gets a try.
   */
  get isRestShort(): boolean {
    if (this.#endless || this.#reader === null) return false;
    const { length, remainingBytes } = this.#reader;
    return length >= 0 ? remainingBytes <= DISCARD_MAX_BYTES : this.#state === UNASKED;
  }

  /** Whether more of it was read into nothing than the connection is worth. */
  get isOverlong(): boolean {
    return this.#endless || this.#unwantedBytes > DISCARD_MAX_BYTES;
  }

  /** The memory of its own that the next read may go into; null: what all connections share. */
  get readable(): Buffer | null {
    return this.#state === FLOWING ? this.#memory.readable : null;
  }

  begin(head: RequestHead): void {
    this.#endless = head.hasBadFraming;
    this.#unwantedBytes = 0;
    if (this.#endless) this.#state = UNWANTED;
    else if (!head.hasBody) this.#state = COMPLETE;
    else {
      this.#state = UNASKED;
      this.#reader ??= new BodyReader({ refusesFramingTrailers: true });
      this.#reader.start(head.bodyLength);
    }
  }

  // Each of these returns whether it changed anything.

  ask(): boolean {
    return this.#change(UNASKED, FLOWING);
  }

  pause(): boolean {
    if (!this.#change(FLOWING, PAUSED)) return false;
    this.#memory.hold();
    return true;
  }

  resume(): boolean {
    if (!this.#change(PAUSED, FLOWING)) return false;
    this.#memory.release();
    return true;
  }

  /** drop: nobody wants the rest. */
  drop(): boolean {
    if (this.#state === COMPLETE || this.#state === UNWANTED) return false;
    this.#state = UNWANTED;
    this.#memory.drop();
    return true;
  }

  #change(from: number, to: number): boolean {
    if (this.#state !== from) return false;
    this.#state = to;
    return true;
  }

  /**
   * read goes through what the state allows of the bytes at…to-1 and returns where it stopped; where that is behind `at`,
   * deliver must follow. Two steps, so that the connection knows what waits behind the body when its end is told. Payload
   * moves within the bytes.
   */
  read(buffer: Buffer, at: number, to: number): number {
    if (this.#state !== FLOWING && this.#state !== UNWANTED) return at;
    const reader = this.#reader;
    if (reader === null || this.#endless) return to;
    reader.read(buffer, at, to);
    if (reader.problem === '') return reader.at;
    this.#endless = true;
    return to;
  }

  /**
   * deliver tells what the last read found.
   * @param sink null: the request is over
   */
  deliver(buffer: Buffer, sink: BodySink | null): void {
    const reader = this.#reader;
    const isWanted = this.#state === FLOWING;
    if (this.#endless) {
      if (this.drop() && isWanted && reader !== null) sink?.bodyInvalid(reader.problemStatus);
    } else if (reader !== null) {
      if (isWanted) this.#passOn(reader, buffer, sink);
      else this.#discard(reader);
    }
  }

  #passOn(reader: BodyReader, buffer: Buffer, sink: BodySink | null): void {
    const { payloadFrom, payloadTo, complete, trailers } = reader;
    if (payloadTo > payloadFrom) sink?.onBody(this.#memory.pieceOf(buffer, payloadFrom, payloadTo));
    if (!complete) return;
    // The end belongs to the last piece, also where that is still in use.
    if (this.#state === PAUSED) this.#memory.drop();
    const isWanted = this.#state !== UNWANTED;
    this.#state = COMPLETE;
    if (isWanted) sink?.onBodyEnd(trailers);
  }

  #discard(reader: BodyReader): void {
    this.#unwantedBytes += reader.payloadTo - reader.payloadFrom;
    if (reader.complete) this.#state = COMPLETE;
  }

  /** afterRead is called once everything of a read has been looked at. */
  afterRead(readBytes: number): void {
    this.#memory.afterRead(readBytes, this.#state === FLOWING ? (this.#reader?.remainingBytes ?? 0) : 0);
  }

  /** close may be called only after both connections are closed: the memory is used again at once. */
  close(): void {
    this.#memory.close();
  }
}
