/**
 * The two ways of a request through node:http's objects. The public way has node make an IncomingMessage, a stream, and a
 * ServerResponse for each: some 100 fields, five listeners and two turns through its queue of ticks, of which a proxied
 * request needs next to nothing. The short way gives node lighter objects in their place
 * (its options `IncomingMessage` and `ServerResponse`), which become the real ones as soon as more is asked of them: an
 * expectation, an interim answer. What node calls on them is written nowhere, so they are used only where
 * probeShortMessages (short-probe.ts) has seen, at the start of the process, that they do (figures: docs/architecture.md).
 */
import { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { type BodySink, InboundRequest } from './inbound-request.ts';
import { InboundResponse } from './inbound-response.ts';
import { ShortBody } from './short-body.ts';
import { ShortResponse } from './short-response.ts';

/** What node's constructor is underneath; it is called on an object that begins as something lighter. */
const initializeRequest = IncomingMessage as unknown as (this: object, ...given: unknown[]) => void;

/** The fields that node looks for: those of a request without a body or an expectation are none. */
const NO_FIELDS: Readonly<Record<string, string>> = Object.freeze({});

/** fieldsForNode gives the fields that frame a body; null: something is expected before it, which is node's to see to. */
function fieldsForNode(rawHeaders: readonly string[]): Readonly<Record<string, string>> | null {
  let length: string | null = null;
  let coding: string | null = null;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] ?? '';
    switch (name.length) {
      case 'expect'.length:
        if (name.toLowerCase() === 'expect') return null;
        break;
      case 'content-length'.length:
        if (name.toLowerCase() === 'content-length') length = rawHeaders[i + 1] ?? '';
        break;
      case 'transfer-encoding'.length:
        if (name.toLowerCase() === 'transfer-encoding') coding = rawHeaders[i + 1] ?? '';
    }
  }
  if (coding === null) return length === null ? NO_FIELDS : { 'content-length': length };
  return length === null
    ? { 'transfer-encoding': coding }
    : { 'content-length': length, 'transfer-encoding': coding };
}

/** ShortRequest has no expectation; one that has is node's own before anybody sees it. */
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
  rawTrailers: string[] = [];
  complete = false;
  #fields = NO_FIELDS;
  #body: ShortBody | null = null;

  constructor(socket: Socket) {
    this.socket = socket;
  }

  /** node shall not pull anything off the wire: what nobody has read is dropped with dropBody. */
  get _consuming(): boolean {
    return true;
  }

  get headers(): object {
    return this.#fields;
  }

  get readableEnded(): boolean {
    return this.#body === null || this.#body.ended;
  }

  /** The parser calls it once the fields before `method` are set, and with the trailers. */
  _addHeaderLines(lines: string[], count: number): void {
    if (this.complete) {
      this.rawTrailers = lines;
      return;
    }
    const fields = fieldsForNode(lines);
    if (fields === null) {
      this.#unfold();
      this._addHeaderLines(lines, count);
      return;
    }
    this.rawHeaders = lines;
    this.#fields = fields;
    if (fields !== NO_FIELDS) this.#body = new ShortBody(this.socket);
  }

  #unfold(): void {
    const given = { ...this };
    Object.setPrototypeOf(this, InboundRequest.prototype);
    initializeRequest.call(this, this.socket);
    Object.assign(this, given);
  }

  flowInto(sink: BodySink): void {
    this.#body?.flowInto(sink);
  }

  holdBody(): void {
    if (this.#body !== null) this.#body.held = true;
  }

  releaseBody(): void {
    this.#body?.release();
  }

  dropBody(): void {
    this.#body?.drop();
  }

  get bodyFlows(): boolean {
    return this.#body !== null && this.#body.waitingBytes === 0 && !this.#body.held;
  }

  // What node's server and parser call.

  push(chunk: Buffer | null): boolean {
    return this.#body?.push(chunk) ?? true;
  }

  /** For the end of a body that is still coming when its answer has left. */
  on(event: string, listener: (this: unknown) => void): this {
    if (event !== 'end' || this.#body === null) throw new Error(`unexpected listener to ${event}`);
    this.#body.onEnd = () => listener.call(this);
    return this;
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
Object.setPrototypeOf(ShortRequest.prototype, InboundRequest.prototype);
// node's own hooks, for an abort signal that nobody has asked for.
for (const hook of Object.getOwnPropertySymbols(IncomingMessage.prototype)) {
  Object.defineProperty(ShortRequest.prototype, hook, { value: () => undefined });
}

/** MessageClasses are options of the HTTP server. */
export interface MessageClasses {
  IncomingMessage: typeof InboundRequest;
  ServerResponse: typeof InboundResponse;
}

export const PUBLIC_MESSAGES: MessageClasses = {
  IncomingMessage: InboundRequest,
  ServerResponse: InboundResponse,
};

/** SHORT_MESSAGES need probeShortMessages and probeShortWrites to have returned true. They have node's types by their prototypes. */
export const SHORT_MESSAGES: MessageClasses = {
  IncomingMessage: ShortRequest as unknown as typeof InboundRequest,
  ServerResponse: ShortResponse as unknown as typeof InboundResponse,
};
