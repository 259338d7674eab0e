/**
 * The client's side of one request, as the proxy sees it: a head, a body that comes in, an answer that goes out. The
 * handler, the retries and the responder know nothing else of it, so that another protocol towards clients is another
 * adapter and not another proxy. Framing of the answer (lengths, chunks, `Connection`) is the adapter's business.
 *
 * A request is answered once: by `complete`, or by `start`, then any number of `write`, then `end`. `inform` comes before
 * either. `abort` may come at any time. The listener may hear onSent before `complete` or `end` returns.
 */

import type { RequestHead } from './request-head.ts';

/** ResponseStart is the head of an answer without its framing fields. */
export interface ResponseStart {
  /** 200–599. */
  status: number;
  reason: string;
  /** Lines `name: value`, each with CRLF; latin1. None of Connection, Keep-Alive, Content-Length, Transfer-Encoding. */
  lines: string;
  /** Exact bytes of the body, also where it is not sent (HEAD, 304); -1: not known. */
  contentLength: number;
  /** Whether body bytes follow. */
  hasBody: boolean;
  /** The connection ends after this answer, whatever the client asked for. */
  closing: boolean;
}

export interface Downstream {
  readonly head: RequestHead;
  /** Canonical address of the client; `unix:` for one on a Unix socket. */
  readonly peerAddress: string;
  /** Whether the head of the answer was handed over. */
  readonly started: boolean;

  /** listen names who hears of this request from now on; called once, before anything else. */
  listen(listener: DownstreamListener): void;

  /** readBody starts the flow of the request body: onRequestBody…, then onRequestBodyEnd. */
  readBody(): void;
  /** pauseBody stops it (one more chunk may be on its way) until resumeBody. */
  pauseBody(): void;
  resumeBody(): void;
  /** stopBody gives the rest of the body up: the listener hears nothing more of it. */
  stopBody(): void;

  /** continueBody sends `100 Continue` where the protocol and the request call for one. */
  continueBody(): void;
  /** inform passes on a 1xx answer, where the client's protocol knows them. */
  inform(status: number, lines: string): void;

  /**
   * start hands over the head of an answer whose body follows piece by piece. It, complete and inform throw
   * upstream_invalid where the engine finds a field that it cannot send.
   */
  start(head: ResponseStart): void;
  /** complete hands over a whole answer, which leaves in one write. `body` is latin1. */
  complete(head: ResponseStart, body: string): void;
  /** write sends a piece. true: all of it has left. false: the buffer is in use until onFlushed. */
  write(chunk: Buffer): boolean;
  /** end closes the answer. true: everything has left. false: onSent or onGone tells when the pieces before are out. */
  end(rawTrailers: string[]): boolean;
  /** abort cuts the client off so that an answer under way cannot be taken for a whole one. */
  abort(): void;
}

/** DownstreamListener hears about one request; it must not throw. Nothing follows onSent or onGone. */
export interface DownstreamListener {
  /**
   * The piece may be read until onRequestBody returns or, where pauseBody was called in it, until resumeBody; one that is smaller
   * than SMALL_PIECE_BYTES (http1/body-buffers.ts) until onRequestBody returns, whatever was called.
   */
  onRequestBody(piece: Buffer): void;
  onRequestBodyEnd(rawTrailers: string[]): void;
  /** The rest of the request cannot be read: its framing is broken. `status` is what it deserves. */
  onRequestBodyInvalid(status: number): void;
  /** Everything written so far has left. */
  onFlushed(): void;
  /** The client takes nothing of the answer any more; it is to be aborted. */
  onStalled(): void;
  /** The last byte of the answer has left. */
  onSent(): void;
  /** The client is gone before that. */
  onGone(): void;
}
