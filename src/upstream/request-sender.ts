/**
 * The request side of one connection: head, body framing, batching, back-pressure and the count that keeps a body from
 * being longer or shorter than announced (either would make its end somebody else's request).
 *
 * A request without a body, or with a small one that is there at once, is one text. With a larger one, head and chunks are
 * corked and leave together, at 128 KiB, at the end, or when the event loop has nothing else to read (one writev instead
 * of a write per 64 KiB chunk: half the CPU).
 * States: idle → open (begin) → ended (end) → finished, when the kernel has every byte; `blocked` while it has not.
 */
import { LbError } from '../contract/errors.ts';
import type { BodyBuffers } from '../http1/body-buffers.ts';
import { CRLF, chunkHead, lastChunk } from '../http1/chunk-writing.ts';
import { CHUNKED_BODY, NO_BODY } from '../http1/framing.ts';
import type { BackendSocket } from './backend-socket.ts';
import type { UpstreamRequest } from './exchange.ts';
import { requestHead } from './request-writer.ts';

const BATCH_BYTES = 131_072;
/**
 * Smaller pieces are put together: a body in 1-byte chunks would be three writes for each of its bytes (measured: 260 MiB
 * for 500 KB of body, and half of that time).
 */
const SMALL_BYTES = 1024;
const GATHERED_MAX_BYTES = 16_384;

/** What the connection is told; implemented by it. */
export interface SenderEvents {
  /** Every byte of the request is in the kernel: from now on the backend is waited for. */
  onRequestSent(): void;
  /** write() may be called again after it returned false. */
  onWritable(): void;
  /** The kernel takes no more bytes until onUnblocked. */
  onBlocked(): void;
  onUnblocked(): void;
}

/** RequestSender is owned by a connection for its whole life; begin() once per request. */
export class RequestSender {
  /** Whether the last byte was handed over and nothing of it waits in this process. */
  finished = true;

  readonly #socket: BackendSocket;
  readonly #buffers: BodyBuffers;
  readonly #events: SenderEvents;
  #bodyLength = NO_BODY;
  #sentBytes = 0;
  #ended = true;
  #corked = false;
  #blocked = false;
  /** Whether write() returned false since the last onWritable. */
  #refused = false;
  #counted = false;
  #batchBytes = 0;
  /** Framed (latin1) and not yet with the socket: the head in front of a body, later its end. */
  #framed = '';
  /** Small pieces (latin1) that are not yet with the socket. */
  #gathered = '';
  /** Chunks whose memory is given back once they have left. */
  #held: Buffer[] = [];
  #immediate: NodeJS.Immediate | null = null;
  readonly #drained: (error?: Error | null) => void;

  constructor(socket: BackendSocket, buffers: BodyBuffers, events: SenderEvents) {
    this.#socket = socket;
    this.#buffers = buffers;
    this.#events = events;
    this.#drained = (error) => this.#onDrained(error ?? null);
  }

  /** begin writes the head over an open connection. */
  begin(request: UpstreamRequest): void {
    this.#bodyLength = request.bodyLength;
    this.#sentBytes = 0;
    this.finished = this.#refused = false;
    this.#ended = request.bodyLength === NO_BODY || request.bodyLength === 0;
    const head = requestHead(request);
    if (this.#ended) {
      this.#settle(this.#socket.sendText(head));
      return;
    }
    this.#counted = true;
    this.#buffers.uploadCount++;
    this.#framed = head;
    this.#immediate ??= setImmediate(flushLater, this);
  }

  /**
   * write frames and sends a chunk and owns it from then on, unless it is lent: such a piece leaves at once, and after true
   * nothing of it is in use. false: stop until onWritable. Throws an LbError where the chunk would make the body longer
   * than announced; nothing of it is sent then.
   */
  write(chunk: Buffer, lent = false): boolean {
    if (chunk.length === 0) return !this.#blocked;
    this.#sentBytes += chunk.length;
    const chunked = this.#bodyLength === CHUNKED_BODY;
    if (this.#ended || (!chunked && this.#sentBytes > this.#bodyLength)) {
      throw new LbError('internal_error', 'request body longer than announced');
    }
    if (this.#socket.writeError !== null) {
      // Nobody reads it any more; what the backend said about it is still being waited for.
      if (!lent) this.#buffers.free(chunk);
      return true;
    }
    this.#batchBytes += chunk.length;
    if (chunk.length < SMALL_BYTES) {
      this.#gathered += chunk.toString('latin1');
      if (this.#blocked) this.#writeGathered();
      else if (this.#gathered.length >= GATHERED_MAX_BYTES) {
        this.#cork();
        this.#writeGathered();
      }
      return this.#pace();
    }
    if (!this.#blocked) this.#cork();
    this.#writeGathered();
    if (chunked) this.#socket.write(chunkHead(chunk.length), 'latin1');
    this.#socket.write(chunk);
    if (chunked) this.#socket.write(CRLF, 'latin1');
    if (lent) return this.#leave();
    this.#held.push(chunk);
    return this.#pace();
  }

  #writeGathered(): void {
    const text = this.#takeText();
    if (text !== '') this.#socket.write(text, 'latin1');
  }

  #takeText(): string {
    const framed = this.#framed;
    const text = this.#gathered;
    this.#framed = this.#gathered = '';
    if (text === '') return framed;
    return framed + (this.#bodyLength === CHUNKED_BODY ? `${chunkHead(text.length)}${text}${CRLF}` : text);
  }

  /** end closes the body; trailers go behind a chunked one only. Throws an LbError where bytes are missing. */
  end(rawTrailers: readonly string[]): void {
    if (this.#ended) return;
    const rest = this.#takeText();
    if (this.#bodyLength === CHUNKED_BODY) {
      this.#framed = rest + lastChunk(rawTrailers);
    } else if (this.#sentBytes !== this.#bodyLength) {
      throw new LbError('internal_error', 'request body shorter than announced');
    } else this.#framed = rest;
    this.#ended = true;
    if (this.#blocked) this.#writeGathered();
    else this.flush();
  }

  /** stop forgets a request that is over, finished or not. Memory that may still be read from is left to the collector. */
  stop(): void {
    if (this.#counted) this.#buffers.uploadCount--;
    this.#counted = false;
    if (this.#immediate !== null) clearImmediate(this.#immediate);
    this.#immediate = null;
    this.#refused = false;
    this.#ended = true;
    if (this.#held.length > 0) this.#held = [];
    this.#framed = this.#gathered = '';
    this.#batchBytes = 0;
  }

  /** flush lets a batch go; true when the kernel took all of it. */
  flush(): boolean {
    if (this.#immediate !== null) clearImmediate(this.#immediate);
    this.#immediate = null;
    if (!this.#corked) {
      const text = this.#takeText();
      return text === '' ? this.#settle() : this.#settle(this.#socket.sendText(text));
    }
    this.#writeGathered();
    this.#corked = false;
    this.#socket.uncork();
    return this.#settle();
  }

  #cork(): void {
    if (this.#corked) return;
    this.#corked = true;
    this.#socket.cork();
  }

  #pace(): boolean {
    if (!this.#blocked && this.#batchBytes < BATCH_BYTES && this.#buffers.batching) {
      this.#immediate ??= setImmediate(flushLater, this);
      return true;
    }
    return this.#leave();
  }

  #leave(): boolean {
    if (!this.#blocked && this.flush()) return true;
    this.#refused = true;
    return false;
  }

  /** What is left to do once everything written has been offered to the kernel. */
  #settle(allOut = this.#socket.writableLength === 0): boolean {
    if (allOut) {
      this.#release();
      if (this.#ended && !this.finished) {
        this.finished = true;
        this.#events.onRequestSent();
      }
      return true;
    }
    if (!this.#blocked) {
      this.#blocked = true;
      this.#events.onBlocked();
    }
    // Runs when all before it is out; `writableLength` alone would need a look at every event.
    this.#socket.write('', this.#drained);
    return false;
  }

  #onDrained(error: Error | null): void {
    // After stop() there is nothing to release and nobody to tell; after an error the memory is not ours yet.
    if (!this.#blocked || error !== null || this.#socket.destroyed) return;
    if (this.#socket.writableLength > 0) {
      // Behind what was written since, so that one more call comes only once all of that has left.
      this.#socket.write('', this.#drained);
      return;
    }
    this.#blocked = false;
    this.#events.onUnblocked();
    this.#settle();
    if (!this.#refused) return;
    this.#refused = false;
    this.#events.onWritable();
  }

  #release(): void {
    this.#batchBytes = 0;
    if (this.#held.length === 0) return;
    const held = this.#held;
    this.#held = [];
    // A discarded write never read them either, so they are free in both cases.
    for (const chunk of held) this.#buffers.free(chunk);
  }
}

function flushLater(sender: RequestSender): void {
  sender.flush();
}
