/**
 * One request at one backend, as the proxy sees it: what it gives to the upstream client, and what it gets back.
 *
 * Order of the calls on a sink: onConnected at most once, onInformation any number of times, onHead or onSwitch once; then, unless
 * onHead carried the whole body, onBody any number of times and onEnd once. onError may come at any point and is the last call. A sink
 * must not throw. If one does, its request ends as internal_error, or with what it threw where the backend is the cause;
 * other requests go on.
 */

import type { ConnectionEnds } from '../contract/downstream.ts';
import { LbError, toError } from '../contract/errors.ts';
import type { Wire } from '../contract/wire.ts';
import type { BodyBuffers } from '../memory/body-buffers.ts';

export interface UpstreamRequest {
  /** Upper-case token. */
  method: string;
  /** Origin-form, or `*` for OPTIONS; the client's bytes as latin1. */
  target: string;
  /** All header lines but the framing ones, `Host` first, each with CRLF; latin1. */
  headerLines: string;
  /** NO_BODY: no framing line. CHUNKED_BODY, or the exact length: 0 writes `Content-Length: 0`. */
  bodyLength: number;
  /** The protocol that a 101 may switch to, for `Upgrade`; '' for none. Only a request without a body has one. */
  upgrade: string;
  /** Those of the client's connection, for a PROXY header. */
  ends?: ConnectionEnds;
  /** A gRPC call: trailers of its answer are metadata. Default false. */
  isGrpc?: boolean;
  /** Of an earlier attempt: see Exchange.begun. */
  begun?: BegunBody | null;
}

/**
 * BegunBody is what was taken of a request body of which a backend has processed nothing. Another attempt at the same pool
 * sends it.
 */
export interface BegunBody {
  /** Whether all of it is kept. */
  readonly isKept: boolean;
}

/** ResponseHead is made by the parser, one per head. Texts are latin1. */
export class ResponseHead {
  /** 100–599; onHead gets 200–599, onSwitch 101. */
  status = 0;
  /** The backend's, without control bytes. */
  reason = '';
  /** Lines as they came, each with CRLF; without hop-by-hop fields, Content-Length and what `Connection` names (B24). */
  lines = '';
  /** -1 where the backend gave none. HEAD and 304 may carry one without a body. */
  contentLength = -1;
  /** Whether body bytes follow. */
  hasBody = false;
  hasDate = false;
  hasRequestId = false;
  /** Of a 101: the value of Upgrade, where Connection names it; else ''. */
  upgrade = '';
}

/** Interim answers to one request. */
export const INTERIM_MAX_COUNT = 16;

export interface ResponseSink {
  /** Body bytes may be sent now. Only for a request with a body whose connection had to be opened. */
  onConnected(): void;
  /** A 1xx response other than 101. */
  onInformation(status: number, lines: string): void;
  /**
   * @param completeBody the whole body as latin1 ('' for none), where it is small and came with the head: the exchange is
   *   over, its connection may already serve the next one, and neither onBody nor onEnd follows. null: they follow.
   */
  onHead(head: ResponseHead, completeBody: string | null): void;
  /**
   * A 101 to a request with `upgrade`. The exchange is over, and its wire belongs to the sink, which closes it or hands it to
   * another owner before it returns. @param rest what came behind the head; valid until onSwitch returns
   */
  onSwitch(head: ResponseHead, wire: Wire, rest: Buffer): void;
  /** A piece of body. true: all of it has left. false: the connection stops reading and leaves the memory alone until resume(). */
  onBody(chunk: Buffer): boolean;
  /** The body is complete. false: earlier pieces are still on their way, and the sink calls settled() later. */
  onEnd(rawTrailers: string[]): boolean;
  /** writeBody may be called again after it returned false. */
  onRequestDrain(): void;
  onError(error: LbError): void;
}

/** BackendConnections is all that a worker has open to one backend; the plan makes one per backend, attempts start requests on it. */
export interface BackendConnections {
  /** Connections that are not closed. */
  readonly openCount: number;
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
  /** Set before onError, where another attempt may take the body over. */
  begun: BegunBody | null = null;

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
