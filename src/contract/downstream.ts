/**
 * The client's side of one request, as the proxy sees it: a head, a body that comes in, an answer that goes out. An engine
 * implements it, and frames the answer (lengths, chunks, `Connection`).
 *
 * A request is answered once: by `complete`, or by `start`, then any number of `write`, then `end`, or by `switchProtocols`.
 * `inform` comes before any of them. `abort` may come at any time. The listener may hear onSent before `complete` or `end` returns.
 */
import type { RequestHead } from './request-head.ts';
import type { Wire, WireEvents } from './wire.ts';

/** Whoever is given a smaller piece of a body copies it before returning: the next read may overwrite it. */
export const SMALL_PIECE_BYTES = 1024;

/** ResponseStart is the head of an answer without its framing fields. */
export interface ResponseStart {
  /** 200–599; 101 for switchProtocols. */
  status: number;
  reason: string;
  /** Lines `name: value`, each with CRLF; latin1. None of Connection, Keep-Alive, Content-Length, Transfer-Encoding. */
  lines: string;
  /** Exact bytes of the body, even if it is not sent (HEAD, 304); -1: not known. */
  contentLength: number;
  /** Whether body bytes follow. */
  hasBody: boolean;
  /** The connection ends after this answer, whatever the client asked for. */
  closing: boolean;
}

/**
 * ConnectionEnds are both ends of a client's TCP connection: those of node's socket, or what a PROXY header says. All of them are
 * undefined on a Unix socket.
 */
export interface ConnectionEnds {
  readonly remoteAddress?: string | undefined;
  readonly remotePort?: number | undefined;
  readonly localAddress?: string | undefined;
  readonly localPort?: number | undefined;
}

/** ClientFacts is what the connection of a client says about its requests; one object per connection. */
export interface ClientFacts {
  /** Canonical address of the client; `unix:` for one on a Unix socket. */
  readonly address: string;
  /** `https` where Sluice ends the client's TLS. */
  readonly scheme: 'http' | 'https';
  /** Subject of the client's verified certificate; null without one. */
  readonly certSubject: string | null;
  /** When its connection was accepted; monotonic. */
  readonly acceptedMs: number;
  /** For backends that are told of it. To read them may cost a system call. */
  readonly ends: ConnectionEnds;
}

/** TunnelEnd is what a client's connection needs of the tunnel that owns its wire (proxy/tunnel). */
export interface TunnelEnd {
  /** Hears of the wire. */
  readonly events: WireEvents;
  /** cut is called when the server closes the connection: the tunnel ends at once. */
  cut(): void;
}

/** SwitchedClient is the connection of a client that has switched protocols. */
export interface SwitchedClient {
  /** Belongs to the tunnel, which resumes reading. */
  readonly wire: Wire;
  /** takeEarly is what the client sent before the switch; its memory belongs to the caller. Called once. */
  takeEarly(): Buffer;
  /** onTunnelOver is called once, when the tunnel has closed the wire. */
  onTunnelOver(): void;
}

export interface Downstream {
  readonly head: RequestHead;
  readonly client: ClientFacts;
  /** Whether the head of the answer was handed over. */
  readonly started: boolean;
  /** Whether a body of known length has come whole, together with the head; false where that is not known. */
  readonly bodyIsHere: boolean;

  /** listen sets who hears of this request; called once, before anything else. */
  listen(listener: DownstreamListener): void;

  /** readBody starts the request body: any number of onRequestBody, then onRequestBodyEnd. */
  readBody(): void;
  /** pauseBody stops it until resumeBody; one more piece may follow. */
  pauseBody(): void;
  resumeBody(): void;
  /** stopBody gives up the rest of the body; the listener hears nothing more of it. */
  stopBody(): void;

  /** continueBody sends `100 Continue` if the client waits for it. */
  continueBody(): void;
  /** inform passes on a 1xx answer; not called for HTTP/1.0, which has none. */
  inform(status: number, lines: string): void;

  /**
   * start hands over the head of an answer whose body follows piece by piece. start, complete and inform throw
   * upstream_invalid if the engine cannot send one of the fields.
   */
  start(head: ResponseStart): void;
  /** complete hands over a whole answer, which leaves in one write. `body` is latin1. */
  complete(head: ResponseStart, body: string): void;
  /** write sends a piece. true: its memory is free. false: it is in use until onFlushed. */
  write(chunk: Buffer): boolean;
  /** end closes the answer. true: everything has left. false: onSent or onGone tells when earlier pieces have. */
  end(rawTrailers: string[]): boolean;
  /**
   * switchProtocols hands over the head of a 101 with its `Upgrade`, in place of any other answer, and the connection with it: the
   * listener hears nothing more. Called only where the head has `upgrade`.
   */
  switchProtocols(head: ResponseStart, tunnel: TunnelEnd): SwitchedClient;
  /** abort cuts the connection so that the client cannot take an answer under way for a whole one. */
  abort(): void;
}

/**
 * DownstreamListener hears about one request; it must not throw. Nothing follows onSent or onGone: then the memory of all pieces of
 * the answer is free.
 */
export interface DownstreamListener {
  /** Memory of what the backend has sent already, for which write() is called only after onFlushed. */
  readonly undeliveredBytes: number;
  /**
   * The piece may be read until onRequestBody returns or, if pauseBody was called in it, until resumeBody. A piece smaller than
   * SMALL_PIECE_BYTES may be read until onRequestBody returns, whatever was called.
   */
  onRequestBody(piece: Buffer): void;
  onRequestBodyEnd(rawTrailers: string[]): void;
  /** The rest of the request cannot be read, because its framing is broken. `status` is that of the answer to it. */
  onRequestBodyInvalid(status: number): void;
  /** Everything written so far has left. */
  onFlushed(): void;
  /** The client has read nothing of the answer for a quarter of a second or more (HTTP/2: a second); may come again. */
  onSlow(): void;
  /** The client has stopped reading; the listener should abort the answer. */
  onStalled(): void;
  /** The last byte of the answer has left. */
  onSent(): void;
  /** The client left before that. */
  onGone(): void;
}
