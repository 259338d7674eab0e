/**
 * The light response of the short way: what a proxied answer needs, written on the socket itself. It becomes node's own with
 * unfold(). Of node's server it knows what probeShortMessages (short-probe.ts) has seen it do at the start of the process.
 */
import { type IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { CRLF, chunkHead, LAST_CHUNK, trailerLines } from '../http1/chunk-writing.ts';
import { writeTextShortly } from '../infra/text-writes.ts';
import { InboundResponse, type SentListener } from './inbound-response.ts';
import { type AnswerHead, headText } from './response-heads.ts';

/** What node's constructor is underneath; it is called on an object that begins as something lighter. */
const initializeResponse = ServerResponse as unknown as (this: object, ...given: unknown[]) => void;

interface OccupiedSocket extends Socket {
  _httpMessage?: unknown;
}

/** ShortResponse is made by node's server in place of its own, and by nobody else. */
export class ShortResponse {
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
  /** Of a stream: what has to leave before the next piece. */
  #headText = '';
  #chunked = false;

  constructor(request: IncomingMessage, options?: object) {
    this.#request = request;
    this.#options = options;
  }

  get socket(): Socket | null {
    return this.#socket;
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
    const allOut = writeTextShortly(socket, bodiless ? text : text + body);
    if (allOut && atOnce) this.tellSent();
    else this.#tellOnceOut(socket, allOut);
    if (!allOut) listener.blocked();
    return true;
  }

  beginStream(head: AnswerHead): boolean {
    const socket = this.#socket;
    if (socket === null || !socket.writable) return false;
    this._last = head.closing;
    this.#headText = headText(head);
    this.#chunked = head.chunked;
    return true;
  }

  flushHead(): void {
    this.#open()?.write(this.#takeHead(), 'latin1');
  }

  writePiece(chunk: Buffer): void {
    const socket = this.#open();
    if (socket === null) return;
    const before = this.#takeHead() + (this.#chunked ? chunkHead(chunk.length) : '');
    if (before === '') {
      socket.write(chunk);
      return;
    }
    socket.cork();
    socket.write(before, 'latin1');
    socket.write(chunk);
    if (this.#chunked) socket.write(CRLF, 'latin1');
    socket.uncork();
  }

  endStream(rawTrailers: string[]): void {
    const socket = this.#open();
    if (socket === null) return;
    this.finished = true;
    const rest = this.#chunked ? `${LAST_CHUNK}${trailerLines(rawTrailers)}${CRLF}` : '';
    const last = this.#takeHead() + rest;
    if (last !== '') socket.write(last, 'latin1');
    this.#tellOnceOut(socket, socket.writableLength === 0);
  }

  #tellOnceOut(socket: Socket, allOut: boolean): void {
    if (allOut) process.nextTick(tellSent, this);
    else socket.write('', (error) => error || this.tellSent());
  }

  /** The socket, as long as anything may be written to it. */
  #open(): Socket | null {
    return this.#socket?.writable ? this.#socket : null;
  }

  #takeHead(): string {
    const text = this.#headText;
    this.#headText = '';
    return text;
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
    // Since its prototype is.
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
