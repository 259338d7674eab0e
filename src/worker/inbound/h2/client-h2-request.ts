/** One stream of a connection, as the proxy sees it (Downstream). */
import type { ClientFacts, ResponseStart, SwitchedClient, TunnelEnd } from '../../../contract/downstream.ts';
import type { RequestHead } from '../../../contract/request-head.ts';
import { TRAILERS_MAX_BYTES } from '../../../http1/body-reader.ts';
import { withoutFields } from '../../../http1/field-lines.ts';
import { CODE, NO_BYTES } from '../../../http2/frames.ts';
import type { Session } from '../../../http2/session.ts';
import type { NoiseKind } from '../../../http2/session-host.ts';
import type { Stream } from '../../../http2/stream.ts';
import type { StreamEvents } from '../../../http2/stream-events.ts';
import { NOWHERE, type Placed } from '../../../infra/placed-list.ts';
import type { CountedMemory } from '../../../memory/pending-bytes.ts';
import { BaseRequest, mayHaveBody } from '../base-request.ts';
import { answerFields } from './answer-fields.ts';
import type { FloodGuard } from './flood-guard.ts';
import { StreamWire } from './stream-wire.ts';

/** Fields of a 101 that HTTP/2 does without (RFC 8441 §5). */
const SWITCH_NAMES: ReadonlySet<string> = new Set(['upgrade', 'sec-websocket-accept']);
const RESET_CONTENT = 205;

/** ClientH2RequestOwner is what a stream needs of its connection; implemented by ClientH2Connection. */
export interface ClientH2RequestOwner {
  readonly client: ClientFacts;
  readonly session: Session;
  /** Counts what the stream carries. */
  readonly floods: FloodGuard;
  /** The head of an answer was handed over. */
  onAnswering(): void;
  /** See SessionHost. It may end the connection. */
  onNoise(kind: NoiseKind): void;
}

/** ServedEvents hear of a stream: its request, or the wire of its tunnel. */
export interface ServedEvents extends StreamEvents {
  readonly request: ClientH2Request;
}

/** ClientH2Request is made by the connection for each stream. */
export class ClientH2Request extends BaseRequest<ClientH2RequestOwner> implements Placed, ServedEvents {
  place = NOWHERE;
  /** Written by lookAtAnswers: what `progress` was at its last change that was seen, and when (monotonic; 0: nothing is owed). */
  seenProgress = 0;
  progressMs = 0;
  /** Made by lookAtAnswers for an answer that is counted. */
  held: CountedMemory | null = null;
  readonly request: ClientH2Request = this;
  /** Monotonic. */
  readonly begunMs: number;

  readonly #stream: Stream;
  #isReading = false;
  /** Nobody wants the rest of the body. */
  #isUnwanted = false;
  #hasEnded = false;
  #bodyBytes = 0;
  #trailers: string[] = [];
  /** Of the piece that waits, which keeps all of its buffer. */
  #pieceMemoryBytes = 0;
  /** null: there is no tunnel, or it is over. */
  #wire: StreamWire<ClientH2Request> | null = null;

  constructor(head: RequestHead, stream: Stream, owner: ClientH2RequestOwner, begunMs: number) {
    super(head, owner);
    this.#stream = stream;
    this.begunMs = begunMs;
  }

  /** Whether something is owed to the client that has not left yet. An answer that is only a head does not count while the client still sends: that alone keeps the stream open. */
  get blocked(): boolean {
    const stream = this.#stream;
    if (!this.started || stream.isClosed) return false;
    const isUploading = !(stream.remoteEnded || this.#isUnwanted || this.over);
    return (this.ended && !isUploading) || stream.queuedBytes > 0;
  }

  /** Grows with what leaves of the answer, or of the tunnel: first into frames, and these with the connection. */
  get progress(): number {
    const { framedBytes, queuedBytes } = this.#stream;
    return queuedBytes > 0 ? framedBytes : this.owner.session.takenBytes;
  }

  /** The memory of what waits to leave, here and in the connection of the backend. */
  get heldMemoryBytes(): number {
    const { queuedBytes } = this.#stream;
    if (!this.waiting) return queuedBytes;
    return Math.max(queuedBytes, this.#pieceMemoryBytes) + (this.listener?.undeliveredBytes ?? 0);
  }

  /** The memory of what has come of the body and nobody has taken. */
  get unreadMemoryBytes(): number {
    return this.#stream.unreadMemoryBytes;
  }

  // The request body. The window of the stream grows only while its bytes are taken.

  readBody(): void {
    if (this.over || this.#isReading) return;
    this.#isReading = true;
    if (this.#hasEnded) this.listener?.onRequestBodyEnd(this.#trailers);
    else this.#stream.resume();
  }

  pauseBody(): void {
    this.#stream.pause();
  }

  resumeBody(): void {
    this.#stream.resume();
  }

  /** What is on its way is dropped, and the window stays closed; the client learns at the end of the answer that nobody wants it. */
  stopBody(): void {
    this.#isUnwanted = true;
    this.#stream.discard();
  }

  onData(piece: Buffer): void {
    this.owner.floods.received(piece.length);
    this.#bodyBytes += piece.length;
    const { bodyLength } = this.head;
    if (bodyLength >= 0 && this.#bodyBytes > bodyLength) this.#endMalformed();
    else if (!this.over) this.listener?.onRequestBody(piece);
  }

  onFields(fields: string[]): void {
    this.#trailers = fields;
    // As HTTP/1.1 counts them: `: ` behind each name, a line end behind each value.
    const byteCount = fields.join(': ').length + 2;
    if (byteCount > TRAILERS_MAX_BYTES && !this.over) this.listener?.onRequestBodyInvalid(431);
  }

  /** An END_STREAM with no bytes before it comes even while the stream is paused. */
  onEnd(): void {
    this.#hasEnded = true;
    if (this.over || this.#isUnwanted) return;
    if (this.#bodyBytes < this.head.bodyLength) this.#endMalformed();
    else if (this.#isReading) this.listener?.onRequestBodyEnd(this.#trailers);
  }

  /** The body is not as long as announced. That is as cheap for the client as a reset, and as dear for the backend. */
  #endMalformed(): void {
    this.#stream.reset(CODE.PROTOCOL_ERROR);
    this.owner.onNoise('reset');
  }

  protected override sendContinue(): void {
    this.sendInterim(100, '');
  }

  protected override sendInterim(status: number, lines: string): void {
    this.#stream.sendFields(answerFields(status, lines, -1), false);
  }

  // The answer.

  start(answer: ResponseStart): void {
    if (this.over) return;
    const hasBody = answer.hasBody && mayHaveContent(this.head.method, answer.status);
    // The stream may close before the backend has sent its end.
    this.ended = !hasBody;
    this.#respond(answer, !hasBody);
  }

  complete(answer: ResponseStart, body: string): void {
    if (this.over) return;
    const hasBody = body !== '' && mayHaveContent(this.head.method, answer.status);
    this.#respond(answer, !hasBody);
    if (hasBody) this.write(Buffer.from(body, 'latin1'));
    this.end([]);
  }

  #respond({ status, lines, contentLength }: ResponseStart, ends: boolean): void {
    this.started = true;
    this.#stream.sendFields(answerFields(status, lines, status === RESET_CONTENT ? -1 : contentLength), ends);
    this.owner.onAnswering();
  }

  write(chunk: Buffer): boolean {
    if (this.over || this.ended) return true;
    this.owner.floods.sent(chunk.length);
    if (this.#stream.write(chunk)) return true;
    this.waiting = true;
    this.#pieceMemoryBytes = chunk.buffer.byteLength;
    return false;
  }

  onDrain(): void {
    this.flushed();
  }

  end(rawTrailers: string[]): boolean {
    if (this.over) return true;
    this.ended = true;
    this.#stream.end(rawTrailers);
    if (this.#stream.remoteEnded) return false;
    // After a whole answer, a client that is still sending is told to stop (RFC 9113 §8.1).
    this.#isUnwanted = true;
    this.#stream.stopPeer();
    return false;
  }

  abort(): void {
    if (!this.over) this.#stream.reset(CODE.INTERNAL_ERROR);
  }

  override switchProtocols({ lines }: ResponseStart, tunnel: TunnelEnd): SwitchedClient {
    this.started = this.ended = this.over = true;
    const stream = this.#stream;
    const wire = new StreamWire(stream, tunnel.events, this.owner.floods, this.request);
    this.#wire = stream.events = wire;
    // The stream tells of its end once.
    if (this.#hasEnded) wire.onEnd();
    stream.sendFields(answerFields(200, withoutFields(lines, SWITCH_NAMES), -1), false);
    this.owner.onAnswering();
    // What came early waits in the stream.
    return { wire, takeEarly: () => NO_BYTES, onTunnelOver: () => (this.#wire = null) };
  }

  // Ends.

  onClosed(): void {
    // closed() follows.
  }

  /** closed is called by the connection when the stream is closed, whatever has closed it: our own reset too, of which onClosed does not tell. */
  closed(): void {
    this.waiting = false;
    if (this.#wire !== null) this.#wire.onClosed();
    else if (this.ended && this.#stream.isWhole) this.sent();
    else this.gone();
  }

  /** destroy is called by PendingMemory: answers hold too much in this worker. */
  destroy(): void {
    if (this.over) this.#stream.reset(CODE.CANCEL);
    else this.stalled();
  }

  /** A tunnel has a deadline of its own. When it is over, its end may wait for a client that takes nothing. */
  override stalled(): void {
    if (!this.over) super.stalled();
    else if (this.#wire === null) this.#stream.reset(CODE.CANCEL);
  }
}

/** mayHaveContent also knows that a 205 has none (RFC 9110 §15.3.6). HTTP/1.1 passes on what a backend sends with it. */
function mayHaveContent(method: string, status: number): boolean {
  return status !== RESET_CONTENT && mayHaveBody(method, status);
}
