/**
 * The body of a light request (short-messages.ts): pieces from the parser to whoever reads them, with the flow control of
 * node's stream and no stream. As there, a piece goes on within the parser's call where nothing waits before it, and what is
 * started again starts a tick later.
 */
import type { Socket } from 'node:net';
import type { BodySink } from './inbound-request.ts';

/** What may wait before the socket is no longer read; the parser's last piece comes on top. */
const WAITING_MAX_BYTES = 65_536;

/** node's own mark of a socket that is not to be read, because its client takes no answers. */
interface PausableSocket extends Socket {
  _paused?: boolean;
}

/** ShortBody is one per light request that has a body. */
export class ShortBody {
  /** The end was passed on. */
  ended = false;
  /** Wants no more for now. */
  held = false;
  waitingBytes = 0;
  /** node's, for the end of a body that outlives its answer. */
  onEnd: (() => void) | null = null;

  readonly #socket: PausableSocket;
  #sink: BodySink | null = null;
  #waiting: Buffer[] = [];
  /** Nothing more comes. */
  #complete = false;
  /** Somebody reads it, or nobody will. */
  #claimed = false;
  #starting = false;
  /** Its reader has had its first tick. */
  #flowing = false;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  /** push is the parser's; null: it was all. false: no more for now, if there is a way to say so. */
  push(chunk: Buffer | null): boolean {
    if (chunk === null) {
      this.#complete = true;
      if (this.#claimed) this.#start();
      return false;
    }
    if (this.#flowing && !this.held && this.waitingBytes === 0) {
      this.#sink?.onPiece(chunk);
      return true;
    }
    this.#waiting.push(chunk);
    this.waitingBytes += chunk.length;
    return this.waitingBytes < WAITING_MAX_BYTES;
  }

  flowInto(sink: BodySink): void {
    this.#sink = sink;
    this.#claimed = true;
    this.#start();
  }

  release(): void {
    if (!this.held) return;
    this.held = false;
    this.#start();
  }

  /** drop reads the rest into nothing. */
  drop(): void {
    this.#claimed = true;
    this.#start();
  }

  #start(): void {
    if (this.#starting || this.ended) return;
    this.#starting = true;
    process.nextTick(flow, this);
  }

  /** Called a tick after something has changed. */
  flow(): void {
    this.#starting = false;
    this.#flowing = true;
    while (!this.held) {
      const chunk = this.#waiting.shift();
      if (chunk === undefined) break;
      this.waitingBytes -= chunk.length;
      this.#sink?.onPiece(chunk);
      // The end belongs to the last piece, whatever the reader wants after it.
      if (this.#complete && this.#waiting.length === 0) this.#end();
    }
    if (!this.#complete) this.#readOn();
    else if (!this.held) this.#end();
  }

  #readOn(): void {
    const socket = this.#socket;
    if (this.waitingBytes >= WAITING_MAX_BYTES || socket._paused === true) return;
    if (socket.readable) socket.resume();
  }

  #end(): void {
    if (this.ended) return;
    this.ended = true;
    this.#sink?.onEnd();
    this.onEnd?.();
  }
}

function flow(body: ShortBody): void {
  body.flow();
}
