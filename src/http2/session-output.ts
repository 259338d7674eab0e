/**
 * What a session sends: frames of its own, and those of its streams in turn. Frames leave once per turn of the event loop, for all
 * sessions together, or as soon as a buffer is full.
 */
import type { Wire } from '../contract/wire.ts';
import { FRAMED_MAX_BYTES, FrameWriter } from './frame-writer.ts';
import { CODE, FLAG, FRAME, FRAME_HEAD_BYTES, INITIAL_WINDOW_BYTES } from './frames.ts';
import { HpackEncoder } from './hpack-encoder.ts';
import type { Stream, StreamSession } from './stream.ts';

/** Answers to the peer's frames, and windows, that may wait while the wire is blocked. */
const REPLIES_MAX_BYTES = 65_536;
/** Of all frames that wait, with heads of answers. Those of 128 streams are smaller as a rule, but a peer that resets its streams may have any number made. */
const WAITING_MAX_BYTES = 4_194_304;

/** SessionOutput is the lowest part of Session: session-streams.ts is above it. */
export abstract class SessionOutput implements StreamSession {
  abstract readonly wire: Wire;
  /** The session has ended: no stream is open, and nothing more is sent. */
  isDead = false;

  protected readonly encoder = new HpackEncoder();
  /** Of the connection. */
  protected sendWindow = INITIAL_WINDOW_BYTES;
  readonly #writer = new FrameWriter(() => this.wire);
  /** Streams with bytes or an end that no frame could take, in turn. */
  readonly #queued = new Set<Stream>();
  /** Those that close when what is framed has left. */
  #leaving = new Set<Stream>();
  #isScheduled = false;
  #blockedReplyBytes = 0;

  /** Bytes that the kernel has taken: the progress of a connection that is blocked. */
  get takenBytes(): number {
    return this.wire.takenBytes;
  }

  /** The memory of frames that wait for the wire: of DATA there are few among them. */
  get waitingBytes(): number {
    return this.#writer.waitingBytes;
  }

  protected abstract closeStream(stream: Stream, code: number): void;
  abstract remove(stream: Stream): void;

  // For streams.

  frameFields(stream: Stream, fields: readonly string[], ends: boolean): void {
    const block = this.encoder.encode(fields);
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
      const windowBytes = Math.min(stream.sendWindow, this.sendWindow);
      const byteCount = Math.min(piece.length - at, windowBytes, FRAMED_MAX_BYTES);
      if (byteCount <= 0) break;
      stream.lastDataAt = this.#writer.totalBytes;
      const payloadAt = this.#frame(FRAME.DATA, 0, stream.id, byteCount);
      piece.copy(this.#writer.buffer, payloadAt, at, at + byteCount);
      stream.sendWindow -= byteCount;
      this.sendWindow -= byteCount;
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

  frameReset(stream: Stream, code: number): void {
    this.frameNumber(FRAME.RST_STREAM, stream.id, code);
  }

  frameWindow(streamId: number, byteCount: number): void {
    this.frameNumber(FRAME.WINDOW_UPDATE, streamId, byteCount);
  }

  get hasQueued(): boolean {
    return this.#queued.size > 0;
  }

  awaitTurn(stream: Stream): void {
    if (!stream.canSend) return;
    this.#queued.add(stream);
    this.#schedule();
  }

  closeBehindFrames(stream: Stream): void {
    this.#leaving.add(stream);
    this.#schedule();
  }

  // For the session.

  /** forget is called when a stream is closed. */
  protected forget(stream: Stream): void {
    this.#queued.delete(stream);
    this.#leaving.delete(stream);
  }

  /** Streams that the peer may know to be closed, while the last frames of this session wait for the kernel. */
  protected get leavingCount(): number {
    return this.#leaving.size;
  }

  /** reply frames an answer to the peer, or a window. */
  protected reply(type: number, flags: number, streamId: number, payload: Buffer): void {
    const at = this.#frame(type, flags, streamId, payload.length);
    payload.copy(this.#writer.buffer, at);
    if (this.#writer.isBlocked) this.#blockedReplyBytes += FRAME_HEAD_BYTES + payload.length;
  }

  /** Whether the peer makes us answer and does not read. */
  protected get hasTooManyReplies(): boolean {
    return this.#blockedReplyBytes > REPLIES_MAX_BYTES || this.#writer.waitingBytes > WAITING_MAX_BYTES;
  }

  /** frameNumber frames a payload of one number. */
  protected frameNumber(type: number, streamId: number, value: number): void {
    NUMBER.writeUInt32BE(value);
    this.reply(type, 0, streamId, NUMBER);
  }

  /** windowsGrew lets the streams go on that a window has stopped. */
  protected windowsGrew(): void {
    if (this.#queued.size > 0) this.#schedule();
  }

  /** flush sends what is framed, and what the streams have. */
  flush(): void {
    this.#isScheduled = false;
    if (this.isDead) return;
    this.#sendQueued();
    if (this.#writer.flush()) this.#closeLeaving();
  }

  /** flushLast sends what is framed, as far as the kernel takes it. */
  protected flushLast(): void {
    this.#queued.clear();
    this.#leaving.clear();
    this.#writer.flush();
  }

  /** dropOutput is called at the end. */
  protected dropOutput(): void {
    this.#writer.drop();
  }

  onDrain(): void {
    this.#blockedReplyBytes = 0;
    const isOut = this.#writer.onDrain();
    if (this.isDead) return;
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
      if (this.#writer.isBlocked || this.sendWindow <= 0) break;
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
    for (const stream of leaving) {
      if (stream.isClosed) continue;
      stream.isWhole = true;
      this.closeStream(stream, CODE.NO_ERROR);
    }
  }

  #schedule(): void {
    if (this.#isScheduled || this.isDead) return;
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
