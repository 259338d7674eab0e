/**
 * What comes in a stream: bytes, fields and the end, in their order, to an owner that may pause.
 *
 * While the owner is paused, everything waits here: bytes in `#pending`, bounded by the window of the stream, behind them one head or
 * trailers, and at last the end. A piece in the middle of which the owner has paused is kept (`#held`) until it goes on. Once the
 * owner wants nothing more (discard), what comes is dropped, and the window stays closed.
 */
import { SMALL_PIECE_BYTES } from '../contract/downstream.ts';
import { PendingBytes } from '../memory/pending-bytes.ts';
import { FRAME_BUFFER_BYTES, frameBuffers } from './frame-buffers.ts';
import type { StreamEvents } from './stream-events.ts';

/** A head that waits behind bytes, and whether it ends the stream. */
type WaitingFields = [fields: string[], ends: boolean];

/** StreamReading owns what has come in a stream and was not taken, and the window of the peer. Stream is made of it. */
export abstract class StreamReading {
  events: StreamEvents;
  /** Calls do nothing any more. */
  isClosed = false;
  /** END_STREAM has come, and may wait to be delivered; or isStopped. */
  remoteEnded = false;
  /** Written by the session: how much more the peer may send. */
  receiveWindow: number;

  #windowBytes: number;
  #isPaused: boolean;
  #isDiscarding = false;
  #isDelivering = false;
  #pending: PendingBytes | null = null;
  #waitingFields: WaitingFields | null = null;
  #endWaits = false;
  /** The memory of the piece that the owner has, and its bytes. */
  #held: Buffer<ArrayBuffer> | null = null;
  #heldBytes = 0;
  /** Taken by the owner, and not yet given back to the peer as window. */
  #creditBytes = 0;

  constructor(events: StreamEvents, windowBytes: number, isPaused: boolean) {
    this.events = events;
    this.#windowBytes = this.receiveWindow = windowBytes;
    this.#isPaused = isPaused;
  }

  /** closeIfOver closes the stream where both sides have ended it. */
  protected abstract closeIfOver(): void;
  /** openWindow tells the peer that it may send this much more. */
  protected abstract openWindow(byteCount: number): void;

  /** The memory of what has come and was not taken. */
  get unreadMemoryBytes(): number {
    return (this.#pending?.buffer.length ?? 0) + (this.#held === null ? this.#heldBytes : FRAME_BUFFER_BYTES);
  }

  pause(): void {
    this.#isPaused = true;
  }

  /** resume goes on reading; what has waited is delivered before it returns. */
  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    if (this.#isDelivering) return;
    this.#freeHeld();
    this.#deliverWaiting();
  }

  /** discard drops what waits and what comes from now on, and its end; the peer may send no more than its window allows. */
  discard(): void {
    this.#isDiscarding = true;
    this.#endWaits = false;
    this.#pending = this.#waitingFields = null;
    // Not given back: a write of the owner may still read it. The garbage collector frees it.
    this.#held = null;
    this.#heldBytes = 0;
  }

  /** takePiece is called by the session with a part of DATA. */
  takePiece(piece: Buffer): void {
    if (this.#isDiscarding) return;
    if (this.#isPaused || this.#isDelivering) {
      this.#pending ??= new PendingBytes();
      this.#pending.append(piece, 0, piece.length);
    } else if (piece.length < SMALL_PIECE_BYTES) this.#deliver(piece, null);
    else {
      const memory = frameBuffers.take();
      piece.copy(memory);
      this.#deliver(memory.subarray(0, piece.length), memory);
    }
  }

  /** takeFields is called by the session with a head or trailers. */
  takeFields(fields: string[], ends: boolean): void {
    if (ends) this.remoteEnded = true;
    if (this.#pending !== null || (this.#isPaused && this.#heldBytes > 0)) {
      this.#waitingFields = [fields, ends];
      if (ends) this.closeIfOver();
    } else {
      if (!this.#isDiscarding) this.events.onFields(fields, ends);
      if (ends) this.#end();
    }
  }

  /** takeEnd is called by the session behind DATA with END_STREAM. */
  takeEnd(): void {
    this.remoteEnded = true;
    this.#end();
  }

  /** @param memory what goes back to the pool once the owner has let the piece go; null: nothing */
  #deliver(piece: Buffer, memory: Buffer<ArrayBuffer> | null): void {
    this.#held = memory;
    this.#heldBytes = piece.length;
    this.#isDelivering = true;
    this.events.onData(piece);
    this.#isDelivering = false;
    if (!this.#isPaused) this.#freeHeld();
  }

  #freeHeld(): void {
    if (this.#held !== null && !this.isClosed) frameBuffers.give(this.#held);
    this.#held = null;
    const byteCount = this.#heldBytes;
    this.#heldBytes = 0;
    this.credit(byteCount);
  }

  #deliverWaiting(): void {
    const pending = this.#pending;
    if (pending !== null) {
      this.#pending = null;
      this.#deliver(pending.buffer.subarray(pending.from, pending.to), null);
      if (this.#isPaused) return;
    }
    const fields = this.#waitingFields;
    if (fields !== null) {
      this.#waitingFields = null;
      this.events.onFields(fields[0], fields[1]);
      if (fields[1]) this.#endWaits = true;
    }
    if (this.#endWaits) this.#end();
  }

  /** The peer has ended the stream. */
  #end(): void {
    this.#endWaits =
      this.#pending !== null || this.#waitingFields !== null || (this.#isPaused && this.#heldBytes > 0);
    if (!this.#endWaits && !this.#isDiscarding) this.events.onEnd();
    this.closeIfOver();
  }

  /** widen lets the peer send this much more at a time. */
  widen(byteCount: number): void {
    this.#windowBytes += byteCount;
    this.credit(byteCount);
  }

  /** credit opens the window by bytes that nobody waits for any more: half a window at a time. */
  credit(byteCount: number): void {
    if (this.isClosed || this.remoteEnded || this.#isDiscarding) return;
    this.#creditBytes += byteCount;
    if (this.#creditBytes < this.#windowBytes / 2) return;
    this.receiveWindow += this.#creditBytes;
    this.openWindow(this.#creditBytes);
    this.#creditBytes = 0;
  }

  /** stopReading is called when the stream is closed. What has come whole can still be read. */
  protected stopReading(): void {
    // As in discard().
    this.#held = null;
    if (!this.remoteEnded) this.#pending = this.#waitingFields = null;
  }
}
