/**
 * The Wire of a client that has switched protocols in one stream of HTTP/2 (RFC 8441). Its FIN is END_STREAM, and its reset is
 * RST_STREAM with CANCEL (§5). What was written has left once it is in frames: then its memory is free.
 */
import type { Wire, WireEvents } from '../../../contract/wire.ts';
import { CODE } from '../../../http2/frames.ts';
import type { Stream } from '../../../http2/stream.ts';
import type { StreamEvents } from '../../../http2/stream-events.ts';
import type { FloodGuard } from './flood-guard.ts';

/** StreamWire is made by a request, and hears of the stream in its place. */
export class StreamWire<Request> implements Wire, StreamEvents {
  /** Whose stream it was. */
  readonly request: Request;
  readonly writeFailed = false;
  closed = false;
  readonly #stream: Stream;
  #events: WireEvents;
  readonly #floods: FloodGuard;
  #isPaused = true;
  #hasEnded = false;
  /** The rest of a piece in the middle of which the owner has paused. */
  #rest: Buffer | null = null;

  constructor(stream: Stream, events: WireEvents, floods: FloodGuard, request: Request) {
    this.#stream = stream;
    this.#events = events;
    this.#floods = floods;
    this.request = request;
  }

  get blocked(): boolean {
    return this.#stream.queuedBytes > 0;
  }

  get takenBytes(): number {
    return this.#stream.framedBytes;
  }

  get readable(): boolean {
    return !this.closed && !this.#hasEnded;
  }

  writeText(text: string): boolean {
    return this.#write(Buffer.from(text, 'latin1'));
  }

  writeChunk(before: string, chunk: Buffer, after: string): boolean {
    if (before !== '') this.writeText(before);
    const isOut = this.#write(chunk);
    return after === '' ? isOut : this.writeText(after);
  }

  #write(bytes: Buffer): boolean {
    if (this.closed) return true;
    this.#floods.sent(bytes.length);
    return this.#stream.write(bytes);
  }

  handTo(events: WireEvents): void {
    this.#events = events;
  }

  probe(): void {
    // The connection is always read, so that a reset shows by itself.
  }

  pause(): void {
    this.#isPaused = true;
    this.#stream.pause();
  }

  resume(): void {
    if (this.closed) return;
    this.#isPaused = false;
    const rest = this.#rest;
    this.#rest = null;
    if (rest !== null) this.#take(rest);
    if (!this.#isPaused) this.#stream.resume();
  }

  end(): void {
    if (!this.closed) this.#stream.end();
  }

  close(): void {
    const { localEnded, queuedBytes } = this.#stream;
    // A stream that both sides have ended closes by itself.
    if (this.#hasEnded && localEnded && queuedBytes === 0) this.closed = true;
    else this.reset();
  }

  reset(): void {
    if (this.closed) return;
    this.closed = true;
    this.#stream.reset(CODE.CANCEL);
  }

  // What the client sends.

  onData(piece: Buffer): void {
    this.#floods.received(piece.length);
    this.#take(piece);
  }

  #take(piece: Buffer): void {
    for (let at = 0; at < piece.length && !this.closed; ) {
      if (this.#isPaused) {
        this.#rest = Buffer.from(piece.subarray(at));
        return;
      }
      const count = piece.copy(this.#events.nextBuffer(), 0, at);
      at += count;
      this.#events.onRead(count);
    }
  }

  onFields(): void {
    // A tunnel has no trailers (RFC 9113 §8.5).
    this.#stream.reset(CODE.PROTOCOL_ERROR);
  }

  /** Some clients end a stream right before they reset it. No backend may take that for a proper end. */
  onEnd(): void {
    this.#hasEnded = true;
    setImmediate(() => {
      if (!this.closed) this.#events.onEnd();
    });
  }

  onDrain(): void {
    if (!this.closed) this.#events.onDrain();
  }

  /** Also called by the request. Of a stream that is whole, bytes and an end may wait to be read. */
  onClosed(): void {
    if (this.closed || this.#stream.isWhole) return;
    this.closed = true;
    this.#events.onBroken(new Error('stream was reset'));
  }
}
