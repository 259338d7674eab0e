/** What the requests of both engines have in common: the progress of the answer, and its listener. */
import type {
  ClientFacts,
  Downstream,
  DownstreamListener,
  ResponseStart,
} from '../../contract/downstream.ts';
import type { RequestHead } from '../../contract/request-head.ts';

/** At most this much of an unwanted body is discarded to keep its connection; to discard more costs more than a new connection. */
export const DISCARD_MAX_BYTES = 65_536;

/** RequestOwner is what a request needs of its connection. */
export interface RequestOwner {
  readonly client: ClientFacts;
  /** The kernel has not taken all of the answer so far. */
  onBlocked(): void;
  /** The last byte of the answer has left. */
  onSent(request: BaseRequest): void;
  /** cut closes the connection at once; by a reset where a plain end could be taken for the end of the answer. */
  cut(options: { byReset: boolean }): void;
}

/** BaseRequest is one request. Once its answer has left or the client is gone, it is `over`, and its calls do nothing. */
export abstract class BaseRequest<Owner extends RequestOwner = RequestOwner> implements Downstream {
  readonly head: RequestHead;
  readonly client: ClientFacts;
  started = false;
  /** The proxy has handed over all of the answer. */
  ended = false;
  /** The connection ends after this answer; valid once started. */
  closing = false;
  listener: DownstreamListener | null = null;

  protected readonly owner: Owner;
  protected over = false;
  /** The body of the answer is sent in chunks; valid once started. */
  protected chunked = false;
  /** `100 Continue` was sent. */
  protected continued = false;
  /** write() returned false, and onFlushed has not followed yet. */
  protected waiting = false;
  /** The body of the answer ends with the connection. */
  #closeDelimited = false;
  #stalled = false;

  constructor(head: RequestHead, owner: Owner) {
    this.head = head;
    this.owner = owner;
    this.client = owner.client;
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
  /** mustClose tells whether the connection must end after this answer. Asked at most once per answer, after all other reasons. */
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
    // A reset also frees what the kernel holds for a client that reads nothing.
    if (!this.over) this.owner.cut({ byReset: this.#closeDelimited || this.#stalled });
  }

  /** frame decides how answer and connection end (RFC 9112 §6, §9.3, §9.6). @returns all lines but Transfer-Encoding */
  protected frame({ status, lines, contentLength, hasBody, closing }: ResponseStart): string {
    const { head } = this;
    const isHttp11 = head.httpVersion === 11;
    const isUnknownLength = hasBody && contentLength < 0;
    this.chunked = isUnknownLength && isHttp11;
    this.#closeDelimited = isUnknownLength && !isHttp11;
    // A client that got no 100 may send its body or not: nobody could tell what comes next.
    const unmet = head.expectsContinue && head.hasBody && !this.continued;
    this.closing = closing || this.#closeDelimited || unmet || !head.persistent || this.mustClose();
    let framed = lines;
    if (this.closing) framed += 'Connection: close\r\n';
    else if (!isHttp11) framed += 'Connection: keep-alive\r\n';
    if (contentLength >= 0) framed += `Content-Length: ${contentLength}\r\n`;
    else if (!hasBody && mayHaveBody(head.method, status)) framed += 'Content-Length: 0\r\n';
    return framed;
  }

  /** sent is called when the last byte of the answer has left. */
  protected sent(): void {
    if (this.over) return;
    this.over = true;
    this.listener?.onSent();
    this.owner.onSent(this);
  }

  // Called by the connection.

  /** @param status of the answer to a body that cannot be read */
  bodyInvalid(status: number): void {
    if (!this.over && !this.ended) this.listener?.onRequestBodyInvalid(status);
  }

  /** All bytes so far have left. */
  flushed(): void {
    if (!this.waiting || this.over) return;
    this.waiting = false;
    this.listener?.onFlushed();
  }

  /** The client has taken no bytes for too long. */
  stalled(): void {
    if (this.over) return;
    this.#stalled = true;
    this.listener?.onStalled();
  }

  gone(): void {
    if (this.over) return;
    this.over = true;
    this.listener?.onGone();
  }
}

/** mayHaveBody tells whether an answer can have a body (RFC 9110 §6.4.1). */
export function mayHaveBody(method: string, status: number): boolean {
  return method !== 'HEAD' && status !== 204 && status !== 304;
}
