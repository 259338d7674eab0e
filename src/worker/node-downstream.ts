/**
 * Downstream on node:http: one object per request. The framing of the answer is decided here, because node writes what
 * it is told: it would send a body to HTTP/1.0 in chunks, or keep a connection open behind an unread body.
 */
import type {
  Downstream,
  DownstreamListener,
  DownstreamPeer,
  ResponseStart,
} from '../contract/downstream.ts';
import { LbError } from '../contract/errors.ts';
import { fieldsOf } from '../http1/field-lines.ts';
import { DIRECT_MIN_BYTES, type DirectReader, type DirectSink } from './direct-reader.ts';
import type { BodySink, InboundRequest } from './inbound-request.ts';
import type { InboundResponse, SentListener } from './inbound-response.ts';
import type { AnswerHead, HeadWriter } from './response-heads.ts';

/** What a request must know of its connection; implemented by InboundConnection. */
export interface DownstreamOwner {
  readonly peer: DownstreamPeer;
  readonly writeHead: HeadWriter;
  /** No further request will be served on it. */
  readonly ending: boolean;
  /** Nothing is to be done once the answer under way has left. */
  readonly alone: boolean;
  /** Called when everything written before has left; see NodeDownstream.flushed. */
  readonly onFlushed: (error?: Error | null) => void;
  /** The socket took less of the answer than it was given. */
  onBlocked(): void;
  /** The last byte of the answer has left. */
  onSent(downstream: NodeDownstream): void;
  /** directReader is what may take over a large body; null where bodies come through the parser. */
  directReader(): DirectReader | null;
  /** Cuts the connection; `visibly` where a plain end could be taken for the end of the answer. */
  cut(options: { visibly: boolean }): void;
}

function onResponseFinish(this: InboundResponse): void {
  this.downstream?.sent();
}

export class NodeDownstream implements Downstream, BodySink, DirectSink, SentListener {
  readonly method: string;
  readonly target: string;
  readonly httpVersion: number;
  readonly rawHeaders: readonly string[];
  readonly peer: DownstreamPeer;
  started = false;
  /** All of the answer was handed over. */
  ended = false;
  /** The connection ends after this answer; known once started. */
  closing = false;
  /** The parser that made this request may still be in the middle of a read. */
  parsing = true;

  readonly #request: InboundRequest;
  readonly #response: InboundResponse;
  readonly #owner: DownstreamOwner;
  readonly #hasBody: boolean;
  #listener: DownstreamListener | null = null;
  /** The body is read by the listener. */
  #reading = false;
  #stopped = false;
  /** Of the request, as far as the parser passed it on. */
  #bodyBytes = 0;
  /** Reads the rest of the body. */
  #direct: DirectReader | null = null;
  #waiting = false;
  #continued = false;
  #expectsContinue = false;
  /** The head has left, or left with a first piece of body. */
  #flushed = false;
  /** The end of the answer is the end of the connection: HTTP/1.0 without a known length. */
  #closeDelimited = false;
  /** The client takes no more of the answer. */
  #stalled = false;
  #over = false;
  #unfolded = false;

  constructor(request: InboundRequest, response: InboundResponse, owner: DownstreamOwner) {
    this.#request = request;
    this.#response = response;
    this.#owner = owner;
    this.method = request.method ?? '';
    this.target = request.url ?? '';
    this.httpVersion = request.httpVersionMajor * 10 + request.httpVersionMinor;
    this.rawHeaders = request.rawHeaders;
    this.peer = owner.peer;
    // node has built this object for its own look at the very same fields.
    const { headers } = request;
    const length = headers['content-length'];
    this.#hasBody = (length !== undefined && Number(length) !== 0) || 'transfer-encoding' in headers;
    this.#expectsContinue = this.httpVersion === 11 && headers.expect !== undefined;
  }

  /** Whether nothing of the request is still to come. */
  get received(): boolean {
    return !this.#hasBody || this.#request.complete;
  }

  listen(listener: DownstreamListener): void {
    this.#listener = listener;
  }

  readBody(): void {
    if (this.#reading || this.#over) return;
    this.#reading = true;
    this.#request.flowInto(this);
  }

  /** BodySink: the parser made it. */
  onPiece(chunk: Buffer): void {
    this.#bodyBytes += chunk.length;
    this.onBody(chunk, false);
    this.#readDirectly();
  }

  /** BodySink. */
  onEnd(): void {
    this.#direct?.end();
    this.#direct = null;
    if (!this.#stopped) this.#listener?.onBodyEnd(this.#request.rawTrailers);
  }

  /** The large rest of a body of known length needs no parser. */
  #readDirectly(): void {
    const request = this.#request;
    const { 'content-length': length, 'transfer-encoding': coding } = request.headers;
    if (length === undefined || coding !== undefined) return;
    const leftBytes = Number(length) - this.#bodyBytes;
    if (leftBytes < DIRECT_MIN_BYTES || this.#stopped || this.#over) return;
    // What lies in the stream comes first; and a listener that wants no more now gets it as the parser gives it.
    if (!request.bodyFlows) return;
    const reader = this.#owner.directReader();
    if (reader?.begin(this, leftBytes)) this.#direct = reader;
  }

  onBody(chunk: Buffer, lent: boolean): void {
    if (!this.#stopped && lent !== null) this.#listener?.onBody(chunk);
  }

  pauseBody(): void {
    if (this.#stopped) return;
    if (this.#direct === null) this.#request.holdBody();
    else this.#direct.pause();
  }

  resumeBody(): void {
    if (this.#stopped) return;
    if (this.#direct === null) this.#request.releaseBody();
    else this.#direct.resume();
  }

  stopBody(): void {
    this.#stopped = true;
    this.#direct?.stop();
    this.#direct = null;
    // What still comes runs into nothing: a client that sends on before it looks for an answer must not get stuck.
    if (this.#reading) this.#request.releaseBody();
  }

  continueBody(): void {
    if (!this.#expectsContinue || this.#continued || this.started) return;
    this.#continued = true;
    this.#unfold();
    this.#response.writeContinue();
  }

  inform(status: number, lines: string): void {
    if (this.httpVersion !== 11 || this.started || this.#over) return;
    this.#unfold();
    try {
      this.#response.writeInformation(status, fieldsOf(lines));
    } catch (thrown) {
      throw new LbError('upstream_invalid', `interim answer ${status} cannot be sent on`, { cause: thrown });
    }
  }

  start(head: ResponseStart): void {
    const framed = this.#frame(head);
    if (!this.#unfolded && head.hasBody && this.#response.beginStream(framed)) {
      this.#response.downstream = this;
      this.started = true;
    } else this.#writeHead(framed);
    // Heads of streams must not wait for a first byte of body; those that have one leave with it.
    if (head.hasBody) process.nextTick(flushHead, this);
  }

  complete(head: ResponseStart, body: string): void {
    const framed = this.#frame(head);
    // Within the parser, or with requests that wait, what follows an answer could run into what is under way.
    const atOnce = !this.parsing && !this.#hasBody && this.#owner.alone;
    if (!this.#unfolded) {
      // Before: it may be over when sendWhole returns.
      this.started = this.ended = true;
      if (this.#response.sendWhole(framed, body, this, atOnce)) return;
      this.started = this.ended = false;
    }
    this.#writeHead(framed);
    this.ended = true;
    // One string: node then sends head and body in one write.
    const response = this.#response;
    response.end(body, 'latin1');
    const { socket } = response;
    if (socket !== null && socket.writableLength > 0) this.#owner.onBlocked();
  }

  write(chunk: Buffer): boolean {
    const response = this.#response;
    this.#flushed = true;
    response.writePiece(chunk);
    const { socket } = response;
    // Without a socket the client is gone; its onGone is on the way.
    if (socket === null || socket.writableLength === 0) return true;
    this.#waiting = true;
    socket.write('', this.#owner.onFlushed);
    this.#owner.onBlocked();
    return false;
  }

  end(rawTrailers: string[]): boolean {
    const response = this.#response;
    const { socket } = response;
    this.ended = true;
    response.endStream(rawTrailers);
    if (socket === null || socket.writableLength === 0) return true;
    this.#owner.onBlocked();
    return false;
  }

  abort(): void {
    // A reset of a client that reads nothing frees what the kernel holds for it, too.
    this.#owner.cut({ visibly: this.#closeDelimited || this.#stalled });
  }

  /** flushHead sends a head that no body followed at once. */
  flushHead(): void {
    if (this.#flushed || this.ended || this.#over) return;
    this.#flushed = true;
    this.#response.flushHead();
  }

  // What the connection tells.

  flushed(): void {
    if (!this.#waiting) return;
    this.#waiting = false;
    this.#listener?.onFlushed();
  }

  stalled(): void {
    if (this.#over) return;
    this.#stalled = true;
    this.#listener?.onStalled();
  }

  blocked(): void {
    this.#owner.onBlocked();
  }

  sent(): void {
    if (this.#over) return;
    this.#over = true;
    if (this.#hasBody && !this.#reading) this.#request.dropBody();
    this.#listener?.onSent();
    this.#owner.onSent(this);
  }

  gone(): void {
    if (this.#over) return;
    this.#over = true;
    this.#listener?.onGone();
  }

  /** bodyInvalid: what follows this request's head cannot be read. */
  bodyInvalid(status: number): void {
    if (!this.#over && !this.ended) this.#listener?.onBodyInvalid(status);
  }

  /** RFC 9112 §6, §9.3, §9.6. */
  #frame({ status, reason, lines: given, hasBody, contentLength, closing }: ResponseStart): AnswerHead {
    const isHttp11 = this.httpVersion === 11;
    this.#closeDelimited = hasBody && contentLength < 0 && !isHttp11;
    this.closing = closing || this.#closeDelimited || this.#mustClose();
    let lines = given;
    if (this.closing) lines += 'Connection: close\r\n';
    else if (!isHttp11) lines += 'Connection: keep-alive\r\n';
    // Last: node re-encodes a Content-Disposition that comes behind it.
    if (contentLength >= 0) lines += `Content-Length: ${contentLength}\r\n`;
    else if (!hasBody && mayHaveBody(this.method, status)) lines += 'Content-Length: 0\r\n';
    const chunked = hasBody && contentLength < 0 && isHttp11;
    return { status, reason, lines, chunked, closing: this.closing };
  }

  #writeHead(head: AnswerHead): void {
    this.#unfold();
    try {
      this.#owner.writeHead(this.#response, head);
    } catch (thrown) {
      throw new LbError('upstream_invalid', 'answer has a field that cannot be sent on', { cause: thrown });
    }
    this.started = true;
  }

  /** From here on the answer goes through node's response. */
  #unfold(): void {
    if (this.#unfolded) return;
    this.#unfolded = true;
    const response = this.#response;
    response.unfold();
    response.downstream = this;
    response.on('finish', onResponseFinish);
  }

  #mustClose(): boolean {
    // node closes by itself behind an expectation that got no 100; the client must be told.
    const unmet = this.#expectsContinue && !this.#continued;
    return unmet || !this.#response.shouldKeepAlive || !this.received || this.#owner.ending;
  }
}

function mayHaveBody(method: string, status: number): boolean {
  return method !== 'HEAD' && status !== 204 && status !== 304;
}

function flushHead(downstream: NodeDownstream): void {
  downstream.flushHead();
}
