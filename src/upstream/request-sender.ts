/**
 * The request side of one connection: head, body framing, back-pressure and the count that keeps a body from being longer
 * or shorter than announced (either would make its end somebody else's request).
 *
 * A request without a body, or with a small one that is there at once, is one text. Larger pieces leave as they come, in one
 * system call with what frames them.
 * States: idle → open (begin) → ended (end) → finished, when the kernel has every byte; `blocked` while it has not.
 */
import { LbError } from '../contract/errors.ts';
import { CHUNKED_BODY, NO_BODY } from '../contract/request-head.ts';
import { SMALL_PIECE_BYTES } from '../http1/body-buffers.ts';
import { CRLF, chunkHead, lastChunk } from '../http1/chunk-writing.ts';
import type { Wire } from '../infra/wire/wire.ts';
import type { UpstreamRequest } from './exchange.ts';

/** Small pieces are put together up to here: a body in 1-byte chunks would be a system call for each of its bytes. */
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

  readonly #wire: Wire;
  readonly #events: SenderEvents;
  #bodyLength = NO_BODY;
  #sentBytes = 0;
  #ended = true;
  #blocked = false;
  /** Whether write() returned false since the last onWritable. */
  #refused = false;
  /** Framed (latin1) and not yet written: the head in front of a body, later its end. */
  #framed = '';
  /** Small pieces (latin1) that are not yet written. */
  #gathered = '';
  #immediate: NodeJS.Immediate | null = null;

  constructor(wire: Wire, events: SenderEvents) {
    this.#wire = wire;
    this.#events = events;
  }

  /** begin writes the head over an open connection. */
  begin(request: UpstreamRequest): void {
    this.#bodyLength = request.bodyLength;
    this.#sentBytes = 0;
    this.finished = this.#refused = false;
    this.#ended = request.bodyLength === NO_BODY || request.bodyLength === 0;
    const head = requestHead(request);
    if (this.#ended) {
      this.#settle(this.#wire.writeText(head));
      return;
    }
    this.#framed = head;
    this.#immediate ??= setImmediate(flushLater, this);
  }

  /**
   * write frames and sends a piece. true: nothing of it is in use any more. false: stop until onWritable, the piece is in
   * use until then, unless it is smaller than SMALL_PIECE_BYTES. Throws an LbError where the piece would make the body
   * longer than announced; nothing of it is sent then.
   */
  write(piece: Buffer): boolean {
    if (piece.length === 0) return !this.#blocked;
    this.#sentBytes += piece.length;
    const chunked = this.#bodyLength === CHUNKED_BODY;
    if (this.#ended || (!chunked && this.#sentBytes > this.#bodyLength)) {
      throw new LbError('internal_error', 'request body longer than announced');
    }
    // Nobody reads it any more; what the backend said about it is still being waited for.
    if (this.#wire.writeFailed) return true;
    if (piece.length < SMALL_PIECE_BYTES) return this.#gather(piece);
    const before = this.#takeText();
    const allOut = chunked
      ? this.#wire.writeChunk(before + chunkHead(piece.length), piece, CRLF)
      : this.#wire.writeChunk(before, piece, '');
    if (this.#settle(allOut)) return true;
    this.#refused = true;
    return false;
  }

  #gather(piece: Buffer): boolean {
    this.#gathered += piece.toString('latin1');
    if (this.#blocked || this.#gathered.length >= GATHERED_MAX_BYTES) this.flush();
    else this.#immediate ??= setImmediate(flushLater, this);
    this.#refused ||= this.#blocked;
    return !this.#blocked;
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
    if (this.#bodyLength !== CHUNKED_BODY && this.#sentBytes !== this.#bodyLength) {
      throw new LbError('internal_error', 'request body shorter than announced');
    }
    const rest = this.#takeText();
    this.#framed = this.#bodyLength === CHUNKED_BODY ? rest + lastChunk(rawTrailers) : rest;
    this.#ended = true;
    this.flush();
  }

  /** stop forgets a request that is over, finished or not. */
  stop(): void {
    this.#forgetImmediate();
    this.#refused = false;
    this.#ended = true;
    this.#framed = this.#gathered = '';
  }

  /** flush writes what waits for more to come. */
  flush(): void {
    this.#forgetImmediate();
    const text = this.#takeText();
    this.#settle(text === '' ? !this.#wire.blocked : this.#wire.writeText(text));
  }

  #forgetImmediate(): void {
    if (this.#immediate !== null) clearImmediate(this.#immediate);
    this.#immediate = null;
  }

  /** What is left to do once everything written has been offered to the kernel. */
  #settle(allOut: boolean): boolean {
    if (allOut) {
      if (this.#ended && !this.finished) {
        this.finished = true;
        this.#events.onRequestSent();
      }
    } else if (!this.#blocked) {
      this.#blocked = true;
      this.#events.onBlocked();
    }
    return allOut;
  }

  /** drained is told by the connection when its wire is. */
  drained(): void {
    if (!this.#blocked) return;
    this.#blocked = false;
    this.#events.onUnblocked();
    this.#settle(true);
    if (!this.#refused) return;
    this.#refused = false;
    this.#events.onWritable();
  }
}

/**
 * The whole head as latin1. Framing is made from what was parsed and from nothing else (RFC 9112 §6): the client's own
 * framing text never reaches a backend (B23).
 */
function requestHead({ method, target, headerLines, bodyLength }: UpstreamRequest): string {
  let framing = '';
  if (bodyLength === CHUNKED_BODY) framing = 'Transfer-Encoding: chunked\r\n';
  else if (bodyLength !== NO_BODY) framing = `Content-Length: ${bodyLength}\r\n`;
  return `${method} ${target} HTTP/1.1\r\n${headerLines}${framing}\r\n`;
}

function flushLater(sender: RequestSender): void {
  sender.flush();
}
