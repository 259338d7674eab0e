/** One stream of a connection, as the proxy sees it (Downstream). */
import { constants, type ServerHttp2Stream } from 'node:http2';
import type { ClientFacts, ResponseStart, SwitchedClient, TunnelEnd } from '../../../contract/downstream.ts';
import { LbError } from '../../../contract/errors.ts';
import type { RequestHead } from '../../../contract/request-head.ts';
import { withoutFields } from '../../../http1/field-lines.ts';
import type { HeldBytes } from '../../../http1/pending-bytes.ts';
import { NOWHERE, type Placed } from '../../../infra/placed-list.ts';
import { BaseRequest, mayHaveBody } from '../base-request.ts';
import { answerFields, fieldObject } from './answer-fields.ts';
import type { FloodGuard } from './flood-guard.ts';
import { resetStream, StreamWire } from './stream-wire.ts';

/** Fields of a 101 that HTTP/2 does without (RFC 8441 §5). */
const SWITCH_NAMES: ReadonlySet<string> = new Set(['upgrade', 'sec-websocket-accept']);
const RESET_CONTENT = 205;
/** What came early waits in the stream. */
const NOTHING = Buffer.alloc(0);
/** A smaller piece of an answer is copied, so that the backend's connection reads on at once. */
const COPIED_MAX_BYTES = 16_384;
/** Copies that may wait for the client. */
const WAITING_MAX_BYTES = 65_536;
/** A larger piece is given to node in parts of this size: each that leaves shows that the client takes bytes. */
const PART_BYTES = 65_536;

/** Http2RequestOwner is what a stream needs of its connection; implemented by Http2Connection. */
export interface Http2RequestOwner {
  readonly client: ClientFacts;
  /** Counts what the stream carries. */
  readonly floods: FloodGuard;
  /** The head of an answer was handed over. */
  onAnswering(): void;
  /** The stream is closed. */
  onClosed(request: Http2Request): void;
}

/**
 * Let go when the stream is closed: node's table of streams, and so V8's old generation, may keep a closed stream until the next full
 * collection, with everything that hangs on it.
 */
const REQUEST = Symbol('request');

type OwnedStream = ServerHttp2Stream & { [REQUEST]?: Http2Request | null };

/** Http2Request is made by the connection for each stream. */
export class Http2Request extends BaseRequest<Http2RequestOwner> implements Placed {
  place = NOWHERE;
  /** Written by lookAtAnswers: what `progress` was at its last change that was seen, and when (monotonic; 0: nothing is owed). */
  seenProgress = 0;
  progressMs = 0;
  /** Made by lookAtAnswers for an answer that is counted. */
  held: HeldBytes | null = null;

  readonly #stream: ServerHttp2Stream;
  /** Whether more of the request may come. */
  #isReceiving: boolean;
  #reading = false;
  #stopped = false;
  #requestTrailers: string[] = [];
  /** The answer may have trailers, which node asks for at its end. */
  #mayHaveTrailers = false;
  #answerTrailers: string[] = [];
  /** What node has not been given yet of the last large piece. */
  #rest: Buffer | null = null;
  /** Of that piece, which keeps all of its buffer until its last part has left. */
  #pieceMemoryBytes = 0;
  /** Made with the first piece: most answers leave in one. */
  #onWritten: ((error?: Error | null) => void) | null = null;
  /** Parts of the answer that have left. */
  #parts = 0;
  #tunnel: TunnelEnd | null = null;
  #tunnelWire: StreamWire | null = null;

  constructor(head: RequestHead, hasEnded: boolean, stream: ServerHttp2Stream, owner: Http2RequestOwner) {
    super(head, owner);
    this.#stream = stream;
    this.#isReceiving = !hasEnded;
    (stream as OwnedStream)[REQUEST] = this;
    stream.on('close', onClose);
    // They may come before anybody reads the body.
    if (!hasEnded) stream.on('trailers', onTrailers);
  }

  takeTrailers(rawTrailers: string[]): void {
    this.#requestTrailers = rawTrailers;
  }

  /** Whether something is owed to the client that has not left yet. Behind an answer that is only a head, its upload may go on. */
  get blocked(): boolean {
    const isUploading = this.#isReceiving && !this.#stopped && !this.over;
    return this.started && ((this.ended && !isUploading) || this.waiting || this.#stream.writableLength > 0);
  }

  /** Grows with what has left of the answer, or of the tunnel. */
  get progress(): number {
    return this.#tunnelWire?.takenBytes ?? this.#parts;
  }

  /** The memory of what waits to leave, here and in the connection of the backend. */
  get heldBytes(): number {
    const bytes = this.#stream.writableLength + (this.#rest?.length ?? 0);
    if (!this.waiting) return bytes;
    return Math.max(bytes, this.#pieceMemoryBytes) + (this.listener?.undeliveredBytes ?? 0);
  }

  /** Bytes of the body that have come and that nobody has taken. */
  get unreadBytes(): number {
    return this.#isReceiving ? this.#stream.readableLength : 0;
  }

  // The request body. The window of the stream grows only while its bytes are taken.

  readBody(): void {
    if (this.over || this.#reading || !this.#isReceiving) return;
    this.#reading = true;
    this.#stream.on('data', onPiece);
    this.#stream.on('end', onEnd);
  }

  take(piece: Buffer): void {
    this.owner.floods.received(piece.length);
    if (!this.over && !this.#stopped) this.listener?.onRequestBody(piece);
  }

  takeEnd(): void {
    // node also ends the readable side of a stream that was reset.
    if (this.#stream.rstCode !== constants.NGHTTP2_NO_ERROR || this.#stream.aborted) return;
    this.#isReceiving = false;
    if (!this.over && !this.#stopped) this.listener?.onRequestBodyEnd(this.#requestTrailers);
  }

  pauseBody(): void {
    if (!this.#stopped) this.#stream.pause();
  }

  resumeBody(): void {
    if (!this.#stopped) this.#stream.resume();
  }

  /** The rest stays with the client, whose window stays closed; it learns at the end of the answer that nobody wants it. */
  stopBody(): void {
    this.#stopped = true;
    if (this.#reading) this.#stream.pause();
  }

  protected override sendContinue(): void {
    this.#inform(100, []);
  }

  protected override sendInterim(status: number, lines: string): void {
    this.#inform(status, answerFields(status, lines, -1).slice(2));
  }

  #inform(status: number, fields: string[]): void {
    if (this.#isClosed) return;
    try {
      this.#stream.additionalHeaders({ ...fieldObject(fields), ':status': status });
    } catch (thrown) {
      throw new LbError('upstream_invalid', `interim answer ${status} cannot be sent on`, { cause: thrown });
    }
  }

  // The answer.

  start(answer: ResponseStart): void {
    if (this.over) return;
    const hasBody = answer.hasBody && mayHaveContent(this.head.method, answer.status);
    // Over HTTP/2 an answer of a known length may have trailers too, which gRPC needs. To wait for them costs: the client
    // must want them.
    this.#mayHaveTrailers = hasBody && (answer.contentLength < 0 || this.head.wantsTrailers);
    this.#respond(answer, !hasBody);
    // The stream may close before the backend has sent its end.
    this.ended = !hasBody;
  }

  complete(answer: ResponseStart, body: string): void {
    if (this.over) return;
    const hasBody = body !== '' && mayHaveContent(this.head.method, answer.status);
    this.#respond(answer, !hasBody);
    this.ended = true;
    if (this.#isClosed) return;
    if (hasBody) {
      this.owner.floods.sent(body.length);
      this.#stream.end(body, 'latin1');
      this.#endRequest();
      // A reset in this turn of the loop would overtake a head that ends the stream.
    } else if (this.#isReceiving) setImmediate(() => this.#endRequest());
  }

  /** Sends the head. A client that has just left gets none, and `close` follows. */
  #respond({ status, lines, contentLength }: ResponseStart, endStream: boolean): void {
    this.started = true;
    if (this.#isClosed) return;
    const fields = answerFields(status, lines, status === RESET_CONTENT ? -1 : contentLength);
    try {
      this.#stream.respond(fields, { endStream, waitForTrailers: this.#mayHaveTrailers });
    } catch (thrown) {
      this.started = false;
      throw new LbError('upstream_invalid', 'answer has a field that cannot be sent on', { cause: thrown });
    }
    if (this.#mayHaveTrailers) this.#stream.on('wantTrailers', onWantTrailers);
    this.owner.onAnswering();
  }

  override switchProtocols({ lines }: ResponseStart, tunnel: TunnelEnd): SwitchedClient {
    this.started = this.ended = this.over = true;
    this.#tunnel = tunnel;
    const stream = this.#stream;
    // A stream that has just closed says so to its wire.
    if (!this.#isClosed) stream.respond(answerFields(200, withoutFields(lines, SWITCH_NAMES), -1));
    this.owner.onAnswering();
    const wire = new StreamWire(stream, tunnel.events, this.owner.floods);
    this.#tunnelWire = wire;
    return { wire, takeEarly: () => NOTHING, onTunnelOver: () => (this.#tunnel = this.#tunnelWire = null) };
  }

  /** The connection has ended. */
  override gone(): void {
    if (this.#tunnel !== null) this.#tunnel.events.onBroken(new Error('connection closed'));
    else super.gone();
  }

  /** destroy is called by PendingMemory: answers hold too much in this worker. */
  destroy(): void {
    if (this.#tunnel !== null) this.gone();
    else this.stalled();
  }

  /** A tunnel has a deadline of its own. When it is over, its end may wait for a client that takes nothing. */
  override stalled(): void {
    if (!this.over) super.stalled();
    else if (this.#tunnel === null) this.#stream.destroy();
  }

  write(chunk: Buffer): boolean {
    if (this.over || this.ended || this.#isClosed || chunk.length === 0) return true;
    this.owner.floods.sent(chunk.length);
    const stream = this.#stream;
    if (chunk.length <= COPIED_MAX_BYTES && stream.writableLength < WAITING_MAX_BYTES) {
      this.#give(Buffer.from(chunk));
      return true;
    }
    this.waiting = true;
    this.#rest = chunk;
    this.#pieceMemoryBytes = chunk.buffer.byteLength;
    this.#writePart();
    return false;
  }

  #writePart(): void {
    const rest = this.#rest;
    if (rest === null) return;
    const part = rest.length > PART_BYTES ? rest.subarray(0, PART_BYTES) : rest;
    this.#rest = part === rest ? null : rest.subarray(PART_BYTES);
    this.#give(part);
    if (this.#rest === null && this.ended) this.#endStream();
  }

  #give(piece: Buffer): void {
    this.#onWritten ??= (error) => this.#written(error ?? null);
    this.#stream.write(piece, this.#onWritten);
  }

  #written(error: Error | null): void {
    this.#parts += 1;
    // node also calls this for a stream that is destroyed, while its bytes may be on their way.
    if (error !== null || this.over || this.#stream.destroyed) return;
    if (this.#rest !== null) this.#writePart();
    else if (this.#stream.writableLength === 0) this.flushed();
  }

  end(rawTrailers: string[]): boolean {
    if (this.over || this.#isClosed) return true;
    this.ended = true;
    this.#answerTrailers = rawTrailers;
    // The backend may be lost while the client still reads what it sent.
    if (this.#rest === null) this.#endStream();
    return false;
  }

  #endStream(): void {
    this.#stream.end();
    if (!this.#mayHaveTrailers) this.#endRequest();
  }

  /** node sends the trailers with the next turn of the loop. */
  sendTrailers(): void {
    if (this.#isClosed) return;
    this.#stream.sendTrailers(fieldObject(this.#answerTrailers));
    if (this.#isReceiving) setImmediate(() => this.#endRequest());
  }

  /** After a whole answer, a client that is still sending is told to stop (RFC 9113 §8.1). */
  #endRequest(): void {
    if (!this.#isReceiving || this.#isClosed) return;
    this.#isReceiving = false;
    this.#stream.close(constants.NGHTTP2_NO_ERROR);
    // What came already is discarded; node keeps a stream with unread bytes for ever.
    this.#stopped = true;
    this.#stream.resume();
  }

  abort(): void {
    if (!this.over) resetStream(this.#stream, constants.NGHTTP2_INTERNAL_ERROR);
  }

  get #isClosed(): boolean {
    return this.#stream.closed || this.#stream.destroyed;
  }

  closed(): void {
    // nghttp2 closes a stream without a code once it has taken the last frame from it.
    const { rstCode } = this.#stream;
    if (this.ended && rstCode === constants.NGHTTP2_NO_ERROR && this.#rest === null) this.sent();
    else this.gone();
    this.owner.onClosed(this);
  }

  protected override get holdsMemory(): boolean {
    // node does not tell whether the write of a closed stream is over.
    return this.waiting;
  }
}

/** mayHaveContent also knows that a 205 has none (RFC 9110 §15.3.6). HTTP/1.1 passes on what a backend sends with it; node does not. */
function mayHaveContent(method: string, status: number): boolean {
  return status !== RESET_CONTENT && mayHaveBody(method, status);
}

// What node tells of a stream. A function of its own for each request would be made and dropped with it.

function onTrailers(this: OwnedStream, _headers: unknown, _flags: number, rawTrailers: string[] = []): void {
  this[REQUEST]?.takeTrailers(rawTrailers);
}

function onPiece(this: OwnedStream, piece: Buffer): void {
  this[REQUEST]?.take(piece);
}

function onEnd(this: OwnedStream): void {
  this[REQUEST]?.takeEnd();
}

function onWantTrailers(this: OwnedStream): void {
  this[REQUEST]?.sendTrailers();
}

function onClose(this: OwnedStream): void {
  const request = this[REQUEST];
  this[REQUEST] = null;
  request?.closed();
}
