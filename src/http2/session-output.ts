/**
 * What a session sends: frames of its own, and those of its streams in turn. Frames leave once per turn of the event loop, for all
 * sessions together, or as soon as a buffer is full. It owns the encoder, the send window of the connection and the frames that wait.
 */
import type { Wire } from '../contract/wire.ts';
import { FRAMED_MAX_BYTES, FrameWriter } from './frame-writer.ts';
import {
  FLAG,
  FRAME,
  FRAME_HEAD_BYTES,
  flowError,
  INITIAL_WINDOW_BYTES,
  WINDOW_MAX_BYTES,
} from './frames.ts';
import { HpackEncoder } from './hpack-encoder.ts';
import type { Stream, StreamOutput } from './stream.ts';

/** Frames of no message (frameControl) that may be made while the wire is blocked. */
const CONTROL_MAX_BYTES = 65_536;
/** Memory of all frames that wait. The heads of 128 answers fit. A client that resets each stream could have any number of heads framed. */
const WAITING_MAX_BYTES = 4_194_304;

/** SessionOutput is owned by a Session. */
export class SessionOutput implements StreamOutput {
  readonly #encoder = new HpackEncoder();
  readonly #writer: FrameWriter;
  /** Of the connection. */
  #sendWindow = INITIAL_WINDOW_BYTES;
  /** Streams with bytes or an end that no frame could take, in turn. */
  readonly #queued = new Set<Stream>();
  /** Those that close when what is framed has left. */
  #leaving = new Set<Stream>();
  #isScheduled = false;
  #isStopped = false;
  #blockedControlBytes = 0;

  /** @param wire to which all of it goes */
  constructor(wire: Wire) {
    this.#writer = new FrameWriter(wire);
  }

  /** The memory of frames that wait for the wire: of DATA there are few among them. */
  get waitingMemoryBytes(): number {
    return this.#writer.waitingMemoryBytes;
  }

  // For streams.

  frameFields(stream: Stream, fields: readonly string[], ends: boolean): void {
    const block = this.#encoder.encode(fields);
    let flags: number = ends ? FLAG.END_STREAM : 0;
    let type: number = FRAME.HEADERS;
    let at = 0;
    do {
      const to = Math.min(block.length, at + FRAMED_MAX_BYTES);
      if (to === block.length) flags |= FLAG.END_HEADERS;
      const payloadAt = this.#frame(type, flags, stream.id, to - at);
      block.copy(this.#writer.buffer, payloadAt, at, to);
      at = to;
      type = FRAME.CONTINUATION;
      flags = 0;
    } while (at < block.length);
  }

  frameData(stream: Stream, piece: Buffer): number {
    let at = 0;
    while (at < piece.length && !this.#writer.isBlocked) {
      const windowBytes = Math.min(stream.sendWindow, this.#sendWindow);
      const byteCount = Math.min(piece.length - at, windowBytes, FRAMED_MAX_BYTES);
      if (byteCount <= 0) break;
      stream.lastDataAt = this.#writer.totalBytes;
      const payloadAt = this.#frame(FRAME.DATA, 0, stream.id, byteCount);
      piece.copy(this.#writer.buffer, payloadAt, at, at + byteCount);
      stream.sendWindow -= byteCount;
      this.#sendWindow -= byteCount;
      stream.framedBytes += byteCount;
      at += byteCount;
    }
    return at;
  }

  frameEnd(stream: Stream): void {
    const { lastDataAt } = stream;
    if (lastDataAt >= 0 && this.#writer.addFlag(lastDataAt, FLAG.END_STREAM)) return;
    this.#frame(FRAME.DATA, FLAG.END_STREAM, stream.id, 0);
  }

  /** frameNumber frames a payload of one number. */
  frameNumber(type: number, streamId: number, value: number): void {
    NUMBER.writeUInt32BE(value);
    this.frameControl(type, 0, streamId, NUMBER);
  }

  get hasQueued(): boolean {
    return this.#queued.size > 0;
  }

  awaitTurn(stream: Stream): void {
    if (!stream.canSend) return;
    this.#queued.add(stream);
    this.#schedule();
  }

  /** closeBehindFrames closes the stream, as whole, when all that is framed now has left. */
  closeBehindFrames(stream: Stream): void {
    this.#leaving.add(stream);
    this.#schedule();
  }

  /** forget is called when a stream is closed. */
  forget(stream: Stream): void {
    this.#queued.delete(stream);
    this.#leaving.delete(stream);
  }

  /** Streams whose last frames wait to leave. */
  get leavingCount(): number {
    return this.#leaving.size;
  }

  // For the session.

  /** frameControl frames what is not of a stream's message: settings, answers to the peer, windows, resets. */
  frameControl(type: number, flags: number, streamId: number, payload: Buffer): void {
    const at = this.#frame(type, flags, streamId, payload.length);
    payload.copy(this.#writer.buffer, at);
    if (this.#writer.isBlocked) this.#blockedControlBytes += FRAME_HEAD_BYTES + payload.length;
  }

  /** Whether the peer makes us send and does not read. */
  get isOverfull(): boolean {
    return (
      this.#blockedControlBytes > CONTROL_MAX_BYTES || this.#writer.waitingMemoryBytes > WAITING_MAX_BYTES
    );
  }

  /** openWindow lets the streams go on that the window of the connection has stopped. Throws an Http2Error where it becomes too large. */
  openWindow(byteCount: number): void {
    this.#sendWindow += byteCount;
    if (this.#sendWindow > WINDOW_MAX_BYTES) throw flowError('too large a window');
    if (this.#queued.size > 0) this.#schedule();
  }

  /** limitTable is HpackEncoder's. */
  limitTable(bytes: number): void {
    this.#encoder.limitTable(bytes);
  }

  /** flush sends what is framed, and what the streams have. */
  flush(): void {
    this.#isScheduled = false;
    if (this.#isStopped) return;
    this.#sendQueued();
    if (this.#writer.flush()) this.#closeLeaving();
  }

  /** flushLast sends what is framed, as far as the kernel takes it. */
  flushLast(): void {
    this.#queued.clear();
    this.#leaving.clear();
    this.#writer.flush();
  }

  /** stop: nothing is sent from now on. */
  stop(): void {
    this.#isStopped = true;
  }

  /** drop gives the memory of all frames back, once the streams are closed and frame no more. */
  drop(): void {
    this.#writer.drop();
  }

  /** onDrain is called when the wire has drained. */
  onDrain(): void {
    this.#blockedControlBytes = 0;
    const isOut = this.#writer.onDrain();
    if (this.#isStopped) return;
    if (isOut) this.#closeLeaving();
    this.flush();
  }

  #frame(type: number, flags: number, streamId: number, payloadBytes: number): number {
    this.#schedule();
    return this.#writer.frame(type, flags, streamId, payloadBytes);
  }

  /** Streams take turns, a frame each, until the wire is blocked or no window is open. */
  #sendQueued(): void {
    for (const stream of this.#queued) {
      if (this.#writer.isBlocked || this.#sendWindow <= 0) break;
      this.#queued.delete(stream);
      stream.sendQueued();
      // The loop comes to it again, behind the others.
      if (stream.canSend) this.#queued.add(stream);
    }
  }

  #closeLeaving(): void {
    if (this.#leaving.size === 0) return;
    const leaving = this.#leaving;
    this.#leaving = new Set();
    for (const stream of leaving) stream.closeWhole();
  }

  #schedule(): void {
    if (this.#isScheduled || this.#isStopped) return;
    this.#isScheduled = true;
    if (scheduled.push(this) === 1) setImmediate(flushAll);
  }
}

const NUMBER = Buffer.alloc(4);
let scheduled: SessionOutput[] = [];

function flushAll(): void {
  const sessions = scheduled;
  scheduled = [];
  for (const session of sessions) session.flush();
}
