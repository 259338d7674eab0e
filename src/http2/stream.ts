/**
 * One stream of a session (RFC 9113 §5): what it sends, and its end. What comes is the matter of stream-reading.ts.
 *
 * It is open until both sides have ended it (on a server: and every frame has left), one side has reset it, or the session ends. Reading begins
 * paused where the peer has opened it: its bytes wait, bounded by the window, until the owner resumes.
 *
 * localEnded    end() was called
 * #isEndFramed  END_STREAM is in a frame
 * remoteEnded   END_STREAM has come, or we told the peer to stop (isStopped)
 *
 * With the last two the stream closes whole.
 */
import { FRAMED_MAX_BYTES } from './frame-writer.ts';
import { CODE, FRAME } from './frames.ts';
import { NOBODY, type StreamEvents } from './stream-events.ts';
import { StreamReading } from './stream-reading.ts';

/** StreamOutput is what a stream sends with; implemented by SessionOutput. */
export interface StreamOutput {
  /** Frames DATA as far as both windows and the wire allow. @returns the bytes that are in frames */
  frameData(stream: Stream, piece: Buffer): number;
  /** Whether streams wait for their turn: another one must not overtake them. */
  readonly hasQueued: boolean;
  /** The stream has something to send that no frame could take. */
  awaitTurn(stream: Stream): void;
  frameFields(stream: Stream, fields: readonly string[], ends: boolean): void;
  /** Frames END_STREAM, if possible with the last DATA of the stream. */
  frameEnd(stream: Stream): void;
  /** Frames RST_STREAM with a code, or WINDOW_UPDATE with a number of bytes. */
  frameNumber(type: number, streamId: number, value: number): void;
}

/** StreamSession is what else a stream needs of its session; implemented by SessionStreams. */
export interface StreamSession {
  readonly output: StreamOutput;
  /** Both sides have ended it: on a server it closes when its frames have left, on a client at once. */
  closeEnded(stream: Stream): void;
  /** Closes the stream, and tells its owner. */
  close(stream: Stream, code: number): void;
  /** It is closed now, and its owner has heard it. */
  remove(stream: Stream): void;
}

const NO_PIECES: Buffer[] = [];

/** Stream is made by SessionStreams. */
export class Stream extends StreamReading {
  readonly id: number;
  /** The peer was told to stop. What was on its way comes still, and is dropped. */
  isStopped = false;
  /** The end of our side was given; it may wait to be framed. */
  localEnded = false;
  /** Both sides have ended, and all is in frames; on a server these have left. */
  isWhole = false;
  /** Bytes of DATA that are in frames. */
  framedBytes = 0;

  // Written by the session.
  /** The final head of the peer has come: what follows is a body and trailers. */
  hasHead = false;
  sendWindow: number;
  /** totalBytes of the writer before the last frame of DATA; -1: none. */
  lastDataAt = -1;

  readonly #session: StreamSession;
  readonly #output: StreamOutput;
  /** Pieces that no frame could take yet. Their owner bounds them: it stops when write() returns false. */
  #queue = NO_PIECES;
  #mustDrain = false;
  #trailers: readonly string[] = [];
  #isEndFramed = false;
  #stopsPeer = false;

  constructor(
    session: StreamSession,
    id: number,
    events: StreamEvents,
    { windowBytes, sendWindow, isPaused }: { windowBytes: number; sendWindow: number; isPaused: boolean },
  ) {
    super(events, windowBytes, isPaused);
    this.#session = session;
    this.#output = session.output;
    this.id = id;
    this.sendWindow = sendWindow;
  }

  protected override openWindow(byteCount: number): void {
    this.#output.frameNumber(FRAME.WINDOW_UPDATE, this.id, byteCount);
  }

  /** Bytes that write() was given and that are in no frame yet. */
  get queuedBytes(): number {
    let byteCount = 0;
    for (const piece of this.#queue) byteCount += piece.length;
    return byteCount;
  }

  /** sendFields sends a head, or an interim one, at once. */
  sendFields(fields: readonly string[], ends: boolean): void {
    if (this.isClosed || this.localEnded) return;
    if (ends) this.localEnded = this.#isEndFramed = true;
    this.#output.frameFields(this, fields, ends);
    if (ends) this.closeIfOver();
  }

  /** write sends a piece of the body. @returns true: its memory is free; false: it is in use until onDrain, also that of later ones */
  write(piece: Buffer): boolean {
    if (this.isClosed || this.localEnded || piece.length === 0) return true;
    const mustWait = this.#queue.length > 0 || this.#output.hasQueued;
    const framed = mustWait ? 0 : this.#output.frameData(this, piece);
    if (framed === piece.length) return true;
    const rest = framed === 0 ? piece : piece.subarray(framed);
    if (this.#queue === NO_PIECES) this.#queue = [rest];
    else this.#queue.push(rest);
    this.#mustDrain = true;
    this.#output.awaitTurn(this);
    return false;
  }

  /** end ends our side after all that was written. @param trailers name, value, name, value… */
  end(trailers: readonly string[] = []): void {
    if (this.isClosed || this.localEnded) return;
    this.localEnded = true;
    this.#trailers = trailers;
    if (this.#queue.length === 0) this.#frameEnd();
  }

  /** stopPeer tells the peer, behind our end, that nobody needs the rest of what it sends (RFC 9113 §8.1). The stream closes as whole. */
  stopPeer(): void {
    this.#stopsPeer = true;
    this.discard();
    if (this.#isEndFramed) this.closeIfOver();
  }

  /** reset ends the stream at once. Its owner hears nothing more. */
  reset(code: number): void {
    if (this.isClosed) return;
    this.#output.frameNumber(FRAME.RST_STREAM, this.id, code);
    this.close();
    this.discard();
    this.#session.remove(this);
    this.events = NOBODY;
  }

  /** Whether something waits to be sent that the window of this stream allows. */
  get canSend(): boolean {
    return this.#queue.length > 0 && this.sendWindow > 0;
  }

  /** sendQueued is called by the session when it is the turn of this stream. It frames one frame at most. */
  sendQueued(): void {
    const piece = this.#queue[0];
    if (piece === undefined) return;
    const part = piece.length > FRAMED_MAX_BYTES ? piece.subarray(0, FRAMED_MAX_BYTES) : piece;
    const framed = this.#output.frameData(this, part);
    if (framed < piece.length) {
      this.#queue[0] = piece.subarray(framed);
      return;
    }
    this.#queue.shift();
    if (this.#queue.length > 0) return;
    this.#queue = NO_PIECES;
    if (this.localEnded) this.#frameEnd();
    if (!this.#mustDrain || this.isClosed) return;
    this.#mustDrain = false;
    this.events.onDrain();
  }

  #frameEnd(): void {
    this.#isEndFramed = true;
    if (this.#trailers.length > 0) this.#output.frameFields(this, this.#trailers, true);
    else this.#output.frameEnd(this);
    this.closeIfOver();
  }

  // Ends.

  protected override closeIfOver(): void {
    if (this.isClosed || !this.#isEndFramed) return;
    if (!this.remoteEnded && this.#stopsPeer) {
      this.remoteEnded = this.isStopped = true;
      this.#output.frameNumber(FRAME.RST_STREAM, this.id, CODE.NO_ERROR);
    }
    if (this.remoteEnded) this.#session.closeEnded(this);
  }

  /** closeWhole is called when both sides have ended the stream and, on a server, its last frames have left. */
  closeWhole(): void {
    if (this.isClosed) return;
    this.isWhole = true;
    this.#session.close(this, CODE.NO_ERROR);
  }

  /** close is called by SessionStreams, or by reset(). It drops what waits to be sent; what has come whole can still be read. */
  close(): void {
    this.isClosed = true;
    this.#queue = NO_PIECES;
    this.stopReading();
  }
}
