/**
 * The two ways of a request through node:http's objects. The public way has node make an IncomingMessage, a stream, and a
 * ServerResponse for each: some 100 fields, five listeners and two turns through its queue of ticks, of which a request
 * without a body and an answer of one piece need next to nothing. The short way gives node lighter objects in their place
 * (its options `IncomingMessage` and `ServerResponse`), which become the real ones as soon as more is asked of them: a body,
 * an expectation, an interim answer. What node calls on them is written nowhere, so they are used only where
 * probeShortMessages (short-probe.ts) has seen, at the start of the process, that they do (figures: docs/architecture.md).
 */
import { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { InboundResponse } from './inbound-response.ts';
import { ShortResponse } from './short-response.ts';

/** What node's constructor is underneath; it is called on an object that begins as something lighter. */
const initializeRequest = IncomingMessage as unknown as (this: object, ...given: unknown[]) => void;

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
