/** What the requests of both engines have in common: how far the answer is, and who hears of it. */
import type { Downstream, DownstreamListener, ResponseStart } from '../../contract/downstream.ts';
import type { RequestHead } from '../../contract/request-head.ts';
import { type FramedAnswer, frameAnswer } from '../../http1/answer-head.ts';

/** The rest of an unwanted body that is read so that its connection can stay: more costs more than a new connection. */
export const DISCARD_MAX_BYTES = 65_536;

/** RequestOwner is the connection of a request. */
export interface RequestOwner {
  readonly peerAddress: string;
  /** The connection took less of the answer than it was given. */
  onBlocked(): void;
  /** The last byte of the answer has left. */
  onSent(request: BaseRequest): void;
  /** cut ends the connection, by a reset where a plain end could be taken for the end of the answer. */
  cut(options: { byReset: boolean }): void;
}

/**
 * BaseRequest is one request of a connection until its answer has left or the client is gone. From then on it is `over`, and
 * calls do nothing: a late one must not reach the request behind it.
 */
export abstract class BaseRequest<Owner extends RequestOwner = RequestOwner> implements Downstream {
  readonly head: RequestHead;
  readonly peerAddress: string;
  started = false;
  /** All of the answer was handed over. */
  ended = false;
  /** The connection ends after this answer; known once started. */
  closing = false;

  protected readonly owner: Owner;
  protected listener: DownstreamListener | null = null;
  protected over = false;
  /** 100 Continue was sent. */
  protected continued = false;
  /** write() returned false: onFlushed is owed. */
  protected waiting = false;
  #closeDelimited = false;
  #stalled = false;

  constructor(head: RequestHead, owner: Owner) {
    this.head = head;
    this.owner = owner;
    this.peerAddress = owner.peerAddress;
  }

  listen(listener: DownstreamListener): void {
    this.listener = listener;
  }

  abstract readBody(): void;
  abstract pauseBody(): void;
  abstract resumeBody(): void;
  abstract stopBody(): void;
  abstract start(answer: ResponseStart): void;
  abstract complete(answer: ResponseStart, body: string): void;
  abstract write(chunk: Buffer): boolean;
  abstract end(rawTrailers: string[]): boolean;
  protected abstract sendContinue(): void;
  protected abstract sendInterim(status: number, lines: string): void;
  /** mustClose is asked once per answer, last: whether the connection cannot, or shall not, go on after it. */
  protected abstract mustClose(): boolean;

  continueBody(): void {
    if (!this.head.expectsContinue || this.continued || this.started || this.over) return;
    this.continued = true;
    this.sendContinue();
  }

  inform(status: number, lines: string): void {
    if (this.head.httpVersion === 11 && !this.started && !this.over) this.sendInterim(status, lines);
  }

  abort(): void {
    // A client that reads nothing gets a reset, which frees what the kernel holds for it as well.
    if (!this.over) this.owner.cut({ byReset: this.#closeDelimited || this.#stalled });
  }

  protected frame(answer: ResponseStart): FramedAnswer {
    const { head } = this;
    // Without its 100 a client may send the body or leave it out: nobody could tell what comes next.
    const unmet = head.expectsContinue && head.hasBody && !this.continued;
    const mustClose = answer.closing || unmet || !head.persistent || this.mustClose();
    const framed = frameAnswer(answer, head, mustClose);
    this.closing = framed.closing;
    this.#closeDelimited = framed.closeDelimited;
    return framed;
  }

  /** sent: the last byte of the answer has left. */
  protected sent(): void {
    if (this.over) return;
    this.over = true;
    this.listener?.onSent();
    this.owner.onSent(this);
  }

  // What the connection tells.

  /** bodyInvalid: the bytes behind this request's head are no body. `status` is the answer to that. */
  bodyInvalid(status: number): void {
    if (!this.over && !this.ended) this.listener?.onRequestBodyInvalid(status);
  }

  /** flushed: everything written so far has left. */
  flushed(): void {
    if (!this.waiting || this.over) return;
    this.waiting = false;
    this.listener?.onFlushed();
  }

  /** stalled: the client takes nothing of the answer any more. */
  stalled(): void {
    if (this.over) return;
    this.#stalled = true;
    this.listener?.onStalled();
  }

  /** gone: the connection is closed. */
  gone(): void {
    if (this.over) return;
    this.over = true;
    this.listener?.onGone();
  }
}
