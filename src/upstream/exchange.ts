/** One request at one backend: the proxy's handle on it, and what carries it. */
import { LbError, toError } from '../contract/errors.ts';
import type { BodyBuffers } from '../memory/body-buffers.ts';
import type { ResponseSink, UpstreamRequest } from './upstream-request.ts';

/** BackendConnections is all that a worker has open to one backend; the plan makes one per backend, attempts start requests on it. */
export interface BackendConnections {
  /** Connections that are not closed. */
  readonly openCount: number;
  /** Those that wait for a request, and can be closed for one at another backend. With HTTP/2 none. */
  readonly parkedCount: number;
  /** Whether each request needs a connection of its own. */
  readonly isExclusive: boolean;
  /** closeParked closes the one that has been parked for longest. @returns whether there was one */
  closeParked(): boolean;
  /** start sends a request; the sink hears nothing before it has returned. @param options fresh: on a new connection (B10) */
  start(request: UpstreamRequest, sink: ResponseSink, options: { fresh: boolean }): Exchange;
  /** close closes the idle connections; the others finish their requests and close. Idempotent. */
  close(): void;
}

/** ExchangeOwner carries an exchange: a connection of HTTP/1.1, or a request of HTTP/2. */
export interface ExchangeOwner {
  /** Memory of what has come and waits for resume(); absent: all that waits is in the kernel. */
  readonly undeliveredBytes?: number;
  /** Whether all of the answer has come, and the sink has not taken all of it yet; absent: not known. */
  readonly whole?: boolean;
  writeBody(chunk: Buffer): boolean;
  endBody(rawTrailers: string[]): void;
  resume(): void;
  /** Ends it; over HTTP/1.1 its connection too. @param memoryIsFree whether nobody reads any more what the sink was given */
  close(options: { memoryIsFree: boolean }): void;
}

/** What all exchanges of a pool have in common. */
export interface ExchangeSettings {
  /** One per worker: it bounds the large buffers. */
  buffers: BodyBuffers;
  /** Is told what sinks threw. */
  onFault: (error: Error) => void;
}

/** Exchange is the proxy's handle on one request. After its end its calls do nothing: a connection may serve another request. */
export class Exchange {
  /** Whether the connection was open before this request (B10). */
  readonly reused: boolean;
  readonly sink: ResponseSink;
  /** Whether the connection is open; written by the owner. A request with a body that finds it so hears no onConnected. */
  connected: boolean;

  readonly #shared: ExchangeSettings;
  /** null from the end on. */
  #owner: ExchangeOwner | null;
  /** The memory of a complete response whose last bytes are still on their way to the client. */
  #held: Buffer<ArrayBuffer> | null = null;

  constructor(owner: ExchangeOwner, sink: ResponseSink, reused: boolean, shared: ExchangeSettings) {
    this.#owner = owner;
    this.sink = sink;
    this.reused = this.connected = reused;
    this.#shared = shared;
  }

  // Called by the proxy.

  /** writeBody sends a piece of request body; see RequestSender.write. After false, onRequestDrain says when to go on. */
  writeBody(chunk: Buffer): boolean {
    return this.#owner?.writeBody(chunk) ?? true;
  }

  /** endBody ends the request body. Trailers that may not pass are left out. */
  endBody(rawTrailers: string[]): void {
    this.#owner?.endBody(rawTrailers);
  }

  /** resume is called when the sink has passed on everything after onBody returned false. */
  resume(): void {
    this.#owner?.resume();
  }

  /** See ExchangeOwner. */
  get undeliveredBytes(): number {
    return this.#owner?.undeliveredBytes ?? 0;
  }

  /** See ExchangeOwner. */
  get whole(): boolean {
    return this.#owner?.whole ?? false;
  }

  /** settled is called when the last pieces have left after onEnd returned false. */
  settled(memoryIsFree = true): void {
    this.#shared.buffers.release(this.#held, memoryIsFree);
    this.#held = null;
  }

  /** destroy ends the exchange; the sink hears nothing more. @param options see ExchangeOwner.close */
  destroy(options: { memoryIsFree: boolean }): void {
    if (this.#owner !== null) this.#owner.close(options);
    else this.settled(options.memoryIsFree);
  }

  // Called by its owner.

  /** Whether the owner still serves it. */
  get live(): boolean {
    return this.#owner !== null;
  }

  /** detach ends it, whatever the outcome. @param held memory that the sink may still read */
  detach(held: Buffer<ArrayBuffer> | null): void {
    this.#owner = null;
    this.#held = held;
  }

  /** askForBody tells the sink that it may send body bytes: for the first time, or again. */
  askForBody(event: 'onConnected' | 'onRequestDrain'): void {
    try {
      this.sink[event]();
    } catch (thrown) {
      this.fault(thrown);
    }
  }

  /** complete tells the sink that the body is complete. */
  complete(rawTrailers: string[]): void {
    try {
      if (this.sink.onEnd(rawTrailers)) this.settled();
    } catch (thrown) {
      this.fault(thrown);
    }
  }

  /** fail tells the sink why the response does not come. */
  fail(error: LbError): void {
    try {
      this.sink.onError(error);
    } catch (thrown) {
      this.#shared.onFault(toError(thrown));
    }
  }

  /**
   * fault ends the exchange because its sink has thrown: an error of the backend, where what it said cannot be sent on, or a
   * fault.
   */
  fault(thrown: unknown): void {
    this.#owner?.close({ memoryIsFree: false });
    this.settled(false);
    if (thrown instanceof LbError && thrown.source === 'upstream') {
      this.fail(thrown);
      return;
    }
    const cause = toError(thrown);
    this.#shared.onFault(cause);
    this.fail(new LbError('internal_error', `response sink threw: ${cause.message}`, { cause }));
  }
}
