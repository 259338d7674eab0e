/** Reads frames (RFC 9113 §4.1) from the bytes of a connection. Nothing of a body is kept here; other frames, of 16 KiB at most, are until they are whole. */
import { PendingBytes } from '../memory/pending-bytes.ts';
import {
  CODE,
  FLAG,
  FRAME,
  FRAME_HEAD_BYTES,
  Frame,
  Http2Error,
  PAYLOAD_MAX_BYTES,
  protocolError,
} from './frames.ts';

/** FrameSink is given all frames but DATA, in their order with the others; it may throw an Http2Error. */
export interface FrameSink {
  /** Whether nothing more is wanted. */
  readonly isDead: boolean;
  /** A whole frame. Its payload is valid until onFrame returns. */
  onFrame(frame: Frame): void;
}

/** DataSink is given frames of DATA; it may throw an Http2Error. */
export interface DataSink {
  /** A frame of DATA begins. @param payloadBytes with the padding */
  onDataHead(streamId: number, flags: number, payloadBytes: number): void;
  /** A part of it, without padding; valid until onDataPiece returns. */
  onDataPiece(piece: Buffer): void;
  onDataEnd(): void;
}

/** FrameReader is owned by a Session. */
export class FrameReader {
  readonly #sink: FrameSink;
  readonly #dataSink: DataSink;
  /** The first frame has come, as SETTINGS. */
  #hasBegun = false;
  readonly #frame = new Frame();
  /** The beginning of a frame. */
  readonly #partial = new PendingBytes();
  /** A frame of DATA has begun: what still comes of its bytes and of its padding. */
  #inData = false;
  #needsPadLength = false;
  #dataBytes = 0;
  #padBytes = 0;

  constructor(sink: FrameSink, dataSink: DataSink) {
    this.#sink = sink;
    this.#dataSink = dataSink;
  }

  /** The stream of a HEADERS frame that has begun and is not whole; 0: none. */
  get partialHeadId(): number {
    const { buffer, from, length } = this.#partial;
    return length >= FRAME_HEAD_BYTES && buffer[from + 3] === FRAME.HEADERS ? streamIdAt(buffer, from) : 0;
  }

  /** The memory of a frame that is not whole. */
  get unreadMemoryBytes(): number {
    return this.#partial.buffer.length;
  }

  read(buffer: Buffer, from: number, to: number): void {
    const partial = this.#partial;
    let at = from;
    while (at < to && !this.#sink.isDead) {
      if (this.#inData) at = this.#readData(buffer, at, to);
      else if (partial.length > 0) at = this.#addTo(partial, buffer, at, to);
      else {
        const next = this.#readFrame(buffer, at, to);
        if (next === at) {
          partial.append(buffer, at, to);
          return;
        }
        at = next;
      }
    }
  }

  /** Adds what the partial frame needs next: the rest of its head, or of its payload. */
  #addTo(partial: PendingBytes, buffer: Buffer, at: number, to: number): number {
    const { length } = partial;
    const wanted =
      length < FRAME_HEAD_BYTES
        ? FRAME_HEAD_BYTES
        : FRAME_HEAD_BYTES + payloadBytesAt(partial.buffer, partial.from);
    const end = Math.min(to, at + wanted - length);
    partial.append(buffer, at, end);
    if (partial.length < wanted) return end;
    const whole = partial.buffer;
    const next = this.#readFrame(whole, partial.from, partial.to);
    if (next > partial.from) partial.clear();
    // #frame lives as long as the session: let go of the payload.
    this.#frame.payload = partial.buffer;
    return end;
  }

  /** @returns the index behind what was read; `at`: the frame is not whole */
  #readFrame(buffer: Buffer, at: number, to: number): number {
    if (to - at < FRAME_HEAD_BYTES) return at;
    const payloadBytes = payloadBytesAt(buffer, at);
    if (payloadBytes > PAYLOAD_MAX_BYTES) throw new Http2Error(CODE.FRAME_SIZE_ERROR, 'frame is too large');
    const type = buffer[at + 3]!;
    const flags = buffer[at + 4]!;
    if (!this.#hasBegun) {
      if (type !== FRAME.SETTINGS || (flags & FLAG.ACK) !== 0)
        throw protocolError('SETTINGS must come first');
      this.#hasBegun = true;
    }
    const streamId = streamIdAt(buffer, at);
    const from = at + FRAME_HEAD_BYTES;
    if (type === FRAME.DATA) {
      this.#beginData(streamId, flags, payloadBytes);
      return from;
    }
    const end = from + payloadBytes;
    if (end > to) return at;
    const frame = this.#frame;
    frame.type = type;
    frame.flags = flags;
    frame.streamId = streamId;
    frame.payload = buffer;
    frame.from = from;
    frame.to = end;
    this.#sink.onFrame(frame);
    return end;
  }

  #beginData(streamId: number, flags: number, payloadBytes: number): void {
    const isPadded = (flags & FLAG.PADDED) !== 0;
    if (isPadded && payloadBytes === 0)
      throw new Http2Error(CODE.FRAME_SIZE_ERROR, 'DATA without its padding');
    this.#inData = true;
    this.#needsPadLength = isPadded;
    this.#dataBytes = payloadBytes;
    this.#padBytes = 0;
    this.#dataSink.onDataHead(streamId, flags, payloadBytes);
    this.#endDataIfWhole();
  }

  #readData(buffer: Buffer, at: number, to: number): number {
    if (this.#needsPadLength) {
      this.#needsPadLength = false;
      this.#padBytes = buffer[at]!;
      this.#dataBytes -= 1 + this.#padBytes;
      if (this.#dataBytes < 0) throw protocolError('more padding than payload');
      this.#endDataIfWhole();
      return at + 1;
    }
    const end = Math.min(to, at + this.#dataBytes);
    if (end > at) {
      this.#dataBytes -= end - at;
      this.#dataSink.onDataPiece(buffer.subarray(at, end));
    }
    const next = Math.min(to, end + this.#padBytes);
    this.#padBytes -= next - end;
    this.#endDataIfWhole();
    return next;
  }

  #endDataIfWhole(): void {
    if (this.#needsPadLength || this.#dataBytes > 0 || this.#padBytes > 0) return;
    this.#inData = false;
    this.#dataSink.onDataEnd();
  }
}

function payloadBytesAt(buffer: Buffer, at: number): number {
  return (buffer[at]! << 16) | (buffer[at + 1]! << 8) | buffer[at + 2]!;
}

function streamIdAt(buffer: Buffer, at: number): number {
  return buffer.readUInt32BE(at + 5) & 0x7fffffff;
}
