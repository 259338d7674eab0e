/**
 * Large request bodies past node's parser. The parser reads 64 KiB at a time, copies each into memory of its own, and
 * makes an event of a stream of it. Once it has told the head and the first piece, a body of known length needs none of
 * that: the connection reads the rest in pieces of up to 256 KiB into one buffer of its own, straight from the socket,
 * and the parser counts along on bytes that it shows to nobody, so that it finds the end of the body, and what follows
 * it, by itself (an upload of 1 MiB: figures in docs/architecture.md).
 *
 * node has no public way to this: it takes members that node keeps for itself, and is therefore used only where
 * direct-reads.ts has seen it work at the start of the process.
 */
import type { Socket } from 'node:net';
import { type BodyBuffers, FIRST_BUFFER_BYTES, LARGE_BUFFER_BYTES } from '../http1/body-buffers.ts';

/** With less to come than this, the parser is as good. More than one read of the first buffer, which may be over-full. */
export const DIRECT_MIN_BYTES = 2 * FIRST_BUFFER_BYTES;

/** A read of less gives the buffer back: the next one is likely as small. */
const KEPT_MIN_BYTES = FIRST_BUFFER_BYTES / 2;

/** DirectSink hears of the bytes; the contract of DownstreamListener.onBody. */
export interface DirectSink {
  onBody(chunk: Buffer, lent: boolean): void;
}

/** Keys of a net.Socket under which it keeps its `onread` buffer, the callback of a read, and what gives the next one. */
export interface SocketKeys {
  readonly buffer: symbol;
  readonly callback: symbol;
  readonly next: symbol;
}

/** What node keeps for itself, as far as it is needed here. */
interface Handle {
  useUserBuffer(buffer: Uint8Array): void;
}

interface Parser {
  consume(handle: Handle): void;
  unconsume(): void;
  execute(bytes: Uint8Array): number | Error;
  _consumed: boolean;
  [callback: number]: unknown;
  constructor: { kOnBody?: unknown };
}

interface Inside {
  _handle: Handle | null;
  parser: Parser | null;
  [key: symbol]: unknown;
}

/** Never looked at, so its pages never come to be. */
const UNSEEN = Buffer.alloc(LARGE_BUFFER_BYTES);

/** DirectReader is one per connection that ever had a large body; its connection asks for it and closes it. */
export class DirectReader {
  readonly #socket: Socket;
  readonly #keys: SocketKeys;
  readonly #buffers: BodyBuffers;
  #sink: DirectSink | null = null;
  #parser: Parser | null = null;
  #handle: Handle | null = null;
  /** The parser's callback for bodies, and its place, while it is kept from it. */
  #parserOnBody: unknown = null;
  #onBodyIndex = 0;
  #leftBytes = 0;
  /** Read into and lent; never in two hands. */
  #own: Buffer<ArrayBuffer> | null = null;
  /** The buffer of the next read may be one that was dropped: this connection is about to close. */
  #stopped = false;
  /** What was lent last is in use until resume(). */
  #paused = false;
  #installed = false;

  constructor(socket: Socket, keys: SocketKeys, buffers: BodyBuffers) {
    this.#socket = socket;
    this.#keys = keys;
    this.#buffers = buffers;
  }

  /**
   * begin takes over the rest of the body that the parser is at, from within the delivery of a piece or while nothing of
   * it waits undelivered. false: not now, the parser goes on.
   * @param leftBytes at least DIRECT_MIN_BYTES
   */
  begin(sink: DirectSink, leftBytes: number): boolean {
    const { parser, _handle: handle } = insideOf(this.#socket);
    if (this.#sink !== null || this.#stopped || !parser?._consumed || handle === null) return false;
    const { kOnBody } = parser.constructor;
    if (typeof kOnBody !== 'number' || typeof parser[kOnBody] !== 'function') return false;
    this.#dropOwn();
    this.#parser = parser;
    this.#handle = handle;
    this.#onBodyIndex = kOnBody;
    this.#parserOnBody = parser[kOnBody];
    // Without a callback the parser counts bodies only, and copies nothing.
    parser[kOnBody] = null;
    parser.unconsume();
    parser._consumed = false;
    if (!this.#installed) this.#install(handle);
    this.#sink = sink;
    this.#leftBytes = leftBytes;
    this.#paused = false;
    return true;
  }

  /** pause is called by the sink within onBody: no more until resume(), and what was lent stays as it is. */
  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    if (this.#sink !== null) this.#socket.resume();
  }

  /** stop gives the rest of a body back to the parser. */
  stop(): void {
    if (this.#sink === null) return;
    this.#handBack();
    this.#dropOwn();
    this.#stopped = true;
    this.#paused = false;
    this.#socket.resume();
  }

  /** end is called once the last byte was passed on and nothing will be resumed. */
  end(): void {
    if (this.#sink === null) this.#dropOwn();
  }

  /** close is called when the socket is gone; node may give its parser to another connection at once. */
  close(): void {
    if (this.#sink !== null) this.#handBack();
    this.#dropOwn();
  }

  /** node lets a socket have a read buffer of its own from its making on only; there is one such listener for good. */
  #install(handle: Handle): void {
    const inside = insideOf(this.#socket);
    const { shared } = this.#buffers;
    inside[this.#keys.buffer] = shared;
    inside[this.#keys.callback] = (bytes: number, buffer: Buffer) => this.#onRead(bytes, buffer);
    inside[this.#keys.next] = () => this.#next();
    handle.useUserBuffer(shared);
    this.#installed = true;
  }

  /** @returns false to stop reading */
  #onRead(bytes: number, buffer: Buffer): boolean {
    const sink = this.#sink;
    // Someone else has taken the parser off the socket: what node's stream would do.
    if (sink === null) return this.#socket.push(Buffer.from(buffer.subarray(0, bytes)));
    this.#leftBytes -= bytes;
    if (this.#leftBytes < 0 || this.#parser?.execute(UNSEEN.subarray(0, bytes)) !== bytes) {
      this.#socket.destroy(new Error('the parser lost count of a body'));
      return false;
    }
    // Somebody else has started the socket again: what was lent is in use.
    const lent = !this.#paused;
    const chunk = lent ? this.#ownOf(bytes, buffer) : Buffer.from(buffer.subarray(0, bytes));
    const last = this.#leftBytes === 0;
    if (last) this.#handBack();
    sink.onBody(chunk, lent);
    if (lent && !this.#paused) {
      // A client that sends little at a time must not keep much for it.
      if (last || bytes < KEPT_MIN_BYTES) this.#giveOwn();
      else this.#grow(bytes);
    }
    return last || !this.#paused;
  }

  /** What was read, in a buffer that no other connection reads into. */
  #ownOf(bytes: number, buffer: Buffer): Buffer {
    if (buffer.buffer !== this.#buffers.shared.buffer) return buffer.subarray(0, bytes);
    const many = bytes === FIRST_BUFFER_BYTES && this.#leftBytes > FIRST_BUFFER_BYTES;
    this.#own ??= (many ? this.#buffers.takeLarge() : null) ?? this.#buffers.take();
    buffer.copy(this.#own, 0, 0, bytes);
    this.#buffers.afterRead();
    return this.#own.subarray(0, bytes);
  }

  #grow(bytes: number): void {
    if (this.#own?.length !== FIRST_BUFFER_BYTES) return;
    if (bytes < FIRST_BUFFER_BYTES || this.#leftBytes <= FIRST_BUFFER_BYTES) return;
    const large = this.#buffers.takeLarge();
    if (large === null) return;
    this.#buffers.give(this.#own);
    this.#own = large;
  }

  /**
   * The buffer for the next read: never longer than the body, behind which another request begins, and never one that is in
   * use. After stop() the connection may be taken from the parser, and what comes then is read into it.
   */
  #next(): Buffer {
    const { shared } = this.#buffers;
    if (this.#sink === null) return shared;
    const buffer = this.#paused ? shared : (this.#own ?? shared);
    return this.#leftBytes < buffer.length ? buffer.subarray(0, this.#leftBytes) : buffer;
  }

  #handBack(): void {
    const parser = this.#parser;
    const handle = this.#handle;
    this.#sink = this.#parser = this.#handle = null;
    if (parser === null || handle === null) return;
    parser[this.#onBodyIndex] = this.#parserOnBody;
    const inside = insideOf(this.#socket);
    if (this.#socket.destroyed || inside.parser !== parser || inside._handle !== handle) return;
    parser.consume(handle);
    parser._consumed = true;
  }

  #giveOwn(): void {
    if (this.#own !== null) this.#buffers.give(this.#own);
    this.#own = null;
  }

  /** Where a write may still read from it. */
  #dropOwn(): void {
    if (this.#own !== null) this.#buffers.drop(this.#own);
    this.#own = null;
  }
}

function insideOf(socket: Socket): Inside {
  return socket as unknown as Inside;
}
