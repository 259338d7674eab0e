/** The Wire of a client that has switched protocols in one stream of HTTP/2 (RFC 8441). */
import { constants, type ServerHttp2Stream } from 'node:http2';
import type { Socket } from 'node:net';
import type { WireEvents } from '../../../contract/wire.ts';
import { SocketWire } from '../../../infra/wire/socket-wire.ts';
import type { FloodGuard } from './flood-guard.ts';

/** Texts that may wait for the client while the other side is read on: node sends none in the turn in which it gets it. */
const WAITING_MAX_BYTES = 65_536;

/** A stream is used like a socket. Its FIN is END_STREAM, and its reset is RST_STREAM with CANCEL (RFC 8441 §5). */
export class StreamWire extends SocketWire {
  readonly #stream: ServerHttp2Stream;
  readonly #floods: FloodGuard;
  #writtenBytes = 0;

  constructor(stream: ServerHttp2Stream, events: WireEvents, floods: FloodGuard) {
    // A Duplex has all that SocketWire uses of a socket, but for its counts of bytes and its resets.
    super(stream as unknown as Socket, events);
    this.#stream = stream;
    this.#floods = floods;
    this.takeData();
  }

  override get takenBytes(): number {
    return this.#writtenBytes - this.socket.writableLength;
  }

  /** node also ends the readable side of a stream that was reset, and says why only afterwards. */
  protected override takeEnd(): void {
    setImmediate(() => {
      if (!this.#stream.aborted && this.#stream.rstCode === constants.NGHTTP2_NO_ERROR) super.takeEnd();
    });
  }

  override take(chunk: Buffer): void {
    this.#floods.received(chunk.length);
    super.take(chunk);
  }

  override writeText(text: string): boolean {
    this.#count(text.length);
    const isOut = super.writeText(text);
    return isOut || (this.blocked && !this.writeFailed && this.socket.writableLength <= WAITING_MAX_BYTES);
  }

  override writeChunk(before: string, chunk: Buffer, after: string): boolean {
    this.#count(before.length + chunk.length + after.length);
    return super.writeChunk(before, chunk, after);
  }

  #count(byteCount: number): void {
    this.#floods.sent(byteCount);
    this.#writtenBytes += byteCount;
  }

  /** The memory of a chunk is node's session's until its write is over. */
  protected override free(): void {
    // Left to the garbage collector.
  }

  protected override closeSocket(): void {
    const hasEnded = this.finSent && this.socket.readableEnded && this.socket.writableLength === 0;
    // Then it closes by itself. To close it as well makes nghttp2 send for ever (Node.js 26.10).
    if (!hasEnded) this.resetSocket();
  }

  protected override resetSocket(): void {
    resetStream(this.#stream, constants.NGHTTP2_CANCEL);
  }
}

/** resetStream ends a stream by RST_STREAM, and never by END_STREAM. */
export function resetStream(stream: ServerHttp2Stream, code: number): void {
  // node ends a stream before it resets it, and the client would take an answer that was cut for a whole one.
  stream.end = () => stream;
  if (!stream.closed) stream.close(code);
  // A connection that takes no bytes would never let the reset out, and so never close the stream.
  stream.destroy();
}
