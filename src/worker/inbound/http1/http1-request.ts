/** What the HTTP/1.1 requests of both engines have in common: where the answer ends, and whether the connection goes on. */
import type { ClientFacts, ResponseStart } from '../../../contract/downstream.ts';
import { BaseRequest, mayHaveBody } from '../base-request.ts';

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

/** Http1Request is one request; see BaseRequest. */
export abstract class Http1Request<Owner extends RequestOwner = RequestOwner> extends BaseRequest<Owner> {
  /** The connection ends after this answer; valid once started. */
  closing = false;
  /** The body of the answer is sent in chunks; valid once started. */
  protected chunked = false;
  /** The body of the answer ends with the connection. */
  #closeDelimited = false;
  #isStalled = false;

  protected override sent(): void {
    if (this.over) return;
    super.sent();
    this.owner.onSent(this);
  }

  override stalled(): void {
    this.#isStalled = true;
    super.stalled();
  }

  /** mustClose tells whether the connection must end after this answer. Asked at most once per answer, after all other reasons. */
  protected abstract mustClose(): boolean;

  abort(): void {
    // A reset also frees what the kernel holds for a client that reads nothing.
    if (!this.over) this.owner.cut({ byReset: this.#closeDelimited || this.#isStalled });
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

  /** @param status of the answer to a body that cannot be read */
  bodyInvalid(status: number): void {
    if (!this.over && !this.ended) this.listener?.onRequestBodyInvalid(status);
  }
}
