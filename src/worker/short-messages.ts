/**
 * The two ways of a request through node:http's objects. The public way has node make an IncomingMessage, a stream, and a
 * ServerResponse for each: some 100 fields, five listeners and two turns through its queue of ticks, of which a request
 * without a body and an answer of one piece need next to nothing. The short way gives node lighter objects in their place
 * (its options `IncomingMessage` and `ServerResponse`), which become the real ones as soon as more is asked of them: a body,
 * an expectation, an answer that streams. What node calls on them is written nowhere, so they are used only where
 * probeShortMessages (short-probe.ts) has seen, at the start of the process, that they do (figures: docs/architecture.md).
 */
import { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { writeTextShortly } from '../infra/text-writes.ts';
import { type AnswerHead, FramedResponse, headText } from './response-heads.ts';

/** Hears what becomes of an answer. */
export interface SentListener {
  /** Part of it waits for the client to take it. */
  blocked(): void;
  /** The last byte has left. */
  sent(): void;
}

/** InboundResponse is node's response with the way back to who answers, or a lighter one that becomes it with unfold(). */
export class InboundResponse extends FramedResponse {
  downstream: SentListener | null = null;

  /**
   * sendWhole sends an answer of one piece (latin1) past node's response; false: it cannot, unfold it and go on.
   * @param atOnce whether the listener may be called before sendWhole returns; else a tick later, as node's own `finish`
   */
  sendWhole(_head: AnswerHead, _body: string, _listener: SentListener, _atOnce: boolean): boolean {
    return false;
  }

  /** unfold comes before any other call of node's own methods. */
  unfold(): void {
    // It is node's already.
  }
}

/** What node's constructors are underneath; they are called on an object that begins as something lighter. */
type Initializer = (this: object, ...given: unknown[]) => void;
const initializeRequest = IncomingMessage as unknown as Initializer;
const initializeResponse = ServerResponse as unknown as Initializer;

interface OccupiedSocket extends Socket {
  _httpMessage?: unknown;
}

class ShortResponse {
  downstream: SentListener | null = null;
  shouldKeepAlive = true;
  finished = false;
  destroyed = false;
  _last = false;
  _closed = false;
  _keepAliveTimeout = 0;
  _maxRequestsPerSocket = 0;
  _onPendingData: unknown = null;
  readonly #request: IncomingMessage;
  readonly #options: object | undefined;
  #socket: OccupiedSocket | null = null;
  #clearUp: ((this: unknown) => void) | null = null;

  constructor(request: IncomingMessage, options?: object) {
    this.#request = request;
    this.#options = options;
  }

  /** node's server listens to `finish` of each response and clears up when it comes. */
  on(event: string, listener: (this: unknown) => void): this {
    if (event !== 'finish' || this.#clearUp !== null) throw new Error(`unexpected listener to ${event}`);
    this.#clearUp = listener;
    return this;
  }

  assignSocket(socket: OccupiedSocket): void {
    socket._httpMessage = this;
    this.#socket = socket;
  }

  detachSocket(socket: OccupiedSocket): void {
    socket._httpMessage = null;
    this.#socket = null;
  }

  destroy(): this {
    this.destroyed = true;
    this.#socket?.destroy();
    return this;
  }

  sendWhole(head: AnswerHead, body: string, listener: SentListener, atOnce: boolean): boolean {
    const socket = this.#socket;
    if (socket === null || !socket.writable || socket.writableLength > 0) return false;
    this.finished = true;
    this._last = head.closing;
    this.downstream = listener;
    const bodiless = this.#request.method === 'HEAD' || head.status === 204 || head.status === 304;
    const text = headText(head);
    if (!writeTextShortly(socket, bodiless ? text : text + body)) {
      socket.write('', (error) => error || this.tellSent());
      listener.blocked();
    } else if (atOnce) this.tellSent();
    else process.nextTick(tellSent, this);
    return true;
  }

  tellSent(): void {
    // A socket that is gone tells by itself.
    if (this.#socket === null || this.#socket.destroyed) return;
    // Nobody hears node's own `close` of it.
    this._closed = true;
    this.#clearUp?.call(this);
    this.downstream?.sent();
  }

  unfold(): void {
    const socket = this.#socket;
    const clearUp = this.#clearUp;
    // What node's server has set by now, its constructor would set back.
    const given = { ...this };
    Object.setPrototypeOf(this, InboundResponse.prototype);
    initializeResponse.call(this, this.#request, this.#options);
    Object.assign(this, given);
    const response = this as unknown as ServerResponse;
    if (clearUp !== null) response.on('finish', clearUp);
    if (socket === null) return;
    socket._httpMessage = null;
    response.assignSocket(socket);
  }
}
Object.setPrototypeOf(ShortResponse.prototype, InboundResponse.prototype);

function tellSent(response: ShortResponse): void {
  response.tellSent();
}

/** What is left of the fields of a request without a body or an expectation: node looks for no other. */
const NO_FIELDS = Object.freeze({});

/** Whether node has to look at the fields: there may be a body, or something is expected before it. */
function concernsNode(rawHeaders: readonly string[]): boolean {
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] ?? '';
    switch (name.length) {
      case 'expect'.length:
        if (name.toLowerCase() === 'expect') return true;
        break;
      case 'content-length'.length:
        if (name.toLowerCase() === 'content-length') return true;
        break;
      case 'transfer-encoding'.length:
        if (name.toLowerCase() === 'transfer-encoding') return true;
    }
  }
  return false;
}

/** ShortRequest has neither a body nor an expectation; one that has is node's own before anybody sees it. */
class ShortRequest {
  readonly socket: Socket;
  httpVersionMajor = 1;
  httpVersionMinor = 1;
  httpVersion = '1.1';
  joinDuplicateHeaders = false;
  url = '';
  method = '';
  upgrade: boolean | null = null;
  rawHeaders: string[] = [];
  complete = false;

  constructor(socket: Socket) {
    this.socket = socket;
  }

  /** There is nothing to be pulled off the wire. */
  get _consuming(): boolean {
    return true;
  }

  get headers(): object {
    return NO_FIELDS;
  }

  get readableEnded(): boolean {
    return true;
  }

  /** The parser calls it once the fields before `method` are set. */
  _addHeaderLines(rawHeaders: string[], count: number): void {
    if (concernsNode(rawHeaders)) {
      this.#unfold();
      this._addHeaderLines(rawHeaders, count);
    } else this.rawHeaders = rawHeaders;
  }

  #unfold(): void {
    const given = { ...this };
    Object.setPrototypeOf(this, IncomingMessage.prototype);
    initializeRequest.call(this, this.socket);
    Object.assign(this, given);
  }

  // What node's server calls on a request that has no body, or is over.

  push(): boolean {
    return true;
  }

  destroy(): this {
    return this;
  }

  _read(): void {
    // Nothing comes.
  }

  _dumpAndCloseReadable(): void {
    // Nothing is open.
  }
}
Object.setPrototypeOf(ShortRequest.prototype, IncomingMessage.prototype);
// node's own hooks, for an abort signal that nobody has asked for.
for (const hook of Object.getOwnPropertySymbols(IncomingMessage.prototype)) {
  Object.defineProperty(ShortRequest.prototype, hook, { value: () => undefined });
}

/** MessageClasses are options of the HTTP server. */
export interface MessageClasses {
  IncomingMessage: typeof IncomingMessage;
  ServerResponse: typeof InboundResponse;
}

export const PUBLIC_MESSAGES: MessageClasses = { IncomingMessage, ServerResponse: InboundResponse };

/** SHORT_MESSAGES need probeShortMessages and probeShortWrites to have returned true. */
export const SHORT_MESSAGES: MessageClasses = {
  IncomingMessage: ShortRequest as unknown as typeof IncomingMessage,
  ServerResponse: ShortResponse as unknown as typeof InboundResponse,
};
