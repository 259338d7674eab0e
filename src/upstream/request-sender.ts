/**
 * Writes the requests of one connection: head, body framing, back-pressure. It counts the body: one of another length than
 * announced would change where the next request begins. The head and small pieces that come in the same turn of the event loop
 * leave as one text; a large piece leaves at once, in one system call with its framing.
 *
 * States: open (begin), ended (end), finished (the kernel has every byte); abandon() leaves any of them. In each of them the wire
 * may be blocked: the kernel has not taken everything.
 */

import { SMALL_PIECE_BYTES } from '../contract/downstream.ts';
import { CHUNKED_BODY, hasBody, NO_BODY } from '../contract/request-head.ts';
import type { Wire } from '../contract/wire.ts';
import { CRLF, chunkHead, lastChunk } from '../http1/chunk-writing.ts';
import { wrongLength } from './failures.ts';
import type { UpstreamRequest } from './upstream-request.ts';

/** Small pieces are joined up to this size: a body in 1-byte chunks would cost a system call per byte. */
const GATHERED_MAX_BYTES = 16_384;

/** SenderEvents is what the connection is told. */
export interface SenderEvents {
  /** The kernel has every byte of the request: it is the backend's turn. */
  onRequestSent(): void;
  /** write() may be called again after it returned false. */
  onWritable(): void;
  /** The kernel takes no more bytes until onUnblocked. */
  onBlocked(): void;
  onUnblocked(): void;
}

/** RequestSender is owned by a connection for its whole life; begin() once per request. */
export class RequestSender {
  /** Whether the kernel has every byte of the request. */
  finished = true;

  readonly #wire: Wire;
  readonly #events: SenderEvents;
  readonly #isSingle: boolean;
  #bodyLength = NO_BODY;
  #sentBytes = 0;
  #ended = true;
  #blocked = false;
  /** write() returned false, and onWritable has not followed yet. */
  #refused = false;
  /** Not yet written, with its framing (latin1): the head in front of a body, later its end. */
  #framed = '';
  /** Small pieces that are not yet written (latin1, without framing). */
  #gathered = '';
  #immediate: NodeJS.Immediate | null = null;

  /** @param isSingle the connection serves one request, and the backend is told so */
  constructor(wire: Wire, events: SenderEvents, isSingle = false) {
    this.#wire = wire;
    this.#isSingle = isSingle;
    this.#events = events;
  }

  /** begin writes the head, or keeps it for the first piece of the body; the connection is open. */
  begin(request: UpstreamRequest): void {
    this.#bodyLength = request.bodyLength;
    this.#sentBytes = 0;
    this.finished = this.#refused = false;
    this.#ended = !hasBody(request.bodyLength);
    const head = requestHead(request, this.#isSingle);
    if (this.#ended) {
      this.#afterWrite(this.#wire.writeText(head));
      return;
    }
    this.#framed = head;
    this.#immediate ??= setImmediate(flushLater, this);
  }

  /**
   * write sends a piece. true: its memory is free. false: stop until onWritable and leave the memory alone, unless the piece is
   * smaller than SMALL_PIECE_BYTES. Throws an LbError, and sends nothing, where the body would become longer than announced.
   */
  write(piece: Buffer): boolean {
    if (piece.length === 0) return !this.#blocked;
    this.#sentBytes += piece.length;
    const chunked = this.#bodyLength === CHUNKED_BODY;
    if (this.#ended || (!chunked && this.#sentBytes > this.#bodyLength)) {
      throw wrongLength('longer');
    }
    // The backend reads no more; we wait for what it has said.
    if (this.#wire.writeFailed) return true;
    if (piece.length < SMALL_PIECE_BYTES) return this.#gather(piece);
    const before = this.#takeText();
    const allOut = chunked
      ? this.#wire.writeChunk(before + chunkHead(piece.length), piece, CRLF)
      : this.#wire.writeChunk(before, piece, '');
    if (this.#afterWrite(allOut)) return true;
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

  /** end ends the body; only a body in chunks can have trailers. Throws an LbError where bytes are missing. */
  end(rawTrailers: readonly string[]): void {
    if (this.#ended) return;
    if (this.#bodyLength !== CHUNKED_BODY && this.#sentBytes !== this.#bodyLength) {
      throw wrongLength('shorter');
    }
    const rest = this.#takeText();
    this.#framed = this.#bodyLength === CHUNKED_BODY ? rest + lastChunk(rawTrailers) : rest;
    this.#ended = true;
    this.flush();
  }

  /** abandon drops what is not written yet: the request is over. */
  abandon(): void {
    this.#clearImmediate();
    this.#refused = false;
    this.#ended = true;
    this.#framed = this.#gathered = '';
  }

  /** flush writes what waited for more. */
  flush(): void {
    this.#clearImmediate();
    const text = this.#takeText();
    this.#afterWrite(text === '' ? !this.#wire.blocked : this.#wire.writeText(text));
  }

  #clearImmediate(): void {
    if (this.#immediate !== null) clearImmediate(this.#immediate);
    this.#immediate = null;
  }

  /** Is called after each write. @param allOut whether the kernel has everything */
  #afterWrite(allOut: boolean): boolean {
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

  /** drained is called when the kernel has everything after a write that blocked. */
  drained(): void {
    if (!this.#blocked) return;
    this.#blocked = false;
    this.#events.onUnblocked();
    this.#afterWrite(true);
    if (!this.#refused) return;
    this.#refused = false;
    this.#events.onWritable();
  }
}

/** The head as latin1. Its framing is made from the parsed length: the client's own never reaches a backend (RFC 9112 §6, B23). */
function requestHead(
  { method, target, headerLines, bodyLength, upgrade }: UpstreamRequest,
  isSingle: boolean,
): string {
  let framing = '';
  if (bodyLength === CHUNKED_BODY) framing = 'Transfer-Encoding: chunked\r\n';
  else if (bodyLength !== NO_BODY) framing = `Content-Length: ${bodyLength}\r\n`;
  if (upgrade !== '') framing += `Connection: Upgrade\r\nUpgrade: ${upgrade}\r\n`;
  else if (isSingle) framing += 'Connection: close\r\n';
  return `${method} ${target} HTTP/1.1\r\n${headerLines}${framing}\r\n`;
}

function flushLater(sender: RequestSender): void {
  sender.flush();
}
