/**
 * One request at one backend, as the proxy sees it: what it gives to the upstream client, and what it gets back.
 *
 * Order of the calls on a sink: onConnected at most once, onInformation any number of times, onHead or onSwitch once; then, unless
 * onHead carried the whole body, onBody any number of times and onEnd once. onError may come at any point and is the last call. A sink
 * must not throw. If one does, its request ends as internal_error, or with what it threw where the backend is the cause;
 * other requests go on.
 */
import type { ConnectionEnds } from '../contract/downstream.ts';
import type { LbError } from '../contract/errors.ts';
import type { Wire } from '../contract/wire.ts';
import type { KeptBody } from './kept-body.ts';

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
  /** What was taken of the body so far; shared by all attempts. Absent: it cannot be sent again. */
  kept?: KeptBody | null;
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
