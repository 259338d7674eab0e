/**
 * The streams of a session, and the frames that belong to them: heads, DATA, windows and resets. What breaks the protocol ends the
 * connection (Http2Error) or the stream (RST_STREAM). It owns the table of streams, the field blocks, and what may come in DATA.
 */
import { FieldBlocks } from './field-blocks.ts';
import { requestProblem, responseProblem, trailerProblem } from './field-rules.ts';
import type { DataSink } from './frame-reader.ts';
import {
  CODE,
  FLAG,
  FRAME,
  type Frame,
  flowError,
  Http2Error,
  INITIAL_WINDOW_BYTES,
  protocolError,
  sizeError,
  WINDOW_MAX_BYTES,
} from './frames.ts';
import type { NoiseKind, SessionHost, SessionOptions } from './session-host.ts';
import type { SessionOutput } from './session-output.ts';
import { Stream, type StreamSession } from './stream.ts';
import { NOBODY, type StreamEvents } from './stream-events.ts';
import { StreamTable } from './stream-table.ts';

const ONE = 49;

/** SessionStreams is owned by a Session. */
export class SessionStreams implements StreamSession, DataSink {
  readonly output: SessionOutput;
  readonly #options: SessionOptions;
  readonly #host: SessionHost;
  readonly #blocks: FieldBlocks;
  readonly #streams = new StreamTable();
  #nextId = 1;
  /** The newest stream of the peer that has begun, and the last one that became a request. */
  #newestPeerId = 0;
  #lastServedId = 0;
  /** Later streams of the peer are ignored: we have sent GOAWAY. */
  #goawayId = Number.POSITIVE_INFINITY;
  /** The peer's SETTINGS_INITIAL_WINDOW_SIZE. */
  #peerWindowBytes = INITIAL_WINDOW_BYTES;
  /** Came since the window of the connection was opened last. */
  #creditBytes = 0;
  /** The stream of the DATA under way; null: it is closed. */
  #dataStream: Stream | null = null;
  #dataFlags = 0;
  /** Of its payload, what has not come as a piece. */
  #dataBytes = 0;

  constructor(output: SessionOutput, options: SessionOptions, host: SessionHost) {
    this.output = output;
    this.#options = options;
    this.#host = host;
    this.#blocks = new FieldBlocks(options);
  }

  get count(): number {
    return this.#streams.size;
  }

  /** The stream of a block of fields that has begun and is not whole: CONTINUATION must be next. 0: none. */
  get openBlockId(): number {
    return this.#blocks.streamId;
  }

  /** The memory of that block. */
  get unreadMemoryBytes(): number {
    return this.#blocks.unreadMemoryBytes;
  }

  /** open begins a stream of ours. */
  open(fields: readonly string[], ends: boolean, events: StreamEvents): Stream {
    const stream = this.#newStream(this.#nextId, events, false);
    this.#nextId += 2;
    stream.sendFields(fields, ends);
    return stream;
  }

  // Heads and trailers.

  onHeaders(frame: Frame): void {
    const { streamId } = frame;
    const { isServer } = this.#options;
    if (streamId === 0) throw protocolError('HEADERS on stream 0');
    if (streamId % 2 === 0 || (!isServer && streamId >= this.#nextId))
      throw protocolError('HEADERS on a stream that nobody opened');
    const stream = this.#streams.get(streamId);
    if (stream?.remoteEnded && !stream.isStopped)
      throw new Http2Error(CODE.STREAM_CLOSED, 'HEADERS after the end of a stream');
    if (this.#blocks.begin(frame)) this.#onBlock();
  }

  onContinuation(frame: Frame): void {
    const { streamId } = frame;
    if (streamId === 0 || streamId !== this.#blocks.streamId) throw protocolError('CONTINUATION of nothing');
    if (this.#blocks.isFull) {
      this.#host.onNoise('continuation');
      throw new Http2Error(CODE.ENHANCE_YOUR_CALM, 'a head in too many frames');
    }
    if (this.#blocks.add(frame)) this.#onBlock();
  }

  /** A whole block of fields has come. It must be decoded whatever becomes of it: the tables of both sides stay in step. */
  #onBlock(): void {
    const { streamId, ends } = this.#blocks;
    const fields = this.#blocks.decode();
    const { isMalformed } = this.#blocks;
    const stream = this.#streams.get(streamId);
    if (stream?.isStopped) return;
    if (stream !== undefined) this.#onMoreFields(stream, isMalformed ? null : fields, ends);
    else if (streamId > this.#newestPeerId && this.#options.isServer)
      this.#onNewStream(streamId, fields, ends, isMalformed);
    // The stream is closed. We may have reset it a moment ago, but too many of these are a flood.
    else this.#host.onNoise('invalid_frames');
  }

  #onNewStream(streamId: number, fields: string[] | null, ends: boolean, isMalformed: boolean): void {
    this.#newestPeerId = streamId;
    if (streamId > this.#goawayId) return;
    if (fields === null) {
      this.output.frameNumber(FRAME.RST_STREAM, streamId, CODE.ENHANCE_YOUR_CALM);
      this.#host.onNoise('oversized_heads');
    } else if (isMalformed || requestProblem(fields, ends) !== null) {
      this.output.frameNumber(FRAME.RST_STREAM, streamId, CODE.PROTOCOL_ERROR);
      this.#host.onNoise('invalid_frames');
    } else if (this.#isFull) {
      this.output.frameNumber(FRAME.RST_STREAM, streamId, CODE.REFUSED_STREAM);
      this.#host.onNoise('invalid_frames');
    } else {
      this.#lastServedId = streamId;
      const stream = this.#newStream(streamId, NOBODY, true);
      stream.hasHead = true;
      stream.remoteEnded = ends;
      this.#host.onStream?.(stream, fields, ends);
    }
  }

  /**
   * Whether the peer has opened all the streams that it may. Streams whose last frames wait to leave do not count, up to as many again:
   * the peer may have read those frames and opened others.
   */
  get #isFull(): boolean {
    const { maxStreams } = this.#options;
    const { size } = this.#streams;
    return size - this.output.leavingCount >= maxStreams || size >= 2 * maxStreams;
  }

  /** Trailers; of a backend also heads. @param fields null: malformed, or above the limits */
  #onMoreFields(stream: Stream, fields: string[] | null, ends: boolean): void {
    if (fields === null || problemOf(stream, fields, ends) !== null) {
      this.#failStream(stream, CODE.PROTOCOL_ERROR, 'invalid_frames');
      return;
    }
    if (!stream.hasHead) stream.hasHead = !isInterim(fields);
    stream.takeFields(fields, ends);
  }

  /** The peer has broken the protocol in one stream. Counted as noise: else a client could make us begin work and drop it for nothing. */
  #failStream(stream: Stream, code: number, kind: NoiseKind): void {
    this.output.frameNumber(FRAME.RST_STREAM, stream.id, code);
    this.close(stream, code);
    this.#host.onNoise(kind);
  }

  onReset({ streamId, payload, from, byteCount }: Frame): void {
    if (byteCount !== 4) throw sizeError('RST_STREAM');
    if (this.#isIdle(streamId)) throw protocolError('RST_STREAM on an idle stream');
    const stream = this.#streams.get(streamId);
    this.#host.onNoise('reset', stream);
    if (stream !== undefined) this.close(stream, payload.readUInt32BE(from));
  }

  /** refuseAbove closes our streams above a GOAWAY of the peer: they were not processed. */
  refuseAbove(lastStreamId: number): void {
    for (const stream of this.#streams.list())
      if (stream.id > lastStreamId) this.close(stream, CODE.REFUSED_STREAM);
  }

  /** stopServing: later streams of the peer are ignored. @returns the last one that is served */
  stopServing(): number {
    this.#goawayId = Math.min(this.#goawayId, this.#lastServedId);
    return this.#goawayId;
  }

  #isIdle(streamId: number): boolean {
    if (streamId === 0) return true;
    const isOurs = (streamId % 2 === 1) !== this.#options.isServer;
    return isOurs ? streamId >= this.#nextId : streamId > this.#newestPeerId;
  }

  // Windows.

  /** The peer's initial window; those of open streams follow, and may become negative (RFC 9113 §6.9.2). */
  changeWindows(windowBytes: number): void {
    if (windowBytes > WINDOW_MAX_BYTES) throw flowError('too large an initial window');
    const byteCount = windowBytes - this.#peerWindowBytes;
    if (byteCount === 0) return;
    this.#peerWindowBytes = windowBytes;
    for (const stream of this.#streams.list()) this.#grow(stream, byteCount);
  }

  #grow(stream: Stream, byteCount: number): void {
    stream.sendWindow += byteCount;
    if (stream.sendWindow > WINDOW_MAX_BYTES) throw flowError('too large a window');
    this.output.awaitTurn(stream);
  }

  onWindowUpdate({ streamId, payload, from, byteCount: size }: Frame): void {
    if (size !== 4) throw sizeError('WINDOW_UPDATE');
    const byteCount = payload.readUInt32BE(from) & WINDOW_MAX_BYTES;
    if (byteCount === 0) throw protocolError('WINDOW_UPDATE by 0');
    if (streamId === 0) {
      this.output.openWindow(byteCount);
      return;
    }
    if (this.#isIdle(streamId)) throw protocolError('WINDOW_UPDATE on an idle stream');
    const stream = this.#streams.get(streamId);
    if (stream === undefined) return;
    if (stream.sendWindow + byteCount > WINDOW_MAX_BYTES)
      this.#failStream(stream, CODE.FLOW_CONTROL_ERROR, 'reset');
    else this.#grow(stream, byteCount);
  }

  // DATA.

  onDataHead(streamId: number, flags: number, payloadBytes: number): void {
    if (this.#blocks.streamId !== 0) throw protocolError('DATA within a block of fields');
    if (this.#isIdle(streamId)) throw protocolError('DATA on a stream that nobody opened');
    const stream = this.#streams.get(streamId) ?? null;
    if (stream?.remoteEnded && !stream.isStopped)
      throw new Http2Error(CODE.STREAM_CLOSED, 'DATA after the end of a stream');
    this.#dataStream = stream?.isStopped ? null : stream;
    this.#dataFlags = flags;
    this.#creditConnection(payloadBytes);
    if (this.#dataStream === null || stream === null) return;
    stream.receiveWindow -= payloadBytes;
    if (stream.receiveWindow < 0) throw flowError('more than the window of a stream');
    if (!stream.hasHead) this.#failStream(stream, CODE.PROTOCOL_ERROR, 'reset');
    this.#dataBytes = payloadBytes;
    if (payloadBytes === 0 && (flags & FLAG.END_STREAM) === 0) this.#host.onNoise('invalid_frames');
  }

  onDataPiece(piece: Buffer): void {
    const stream = this.#dataStream;
    if (stream === null || stream.isClosed) return;
    this.#dataBytes -= piece.length;
    stream.takePiece(piece);
  }

  onDataEnd(): void {
    const stream = this.#dataStream;
    this.#dataStream = null;
    if (stream === null || stream.isClosed) return;
    if ((this.#dataFlags & FLAG.END_STREAM) !== 0) stream.takeEnd();
    // The padding.
    else if (this.#dataBytes > 0) stream.credit(this.#dataBytes);
  }

  /** The window of the connection opens as bytes come: a stream that waits holds up no other. Half of it, more than a frame, is always open. */
  #creditConnection(byteCount: number): void {
    this.#creditBytes += byteCount;
    if (this.#creditBytes < this.#options.connectionWindowBytes / 2) return;
    this.output.frameNumber(FRAME.WINDOW_UPDATE, 0, this.#creditBytes);
    this.#creditBytes = 0;
  }

  // Streams.

  #newStream(id: number, events: StreamEvents, isPaused: boolean): Stream {
    const windowBytes = this.#options.streamWindowBytes;
    const stream = new Stream(this, id, events, { windowBytes, sendWindow: this.#peerWindowBytes, isPaused });
    this.#streams.add(stream);
    return stream;
  }

  close(stream: Stream, code: number): void {
    if (stream.isClosed) return;
    stream.close();
    stream.events.onClosed(code);
    this.remove(stream);
  }

  /** A backend knows that a stream of ours is over when it has ended it: another one may take its place at once. */
  closeEnded(stream: Stream): void {
    if (this.#options.isServer) this.output.closeBehindFrames(stream);
    else stream.closeWhole();
  }

  remove(stream: Stream): void {
    this.output.forget(stream);
    if (this.#streams.delete(stream.id)) this.#host.onStreamClosed(stream);
  }

  /** closeAll is called when the session has ended. */
  closeAll(code: number): void {
    for (const stream of this.#streams.list()) {
      this.close(stream, code);
      // If onClosed of this stream called destroy(), the stream is closed but still in the table.
      this.remove(stream);
    }
  }
}

function problemOf(stream: Stream, fields: readonly string[], ends: boolean): string | null {
  if (stream.hasHead) return ends ? trailerProblem(fields) : 'trailers that do not end the stream';
  return ends && isInterim(fields) ? 'an interim head that ends the stream' : responseProblem(fields);
}

/** Whether the :status, which is in front, begins with 1. */
function isInterim(fields: readonly string[]): boolean {
  return fields[1]?.charCodeAt(0) === ONE;
}
