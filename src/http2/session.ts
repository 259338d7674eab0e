/**
 * A connection that speaks HTTP/2 (RFC 9113), for both sides: the frames that come, the streams, the settings, and the end.
 *
 * What the peer sends is checked here as far as it concerns frames, field blocks and windows; what breaks the protocol ends the
 * connection (`Http2Error`) or the stream (RST_STREAM). How much of what is allowed is too much is for the host to say (onNoise).
 */
import { toError } from '../contract/errors.ts';
import type { Wire } from '../contract/wire.ts';
import type { ConnectEvents } from '../infra/wire/wire-maker.ts';
import { FrameReader, type FrameSink } from './frame-reader.ts';
import {
  CODE,
  FLAG,
  FRAME,
  type Frame,
  Http2Error,
  INITIAL_WINDOW_BYTES,
  PAYLOAD_MAX_BYTES,
  PREFACE,
  protocolError,
  SETTING,
  sizeError,
  WINDOW_MAX_BYTES,
} from './frames.ts';
import type { SessionHost, SessionOptions } from './session-host.ts';
import { SessionStreams } from './session-streams.ts';

/**
 * All reads of this process go into it: what must be kept is copied. It is not `shared` of http1/body-buffers.ts, into which the bytes of
 * a tunnel are copied while the frames behind them are still to be read.
 */
const READ_BUFFER = Buffer.allocUnsafeSlow(65_536);
/** Settings in one frame. */
const SETTINGS_MAX = 32;
const SETTING_BYTES = 6;
const NONE = Buffer.alloc(0);
/** After our FIN the peer has so long to close. */
const LINGER_MS = 2_000;

/** Session is made by Http2Connection (clients) and H2Connection (backends). */
export class Session extends SessionStreams implements ConnectEvents, FrameSink {
  readonly wire: Wire;
  readBytes = 0;
  /** What has ended it; null: nothing yet, or no error. */
  error: Error | null = null;
  readonly #reader = new FrameReader(this);
  /** Bytes of the preface that have come. */
  #prefaceBytes: number;
  #pingCount = 0;
  /** The host has heard its last call. */
  #isOver = false;
  /** The peer's SETTINGS_MAX_CONCURRENT_STREAMS. */
  #maxStreams = Number.POSITIVE_INFINITY;

  /** A server's SETTINGS leave at once; those of a client with onConnect. */
  constructor(makeWire: (events: ConnectEvents) => Wire, options: SessionOptions, host: SessionHost) {
    super(options, host);
    this.#prefaceBytes = options.isServer ? 0 : PREFACE.length;
    this.wire = makeWire(this);
    if (options.isServer) this.#sendSettings();
  }

  /** The wire of a client is open: the preface and SETTINGS leave. */
  onConnect(): void {
    this.wire.writeText(PREFACE.toString('latin1'));
    this.#sendSettings();
    this.flush();
  }

  /** The stream whose head has begun to come and is not whole; 0: none. */
  get unreadHeadId(): number {
    return this.blocks.streamId || this.#reader.partialHeadId;
  }

  /** The memory of frames that cannot be used yet, or cannot leave; without that of streams. */
  get heldBytes(): number {
    return this.#reader.unreadBytes + this.blocks.unreadBytes + this.waitingBytes;
  }

  // What the host asks for.

  /** ping is answered by onPong. */
  ping(): void {
    this.#pingCount++;
    this.reply(FRAME.PING, 0, 0, Buffer.alloc(8));
  }

  /** goaway tells the peer the last of its streams that is served. Later ones are ignored. */
  goaway(code: number): void {
    this.goawayId = Math.min(this.goawayId, this.lastPeerStreamId);
    const payload = Buffer.alloc(8);
    payload.writeUInt32BE(this.goawayId);
    payload.writeUInt32BE(code, 4);
    this.reply(FRAME.GOAWAY, 0, 0, payload);
  }

  /** destroy ends all streams, and the connection by GOAWAY and our FIN. What still comes is dropped. @param error see SessionHost.onClosed */
  destroy(code: number, error: Error | null = null): void {
    if (this.isDead) return;
    this.goaway(code);
    this.flushLast();
    this.wire.end();
    this.#die(code, error);
    // The last frames may wait for a peer that takes nothing, or that does not close.
    if (this.wire.closed) this.closeWire();
    else setTimeout(closeWire, LINGER_MS, this).unref();
  }

  /** closeWire closes the wire of a session that was destroyed, without waiting for the peer. */
  closeWire(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.wire.close();
    this.host.onWireClosed();
  }

  // The wire.

  nextBuffer(): Buffer {
    return READ_BUFFER;
  }

  onRead(byteCount: number): void {
    if (this.isDead) return;
    this.readBytes += byteCount;
    try {
      const from = this.#prefaceBytes < PREFACE.length ? this.#readPreface(byteCount) : 0;
      this.#reader.read(READ_BUFFER, from, byteCount);
      if (this.hasTooManyReplies) throw new Http2Error(CODE.ENHANCE_YOUR_CALM, 'answers are not read');
    } catch (thrown) {
      const error = toError(thrown);
      this.destroy(error instanceof Http2Error ? error.http2Code : CODE.INTERNAL_ERROR, error);
      // An error of our own program is the worker's to report.
      if (!(error instanceof Http2Error)) throw error;
    }
  }

  onEnd(): void {
    this.#lose(null);
  }

  /** Nothing leaves any more. A backend may have answered before: no request begins, and what is in the kernel is still read, within the next two turns of the event loop. */
  onWriteError(error: Error): void {
    if (this.options.isServer || this.streamCount === 0) this.#lose(error);
    else {
      this.host.onGoaway(WINDOW_MAX_BYTES, CODE.NO_ERROR);
      setImmediate(() => setImmediate(() => this.#lose(error)));
    }
  }

  onBroken(error: Error): void {
    this.#lose(error);
  }

  #lose(error: Error | null): void {
    this.#die(CODE.CANCEL, error);
    this.closeWire();
  }

  #die(code: number, error: Error | null): void {
    if (this.isDead) return;
    this.isDead = true;
    this.error = error;
    for (const stream of this.streams.list()) {
      this.closeStream(stream, code);
      // Where its owner has ended the session from within onClosed, closeStream was called before and does nothing.
      this.remove(stream);
    }
    this.dropOutput();
    this.host.onClosed(error);
  }

  #readPreface(byteCount: number): number {
    const at = this.#prefaceBytes;
    const size = Math.min(byteCount, PREFACE.length - at);
    if (READ_BUFFER.compare(PREFACE, at, at + size, 0, size) !== 0)
      throw protocolError('no preface of HTTP/2');
    this.#prefaceBytes += size;
    return size;
  }

  // Frames.

  onFrame(frame: Frame): void {
    const { type, flags, streamId, payload, from } = frame;
    if (!this.hasSettings && (type !== FRAME.SETTINGS || (flags & FLAG.ACK) !== 0))
      throw protocolError('SETTINGS must come first');
    if (this.blocks.streamId !== 0 && type !== FRAME.CONTINUATION)
      throw protocolError('another frame within a block of fields');
    switch (type) {
      case FRAME.HEADERS:
        this.onHeaders(frame);
        break;
      case FRAME.CONTINUATION:
        this.onContinuation(frame);
        break;
      case FRAME.SETTINGS:
        this.#onSettings(frame);
        break;
      case FRAME.WINDOW_UPDATE:
        this.onWindowUpdate(frame);
        break;
      case FRAME.RST_STREAM:
        this.onReset(frame);
        break;
      case FRAME.PING:
        this.#onPing(frame);
        break;
      case FRAME.GOAWAY:
        if (streamId !== 0) throw protocolError('GOAWAY on a stream');
        if (frame.byteCount < 8) throw sizeError('GOAWAY');
        this.onGoaway(payload.readUInt32BE(from) & WINDOW_MAX_BYTES, payload.readUInt32BE(from + 4));
        break;
      case FRAME.PUSH_PROMISE:
        throw protocolError('PUSH_PROMISE');
      default:
        if (type === FRAME.PRIORITY) checkPriority(streamId, frame.byteCount);
        this.host.onNoise('control');
    }
  }

  #onPing({ flags, streamId, payload, from, to }: Frame): void {
    if (streamId !== 0) throw protocolError('PING on a stream');
    if (to - from !== 8) throw sizeError('PING');
    if ((flags & FLAG.ACK) === 0) {
      this.reply(FRAME.PING, FLAG.ACK, 0, payload.subarray(from, to));
      this.host.onNoise('ping');
    } else if (this.#pingCount-- > 0) this.host.onPong();
    else throw protocolError('PING ACK that nobody waits for');
  }

  // Settings and windows.

  #sendSettings(): void {
    const { isServer, streamWindowBytes, connectionWindowBytes, maxStreams, maxListBytes } = this.options;
    const entries: [number, number][] = [
      [SETTING.INITIAL_WINDOW_SIZE, streamWindowBytes],
      [SETTING.MAX_HEADER_LIST_SIZE, maxListBytes],
      ...(isServer
        ? ([
            [SETTING.MAX_CONCURRENT_STREAMS, maxStreams],
            [SETTING.ENABLE_CONNECT_PROTOCOL, 1],
          ] as [number, number][])
        : ([[SETTING.ENABLE_PUSH, 0]] as [number, number][])),
    ];
    const payload = Buffer.alloc(entries.length * SETTING_BYTES);
    for (const [i, [id, value]] of entries.entries()) {
      payload.writeUInt16BE(id, i * SETTING_BYTES);
      payload.writeUInt32BE(value, i * SETTING_BYTES + 2);
    }
    this.reply(FRAME.SETTINGS, 0, 0, payload);
    const moreBytes = connectionWindowBytes - INITIAL_WINDOW_BYTES;
    if (moreBytes > 0) this.frameNumber(FRAME.WINDOW_UPDATE, 0, moreBytes);
  }

  #onSettings({ flags, streamId, payload, from, to }: Frame): void {
    const byteCount = to - from;
    if (streamId !== 0) throw protocolError('SETTINGS on a stream');
    if ((flags & FLAG.ACK) !== 0) {
      if (byteCount !== 0) throw sizeError('SETTINGS ACK');
      return;
    }
    if (byteCount % SETTING_BYTES !== 0) throw sizeError('SETTINGS');
    if (byteCount > SETTINGS_MAX * SETTING_BYTES)
      throw new Http2Error(CODE.ENHANCE_YOUR_CALM, 'too many settings');
    this.hasSettings = true;
    let windowBytes = this.peerWindowBytes;
    for (let at = from; at < to; at += SETTING_BYTES) {
      const id = payload.readUInt16BE(at);
      const value = payload.readUInt32BE(at + 2);
      if (id === SETTING.MAX_CONCURRENT_STREAMS) this.#maxStreams = value;
      else if (id === SETTING.INITIAL_WINDOW_SIZE) windowBytes = value;
      else this.#set(id, value);
    }
    this.changeWindows(windowBytes);
    this.reply(FRAME.SETTINGS, FLAG.ACK, 0, NONE);
    this.host.onNoise('settings');
    if (!this.isDead) this.host.onSettings(this.#maxStreams);
  }

  #set(id: number, value: number): void {
    switch (id) {
      case SETTING.HEADER_TABLE_SIZE:
        this.encoder.limitTable(value);
        break;
      case SETTING.ENABLE_PUSH:
        if (value > (this.options.isServer ? 1 : 0)) throw protocolError('bad ENABLE_PUSH');
        break;
      case SETTING.ENABLE_CONNECT_PROTOCOL:
        if (value > 1) throw protocolError('bad ENABLE_CONNECT_PROTOCOL');
        break;
      case SETTING.MAX_FRAME_SIZE:
        if (value < PAYLOAD_MAX_BYTES || value > 16_777_215) throw protocolError('bad MAX_FRAME_SIZE');
    }
  }
}

function checkPriority(streamId: number, byteCount: number): void {
  if (streamId === 0) throw protocolError('PRIORITY on stream 0');
  if (byteCount !== 5) throw sizeError('PRIORITY');
}

function closeWire(session: Session): void {
  session.closeWire();
}
