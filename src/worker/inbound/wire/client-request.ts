/**
 * One request on a client's connection, as the proxy sees it (Downstream): it frames the answer and writes it. It is cut off
 * from its connection when it is over, so that a late call can never reach the request behind it.
 */
import type {
  Downstream,
  DownstreamListener,
  DownstreamPeer,
  ResponseStart,
} from '../../../contract/downstream.ts';
import type { RequestHead } from '../../../contract/request-head.ts';
import { frameAnswer, headText, mayHaveBody } from '../../../http1/answer-head.ts';
import { CRLF, chunkHead, lastChunk } from '../../../http1/chunk-writing.ts';
import type { Wire } from '../../../infra/wire/wire.ts';

/** Reason phrases of interim answers that backends send. */
const INTERIM_PHRASES: Readonly<Record<number, string>> = { 102: 'Processing', 103: 'Early Hints' };
const CONTINUE = 'HTTP/1.1 100 Continue\r\n\r\n';

/** What a request asks of its connection while it lasts; implemented by ClientConnection. */
export interface RequestOwner {
  readonly peer: DownstreamPeer;
  readonly wire: Wire;
  /** mustClose is asked once per answer: whether the connection cannot, or shall not, go on after it. */
  mustClose(): boolean;
  readBody(): void;
  pauseBody(): void;
  resumeBody(): void;
  dropBody(): void;
  /** The wire took less of the answer than it was given. */
  onBlocked(): void;
  /** The last byte of the answer has left. */
  onSent(request: ClientRequest): void;
  /** cut ends the connection, by a reset where a plain end could be taken for the end of the answer. */
  cut(options: { byReset: boolean }): void;
}

export class ClientRequest implements Downstream {
  readonly head: RequestHead;
  readonly peer: DownstreamPeer;
  started = false;
  /** All of the answer was handed over. */
  ended = false;
  /** The connection ends after this answer; known once started. */
  closing = false;

  #owner: RequestOwner | null;
  #listener: DownstreamListener | null = null;
  /** Of an answer in pieces: not yet written. */
  #headText = '';
  #chunked = false;
  #closeDelimited = false;
  /** write() returned false. */
  #waiting = false;
  #continued = false;
  #stalled = false;

  constructor(head: RequestHead, owner: RequestOwner) {
    this.head = head;
    this.peer = owner.peer;
    this.#owner = owner;
  }

  listen(listener: DownstreamListener): void {
    this.#listener = listener;
  }

  readBody(): void {
    this.#owner?.readBody();
  }

  pauseBody(): void {
    this.#owner?.pauseBody();
  }

  resumeBody(): void {
    this.#owner?.resumeBody();
  }

  stopBody(): void {
    this.#owner?.dropBody();
  }

  continueBody(): void {
    if (!this.head.expectsContinue || this.#continued || this.started) return;
    this.#continued = true;
    this.#owner?.wire.writeText(CONTINUE);
  }

  inform(status: number, lines: string): void {
    if (this.head.httpVersion !== 11 || this.started) return;
    this.#owner?.wire.writeText(`HTTP/1.1 ${status} ${INTERIM_PHRASES[status] ?? ''}\r\n${lines}\r\n`);
  }

  start(answer: ResponseStart): void {
    if (this.#owner === null) return;
    this.started = true;
    this.#headText = this.#frame(answer, this.#owner);
    // It leaves with the first piece of body, but does not wait for one.
    process.nextTick(flushHead, this);
  }

  complete(answer: ResponseStart, body: string): void {
    const owner = this.#owner;
    if (owner === null) return;
    this.started = this.ended = true;
    const head = this.#frame(answer, owner);
    const hasBody = body !== '' && mayHaveBody(this.head.method, answer.status);
    if (owner.wire.writeText(hasBody ? head + body : head)) this.#sent(owner);
    else owner.onBlocked();
  }

  write(chunk: Buffer): boolean {
    const owner = this.#owner;
    if (owner === null) return true;
    const head = this.#takeHead();
    const allOut = this.#chunked
      ? owner.wire.writeChunk(head + chunkHead(chunk.length), chunk, CRLF)
      : owner.wire.writeChunk(head, chunk, '');
    if (allOut) return true;
    this.#waiting = true;
    owner.onBlocked();
    return false;
  }

  end(rawTrailers: string[]): boolean {
    const owner = this.#owner;
    if (owner === null) return true;
    this.ended = true;
    const last = this.#takeHead() + (this.#chunked ? lastChunk(rawTrailers) : '');
    // A write before that has failed has not left either, although nothing waits.
    const allOut = last === '' ? !this.#waiting && !owner.wire.blocked : owner.wire.writeText(last);
    if (allOut) this.#sent(owner);
    else owner.onBlocked();
    return allOut;
  }

  abort(): void {
    // A reset of a client that reads nothing frees what the kernel holds for it, too.
    this.#owner?.cut({ byReset: this.#closeDelimited || this.#stalled });
  }

  flushHead(): void {
    const owner = this.#owner;
    if (owner === null || this.#headText === '') return;
    if (!owner.wire.writeText(this.#takeHead())) owner.onBlocked();
  }

  // What the connection tells.

  onBody(piece: Buffer): void {
    this.#listener?.onRequestBody(piece);
  }

  onBodyEnd(rawTrailers: string[]): void {
    this.#listener?.onRequestBodyEnd(rawTrailers);
  }

  /** bodyInvalid: what follows this request's head cannot be read. */
  bodyInvalid(status: number): void {
    if (this.#owner !== null && !this.ended) this.#listener?.onRequestBodyInvalid(status);
  }

  /** drained: everything written has left. */
  drained(): void {
    const owner = this.#owner;
    if (owner === null) return;
    if (this.ended) {
      this.#sent(owner);
      return;
    }
    if (!this.#waiting) return;
    this.#waiting = false;
    this.#listener?.onFlushed();
  }

  /** stalled: the client takes nothing of the answer any more. */
  stalled(): void {
    if (this.#owner === null) return;
    this.#stalled = true;
    this.#listener?.onStalled();
  }

  /** gone: the connection is closed. */
  gone(): void {
    if (this.#owner === null) return;
    this.#owner = null;
    this.#listener?.onGone();
  }

  #sent(owner: RequestOwner): void {
    this.#owner = null;
    this.#listener?.onSent();
    owner.onSent(this);
  }

  #takeHead(): string {
    const text = this.#headText;
    this.#headText = '';
    return text;
  }

  #frame(answer: ResponseStart, owner: RequestOwner): string {
    const { expectsContinue } = this.head;
    // Without its 100 a client may send the body or leave it out: nobody could tell what comes next.
    const unmet = expectsContinue && !this.#continued;
    const mustClose = answer.closing || unmet || !this.head.persistent || owner.mustClose();
    const framed = frameAnswer(answer, this.head, mustClose);
    this.closing = framed.closing;
    this.#chunked = framed.chunked;
    this.#closeDelimited = framed.closeDelimited;
    return headText(framed);
  }
}

function flushHead(request: ClientRequest): void {
  request.flushHead();
}
