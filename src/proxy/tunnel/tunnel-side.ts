/**
 * One side of a tunnel: what it sends is written to the other side.
 *
 * Memory: a small read lies in the buffer that all connections share, and leaves as a text, of which the kernel or node has a copy
 * at once. A larger one is copied into a buffer of this side's own, into which the next reads go, as long as they are large and the
 * other side takes them. So a quiet side holds nothing, and one whose peer has stopped holds FIRST_BUFFER_BYTES.
 */
import type { Wire, WireEvents } from '../../contract/wire.ts';
import { type BodyBuffers, FIRST_BUFFER_BYTES } from '../../memory/body-buffers.ts';
import { FrameTracker } from './frame-tracker.ts';
import { closeFrame } from './websocket.ts';

/** node writes a text up to this size without asking for memory. */
const TEXT_MAX_BYTES = 16_384;
/** After a smaller read the buffer is given back, as in worker/inbound/http1/client-body.ts. */
const KEPT_MIN_BYTES = FIRST_BUFFER_BYTES / 2;

/** SideOwner is the tunnel. */
interface SideOwner {
  readonly buffers: BodyBuffers;
  /** The side has sent its end, or everything for it has left. */
  onQuiet(): void;
  onBroken(side: TunnelSide): void;
}

export class TunnelSide implements WireEvents {
  /** Bytes that came from this side. */
  readBytes = 0;
  /** Its FIN has come. */
  hasEnded = false;
  /** It is not read, because the other side has not taken everything. */
  isStopped = false;
  wire!: Wire;
  other!: TunnelSide;

  readonly #owner: SideOwner;
  readonly #isClient: boolean;
  /** null where the bytes are not those of a WebSocket. */
  readonly #frames: FrameTracker | null;
  /** The memory of the next read, or of the one under way. */
  #lent: Buffer;
  #own: Buffer<ArrayBuffer> | null = null;
  /** A close frame must follow the frame that this side is sending. */
  #closesNext = false;
  /** A close frame of ours has ended what goes to the other side: the rest is read and dropped. */
  #isDropped = false;

  constructor(owner: SideOwner, { isClient, hasFrames }: { isClient: boolean; hasFrames: boolean }) {
    this.#owner = owner;
    this.#isClient = isClient;
    this.#frames = hasFrames ? new FrameTracker() : null;
    this.#lent = owner.buffers.shared;
  }

  /** Bytes that have come, and those for this side that the kernel has taken lately: a tunnel is silent while it stays the same. */
  get progress(): number {
    return this.wire.blocked ? this.readBytes + this.wire.takenBytes : this.readBytes;
  }

  nextBuffer(): Buffer {
    this.#lent = this.#own !== null && !this.isStopped ? this.#own : this.#owner.buffers.shared;
    return this.#lent;
  }

  onRead(byteCount: number): void {
    this.take(this.#lent, byteCount);
    this.#owner.buffers.afterRead();
  }

  /** take passes on the first bytes of a buffer that is the memory of a read or belongs to nobody else. */
  take(buffer: Buffer, byteCount: number): void {
    this.readBytes += byteCount;
    if (this.#isDropped) this.#drop(buffer, byteCount);
    else if (!this.#closesNext) {
      this.#frames?.pass(buffer, 0, byteCount);
      this.#pass(buffer, byteCount);
    } else {
      const end = this.#frames?.pass(buffer, 0, byteCount, true) ?? byteCount;
      this.#pass(buffer, end);
      this.sayClose();
      if (end < byteCount) this.#drop(buffer.subarray(end), byteCount - end);
    }
  }

  #pass(buffer: Buffer, byteCount: number): void {
    const { wire } = this.other;
    if (buffer === this.#owner.buffers.shared) {
      if (byteCount <= TEXT_MAX_BYTES || this.isStopped) {
        this.#afterWrite(wire.writeText(buffer.toString('latin1', 0, byteCount)), byteCount);
        return;
      }
      this.#own ??= this.#owner.buffers.take();
      buffer.copy(this.#own, 0, 0, byteCount);
      buffer = this.#own;
    }
    const piece = byteCount === buffer.length ? buffer : buffer.subarray(0, byteCount);
    this.#afterWrite(wire.writeChunk('', piece, ''), byteCount);
  }

  #afterWrite(isOut: boolean, byteCount: number): void {
    if (!isOut) this.#stop();
    else if (byteCount < KEPT_MIN_BYTES) this.#release(true);
  }

  /** What comes after our close frame concerns nobody but us: it may be the peer's own close frame. */
  #drop(buffer: Buffer, byteCount: number): void {
    this.#frames?.pass(buffer, 0, byteCount);
    if (this.#frames?.hasClosed === true && this.#frames.isBetweenFrames) this.wire.end();
  }

  #stop(): void {
    this.isStopped = true;
    this.wire.pause();
  }

  /** goOn reads again: the other side has taken everything. */
  goOn(): void {
    if (!this.isStopped) return;
    this.isStopped = false;
    this.#release(true);
    this.wire.resume();
  }

  /** sayClose puts a close frame behind what this side has sent, now or after the frame under way. Not behind the side's own one. */
  sayClose(): void {
    const frames = this.#frames;
    if (frames === null || this.#isDropped || frames.hasClosed) return;
    this.#closesNext = !frames.isBetweenFrames;
    if (this.#closesNext) return;
    this.#isDropped = true;
    // A client masks its frames, and towards the backend Sluice is the client. Nothing follows this frame, so the side is read on
    // even if the frame waits. To stop between reads would be wrong: the wire has #own for its next read, and goOn would free it.
    this.other.wire.writeText(closeFrame(this.#isClient));
  }

  /** Whether a close frame has gone to the other side. */
  get isClosing(): boolean {
    return this.#isDropped || this.#frames?.hasClosed === true;
  }

  /** probe shows a reset of a wire that is not read. */
  probe(): void {
    // Bytes that wait to leave tell by themselves.
    if (this.isStopped && !this.wire.blocked) this.wire.probe();
  }

  onEnd(): void {
    this.hasEnded = true;
    this.other.wire.end();
    this.#owner.onQuiet();
  }

  onDrain(): void {
    this.other.goOn();
    this.#owner.onQuiet();
  }

  onWriteError(): void {
    this.#owner.onBroken(this);
  }

  onBroken(): void {
    this.#owner.onBroken(this);
  }

  /** close is called when both wires are closed. */
  close(): void {
    this.#release(!this.isStopped);
  }

  #release(isFree: boolean): void {
    this.#owner.buffers.release(this.#own, isFree);
    this.#own = null;
  }
}
