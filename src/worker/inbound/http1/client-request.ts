/** One request on a wire, as the proxy sees it (Downstream). */
import type { ResponseStart, SwitchedClient, TunnelEnd } from '../../../contract/downstream.ts';
import type { Wire } from '../../../contract/wire.ts';
import { CRLF, chunkHead, lastChunk } from '../../../http1/chunk-writing.ts';
import { mayHaveBody } from '../base-request.ts';
import { Http1Request, type RequestOwner } from './http1-request.ts';

const INTERIM_PHRASES: Readonly<Record<number, string>> = { 102: 'Processing', 103: 'Early Hints' };
const OF_ANSWER = { ofAnswer: true };
const CONTINUE = 'HTTP/1.1 100 Continue\r\n\r\n';

/** WireRequestOwner is what a request needs of its connection; implemented by ClientConnection. */
export interface WireRequestOwner extends RequestOwner {
  readonly wire: Wire;
  /** Bytes that have come and are not parsed yet. */
  readonly restBytes: number;
  /** See ClientBody; null before the first request that has one. */
  readonly body: { ask(): boolean; pause(): boolean; resume(): boolean; drop(): boolean } | null;
  mustClose(): boolean;
  /** The wire belongs to the tunnel from now on. */
  switchTo(tunnel: TunnelEnd): SwitchedClient;
  /** The state of the body has changed: bytes that wait may have their turn. */
  advancePending(): void;
}

/** ClientRequest is made by ClientConnection for each head. */
export class ClientRequest extends Http1Request<WireRequestOwner> {
  /** The head of an answer in pieces, until it is written. */
  #headText = '';

  override get bodyIsHere(): boolean {
    return this.owner.restBytes >= this.head.bodyLength;
  }

  readBody(): void {
    if (!this.over && this.owner.body?.ask()) this.owner.advancePending();
  }

  pauseBody(): void {
    if (!this.over && this.owner.body?.pause()) this.owner.advancePending();
  }

  resumeBody(): void {
    if (!this.over && this.owner.body?.resume()) this.owner.advancePending();
  }

  stopBody(): void {
    // The rest is discarded: a client that sends everything before it reads the answer must not get stuck.
    if (!this.over && this.owner.body?.drop()) this.owner.advancePending();
  }

  protected override sendContinue(): void {
    this.owner.wire.writeText(CONTINUE);
  }

  protected override sendInterim(status: number, lines: string): void {
    this.owner.wire.writeText(`HTTP/1.1 ${status} ${INTERIM_PHRASES[status] ?? ''}\r\n${lines}\r\n`);
  }

  protected override mustClose(): boolean {
    return this.owner.mustClose();
  }

  start(answer: ResponseStart): void {
    if (this.over) return;
    this.started = true;
    this.#headText = this.#headOf(answer);
    // The head leaves with the first piece of body, but does not wait for one.
    process.nextTick(flushHead, this);
  }

  complete(answer: ResponseStart, body: string): void {
    if (this.over) return;
    this.started = this.ended = true;
    const head = this.#headOf(answer);
    const hasBody = body !== '' && mayHaveBody(this.head.method, answer.status);
    if (this.owner.wire.writeText(hasBody ? head + body : head)) this.sent();
    else this.owner.onBlocked();
  }

  override switchProtocols({ reason, lines }: ResponseStart, tunnel: TunnelEnd): SwitchedClient {
    this.started = this.ended = this.over = true;
    this.owner.wire.writeText(`HTTP/1.1 101 ${reason}\r\nConnection: Upgrade\r\n${lines}\r\n`);
    return this.owner.switchTo(tunnel);
  }

  write(chunk: Buffer): boolean {
    if (this.over) return true;
    const head = this.#takeHead();
    const { wire } = this.owner;
    const allOut = this.chunked
      ? wire.writeChunk(head + chunkHead(chunk.length), chunk, CRLF)
      : wire.writeChunk(head, chunk, '');
    if (allOut) return true;
    this.waiting = true;
    this.owner.onBlocked();
    return false;
  }

  end(rawTrailers: string[]): boolean {
    if (this.over) return true;
    this.ended = true;
    const last = this.#takeHead() + (this.chunked ? lastChunk(rawTrailers, OF_ANSWER) : '');
    const { wire } = this.owner;
    // After a failed write nothing waits, although not everything has left.
    const allOut = last === '' ? !this.waiting && !wire.blocked : wire.writeText(last);
    if (allOut) this.sent();
    else this.owner.onBlocked();
    return allOut;
  }

  /** flushHead writes a head that no piece of body has taken along. */
  flushHead(): void {
    if (this.over || this.#headText === '') return;
    if (!this.owner.wire.writeText(this.#takeHead())) this.owner.onBlocked();
  }

  /** drained is called when everything written has left. */
  drained(): void {
    if (this.ended) this.sent();
    else this.flushed();
  }

  #headOf(answer: ResponseStart): string {
    const lines = this.frame(answer);
    const coding = this.chunked ? 'Transfer-Encoding: chunked\r\n' : '';
    return `HTTP/1.1 ${answer.status} ${answer.reason}\r\n${lines}${coding}\r\n`;
  }

  #takeHead(): string {
    const text = this.#headText;
    this.#headText = '';
    return text;
  }
}

function flushHead(request: ClientRequest): void {
  request.flushHead();
}
