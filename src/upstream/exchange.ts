/**
 * The two ends of one request at one backend: what the proxy gives to the upstream client, and what it gets back.
 *
 * Order of calls on a sink: onConnected at most once, any number of onInformation, onHead once, then (unless onHead carried the
 * complete body) any number of onBody and one onEnd. onError ends it at any point and nothing follows. Sinks never
 * throw; the connection guards against it all the same.
 */
import type { LbError } from '../contract/errors.ts';

export interface UpstreamRequest {
  /** Upper-case token. */
  method: string;
  /** Origin-form, or `*` for OPTIONS; the client's bytes (latin1). */
  target: string;
  /** Every header line but the framing ones, `Host` first, each ended by CRLF; latin1. */
  headerLines: string;
  /** NO_BODY: no framing line; CHUNKED_BODY; or the exact length (0 writes `Content-Length: 0`). */
  bodyLength: number;
}

export interface ResponseHead {
  /** 200–599. */
  status: number;
  /** As the backend sent it, without control bytes. */
  reason: string;
  /**
   * Lines `name: value`, each with CRLF; latin1. Names and values as sent; hop-by-hop fields, `Content-Length` and every
   * field named by `Connection` (but protected ones) already left out.
   */
  lines: string;
  /** -1 where the backend gave none. HEAD and 304 may carry one without a body. */
  contentLength: number;
  /** Whether body bytes follow at all. */
  hasBody: boolean;
  hasDate: boolean;
  hasRequestId: boolean;
}

export interface ResponseSink {
  /** Only for a request with a body whose connection had to be opened: body bytes may be sent now. */
  onConnected(): void;
  /** A 1xx other than 101; forwarded to HTTP/1.1 clients. */
  onInformation(status: number, lines: string): void;
  /**
   * @param completeBody the whole body as latin1 when it came with the head and is small ('' for none): the exchange
   *   is over, its connection may already serve the next one, and neither onBody nor onEnd follows. null: they follow.
   */
  onHead(head: ResponseHead, completeBody: string | null): void;
  /**
   * A piece of body, valid until the sink has passed it on. true: every byte has left (the buffer may be read into at
   * once). false: the connection stops reading and leaves the buffer alone until exchange.resume().
   */
  onBody(chunk: Buffer): boolean;
  /**
   * The body is complete; trailers that may not pass (RFC 9110 §6.5.1) are left out already. false: chunks given before are
   * still on their way; the sink calls exchange.settled() later.
   */
  onEnd(rawTrailers: string[]): boolean;
  /** writeBody may be called again after it returned false. */
  onRequestDrain(): void;
  onError(error: LbError): void;
}

/** UpstreamExchange is the sink's handle on a request under way. Every call after the end is a no-op. */
export interface UpstreamExchange {
  /** Whether the connection had served a request before (B10). */
  readonly reused: boolean;
  /** Whether the connection is open: a request with a body that finds it so hears no onConnected. */
  readonly connected: boolean;
  /**
   * Sends a piece of request body; framing is added here. true: its memory is free again. false: stop until onRequestDrain,
   * and leave the memory alone until then, unless the piece is smaller than SMALL_PIECE_BYTES.
   */
  writeBody(chunk: Buffer): boolean;
  /** Trailers that may not pass are left out here. */
  endBody(rawTrailers: string[]): void;
  /** The sink passed on all it was given: read on. */
  resume(): void;
  /** After onEnd returned false: nobody reads from the memory of the last pieces any more. */
  settled(): void;
  /**
   * Ends the exchange and its connection: client abort, early refusal, drain cut. The sink hears nothing more.
   * @param options memoryIsFree: the client is gone, so nobody reads from the pieces it was handed
   */
  destroy(options: { memoryIsFree: boolean }): void;
}
