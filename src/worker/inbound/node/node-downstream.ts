/** One request on node:http, as the proxy sees it (Downstream). */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { ResponseStart } from '../../../contract/downstream.ts';
import { LbError } from '../../../contract/errors.ts';
import { CHUNKED_BODY, type RequestHead } from '../../../contract/request-head.ts';
import { fieldsOf } from '../../../http1/field-lines.ts';
import { DISCARD_MAX_BYTES, Http1Request, type RequestOwner } from '../http1/http1-request.ts';

/** NodeRequestOwner is what a request needs of its connection; implemented by NodeConnection. */
export interface NodeRequestOwner extends RequestOwner {
  /** Whether the answer under way must be the last one. */
  readonly ending: boolean;
  /** Called when everything written before has left. */
  readonly onFlushed: (error?: Error | null) => void;
  /** The body ended, after its answer. */
  onDiscarded(): void;
  /** The rest of an unwanted body is longer than DISCARD_MAX_BYTES. */
  onOverlong(): void;
}

/** NodeDownstream is made for each request that node has parsed. */
export class NodeDownstream extends Http1Request<NodeRequestOwner> {
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  #reading = false;
  #stopped = false;
  /** Nobody has asked for the body. */
  #discarding = false;
  #bodyBytes = 0;
  /** The head has left. */
  #flushed = false;

  constructor(head: RequestHead, response: ServerResponse, owner: NodeRequestOwner) {
    super(head, owner);
    this.#request = response.req;
    this.#response = response;
    response.on('finish', () => this.sent());
  }

  /** Whether all of the request has come. */
  get received(): boolean {
    return !(this.head.hasBody || this.head.hasBadFraming) || this.#request.complete;
  }

  readBody(): void {
    if (!this.#reading && !this.over) this.#read();
  }

  #read(): void {
    this.#reading = true;
    this.#request.on('data', (chunk: Buffer) => {
      this.#bodyBytes += chunk.length;
      if (!this.#stopped) this.listener?.onRequestBody(chunk);
      else if (this.#discarding && this.#bodyBytes > DISCARD_MAX_BYTES) this.owner.onOverlong();
    });
    this.#request.on('end', () => {
      if (this.over) this.owner.onDiscarded();
      else if (!this.#stopped) this.listener?.onRequestBodyEnd(this.#request.rawTrailers);
    });
  }

  pauseBody(): void {
    if (!this.#stopped) this.#request.pause();
  }

  resumeBody(): void {
    if (!this.#stopped) this.#request.resume();
  }

  stopBody(): void {
    this.#stopped = true;
    // The rest is discarded: a client that sends everything before it reads the answer must not get stuck.
    if (this.#reading) this.#request.resume();
  }

  protected override sendContinue(): void {
    this.#response.writeContinue();
  }

  protected override sendInterim(status: number, lines: string): void {
    try {
      this.#response.writeInformation(status, fieldsOf(lines));
    } catch (thrown) {
      throw new LbError('upstream_invalid', `interim answer ${status} cannot be sent on`, { cause: thrown });
    }
  }

  start(answer: ResponseStart): void {
    this.#writeHead(answer);
    // The head leaves with the first piece of body, but does not wait for one.
    if (answer.hasBody) process.nextTick(flushHead, this);
  }

  complete(answer: ResponseStart, body: string): void {
    this.#writeHead(answer);
    this.ended = true;
    // One string: node then sends head and body in one write.
    this.#response.end(body, 'latin1');
    const { socket } = this.#response;
    if (socket !== null && socket.writableLength > 0) this.owner.onBlocked();
  }

  write(chunk: Buffer): boolean {
    const response = this.#response;
    this.#flushed = true;
    const { socket } = response;
    // Without this cork node would keep the first piece until the next tick; since 24.22.3 and 26.9, by a cork on the response.
    socket?.cork();
    response.write(chunk);
    socket?.uncork();
    // Without a socket the client is gone, and onGone follows.
    if (socket === null || socket.writableLength === 0) return true;
    this.waiting = true;
    socket.write('', this.owner.onFlushed);
    this.owner.onBlocked();
    return false;
  }

  end(rawTrailers: string[]): boolean {
    const response = this.#response;
    const { socket } = response;
    this.ended = true;
    if (rawTrailers.length > 0 && response.chunkedEncoding) response.addTrailers(pairsOf(rawTrailers));
    response.end();
    if (socket === null || socket.writableLength === 0) return true;
    this.owner.onBlocked();
    return false;
  }

  /** flushHead sends a head that no piece of body took along. node's flushHeaders would encode it as UTF-8. */
  flushHead(): void {
    if (this.#flushed || this.ended || this.over) return;
    this.#flushed = true;
    const { socket } = this.#response;
    socket?.cork();
    this.#response.write('', 'latin1');
    socket?.uncork();
  }

  #writeHead(answer: ResponseStart): void {
    const response = this.#response;
    const lines = this.frame(answer);
    if (!this.closing && !this.#reading && !this.received) this.#discard();
    try {
      response.sendDate = false;
      // node would send chunks to an HTTP/1.0 client with `TE: chunked`, and would add `Connection: keep-alive`.
      if (!this.chunked) response.removeHeader('transfer-encoding');
      response.removeHeader('connection');
      response.shouldKeepAlive = !this.closing;
      response.writeHead(answer.status, answer.reason, fieldsOf(lines));
    } catch (thrown) {
      throw new LbError('upstream_invalid', 'answer has a field that cannot be sent on', { cause: thrown });
    }
    this.started = true;
  }

  protected override mustClose(): boolean {
    // node closes after an expectation that got no 100, also where no body follows, and the client must be told.
    const unmet = this.head.expectsContinue && !this.continued;
    return unmet || !(this.received || this.#isRestShort()) || this.owner.ending;
  }

  /** As ClientBody.isRestShort. */
  #isRestShort(): boolean {
    const { bodyLength, hasBadFraming } = this.head;
    if (hasBadFraming) return false;
    return bodyLength === CHUNKED_BODY ? !this.#reading : bodyLength - this.#bodyBytes <= DISCARD_MAX_BYTES;
  }

  /** Discards a body that nobody asked for. Called before its answer has left: node would then drop the body uncounted. */
  #discard(): void {
    this.#stopped = this.#discarding = true;
    this.#read();
  }
}

function flushHead(downstream: NodeDownstream): void {
  downstream.flushHead();
}

function pairsOf(flat: readonly string[]): [string, string][] {
  const list: [string, string][] = [];
  for (let i = 0; i < flat.length; i += 2) list.push([flat[i] ?? '', flat[i + 1] ?? '']);
  return list;
}
