/** What all requests have in common, whatever their protocol: the progress of the answer, and its listener. */
import type {
  ClientFacts,
  Downstream,
  DownstreamListener,
  ResponseStart,
  SwitchedClient,
  TunnelEnd,
} from '../../contract/downstream.ts';
import { LbError } from '../../contract/errors.ts';
import type { RequestHead } from '../../contract/request-head.ts';

/** BaseRequestOwner is what a request needs of its connection. */
interface BaseRequestOwner {
  readonly client: ClientFacts;
}

/** BaseRequest is one request. Once its answer has left or the client is gone, it is `over`, and its calls do nothing. */
export abstract class BaseRequest<Owner extends BaseRequestOwner = BaseRequestOwner> implements Downstream {
  readonly head: RequestHead;
  readonly client: ClientFacts;
  started = false;
  /** The proxy has handed over all of the answer. */
  ended = false;
  listener: DownstreamListener | null = null;

  protected readonly owner: Owner;
  protected over = false;
  /** `100 Continue` was sent. */
  protected continued = false;
  /** write() returned false, and onFlushed has not followed yet. */
  protected waiting = false;

  constructor(head: RequestHead, owner: Owner) {
    this.head = head;
    this.owner = owner;
    this.client = owner.client;
  }

  get bodyIsHere(): boolean {
    return false;
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
  abstract abort(): void;

  protected abstract sendContinue(): void;
  protected abstract sendInterim(status: number, lines: string): void;

  continueBody(): void {
    if (!this.head.expectsContinue || this.continued || this.started || this.over) return;
    this.continued = true;
    this.sendContinue();
  }

  /** Only an engine that gives heads with `upgrade` needs it. */
  switchProtocols(_head: ResponseStart, _tunnel: TunnelEnd): SwitchedClient {
    throw new LbError('internal_error', 'this connection cannot switch protocols');
  }

  inform(status: number, lines: string): void {
    if (!this.started && !this.over) this.sendInterim(status, lines);
  }

  /** sent is called when the last byte of the answer has left. */
  protected sent(): void {
    if (this.over) return;
    this.over = true;
    this.listener?.onSent();
  }

  // Called by the connection.

  /** All bytes so far have left. */
  flushed(): void {
    if (!this.waiting || this.over) return;
    this.waiting = false;
    this.listener?.onFlushed();
  }

  /** The client has taken no bytes for SLOW_MS. */
  slow(): void {
    if (!this.over) this.listener?.onSlow();
  }

  /** The client has taken no bytes for too long. */
  stalled(): void {
    if (!this.over) this.listener?.onStalled();
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
