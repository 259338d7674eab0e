/**
 * A connection that speaks HTTP/2 (RFC 9113), for both sides.
 *
 * Session    the wire and its end; SETTINGS, PING, GOAWAY
 *  ├ output   session-output.ts: everything that leaves
 *  ├ streams  session-streams.ts: heads, DATA, windows and resets
 *  └ reader   frame-reader.ts: cuts frames out of what comes; DATA goes to the streams, the others come here first
 *
 * A breach of the protocol throws an Http2Error, which ends the connection. How much of what is allowed is too much is for the host to
 * say (onNoise).
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
  NO_BYTES,
  PAYLOAD_MAX_BYTES,
  PREFACE,
  protocolError,
  SETTING,
  STREAM_ID_MAX,
  sizeError,
  WINDOW_MAX_BYTES,
} from './frames.ts';
import type { SessionHost, SessionOptions } from './session-host.ts';
import { SessionOutput } from './session-output.ts';
import { SessionStreams } from './session-streams.ts';
import type { Stream } from './stream.ts';
import type { StreamEvents } from './stream-events.ts';

/**
 * All reads of this process go into it: what must be kept is copied. It is not `shared` of memory/body-buffers.ts: a tunnel copies its
 * bytes into that while later frames of the same read are still here.
 */
const READ_BUFFER = Buffer.allocUnsafeSlow(65_536);
/** Settings in one frame. */
const SETTINGS_MAX = 32;
const SETTING_BYTES = 6;
/** After our FIN the peer has this long to close. */
const LINGER_MS = 2_000;

/** Session is made by ClientH2Connection (clients) and BackendH2Connection (backends). */
export class Session implements ConnectEvents, FrameSink {
  /** The session has ended: no stream is open, and nothing more is sent. */
  isDead = false;
  readBytes = 0;
  /** What has ended it; null: nothing yet, or no error. */
  error: Error | null = null;
  readonly #options: SessionOptions;
  readonly #host: SessionHost;
  readonly #wire: Wire;
  readonly #output: SessionOutput;
  readonly #streams: SessionStreams;
  readonly #reader: FrameReader;
  /** Bytes of the preface that have come. */
  #prefaceBytes: number;
  #pingCount = 0;
  /** The host has heard its last call. */
  #isOver = false;
  #lingerTimer: NodeJS.Timeout | undefined;
  /** The peer's SETTINGS_MAX_CONCURRENT_STREAMS. */
  #maxStreams = Number.POSITIVE_INFINITY;

  /**
   * A server's SETTINGS leave at once; those of a client with onConnect.
   * @param makeWire the wire may ask for its memory before it returns, and calls nothing else
   */
  constructor(makeWire: (events: ConnectEvents) => Wire, options: SessionOptions, host: SessionHost) {
    this.#options = options;
    this.#host = host;
    this.#prefaceBytes = options.isServer ? 0 : PREFACE.length;
    this.#wire = makeWire(this);
    this.#output = new SessionOutput(this.#wire);
    this.#streams = new SessionStreams(this.#output, options, host);
    this.#reader = new FrameReader(this, this.#streams);
    if (options.isServer) this.#sendSettings();
  }

  /** The wire of a client is open: the preface and SETTINGS leave. */
  onConnect(): void {
    this.#wire.writeText(PREFACE.toString('latin1'));
    this.#sendSettings();
    this.flush();
  }

  /** The stream whose head has begun to come and is not whole; 0: none. */
  get unreadHeadId(): number {
    return this.#streams.openBlockId || this.#reader.partialHeadId;
  }

  /** The memory of frames that cannot be used yet, or cannot leave; without that of streams. */
  get heldMemoryBytes(): number {
    return this.#reader.unreadMemoryBytes + this.#streams.unreadMemoryBytes + this.#output.waitingMemoryBytes;
  }

  /** Bytes that the kernel has taken: the progress of a connection that is blocked. */
  get takenBytes(): number {
    return this.#wire.takenBytes;
  }

  get streamCount(): number {
    return this.#streams.count;
  }

  /** Whether a stream waits for its turn to send. */
  get hasQueued(): boolean {
    return this.#output.hasQueued;
  }

  // What the host asks for.

  /** open begins a stream of ours. @param fields of its head @param ends whether nothing follows */
  open(fields: readonly string[], ends: boolean, events: StreamEvents): Stream {
    return this.#streams.open(fields, ends, events);
  }

  /** flush sends what is framed now, and not at the end of this turn of the event loop. */
  flush(): void {
    this.#output.flush();
  }

  /** ping is answered by onPong. */
  ping(): void {
    this.#pingCount++;
    this.#output.frameControl(FRAME.PING, 0, 0, Buffer.alloc(8));
  }

  /** goaway tells the peer the last of its streams that is served. Later ones are ignored. */
  goaway(code: number): void {
    this.#sendGoaway(this.#streams.stopServing(), code);
  }

  /** announceGoaway asks the peer to open no further stream. Those on their way have come when onPong is called (RFC 9113 §6.8); `goaway` must follow. */
  announceGoaway(): void {
    this.#sendGoaway(STREAM_ID_MAX, CODE.NO_ERROR);
    this.ping();
  }

  #sendGoaway(lastStreamId: number, code: number): void {
    const payload = Buffer.alloc(8);
    payload.writeUInt32BE(lastStreamId);
    payload.writeUInt32BE(code, 4);
    this.#output.frameControl(FRAME.GOAWAY, 0, 0, payload);
  }

  /** destroy ends all streams, and the connection by GOAWAY and our FIN. What still comes is dropped. @param error see SessionHost.onClosed */
  destroy(code: number, error: Error | null = null): void {
    if (this.isDead) return;
    this.goaway(code);
    this.#end(code, error);
    // The last frames may wait for a peer that takes nothing, or that does not close.
    if (!this.#isOver) this.#lingerTimer = setTimeout(closeWire, LINGER_MS, this).unref();
  }

  /** finish follows `goaway`, when all streams are over, by our FIN. The peer may still be reading: the owner closes the wire (closeWire) when it has had its time. */
  finish(): void {
    if (!this.isDead) this.#end(CODE.NO_ERROR, null);
  }

  #end(code: number, error: Error | null): void {
    this.#output.flushLast();
    this.#wire.end();
    this.#die(code, error);
    if (this.#wire.closed) this.closeWire();
  }

  /** cut ends all streams and resets the connection. @param error see SessionHost.onClosed */
  cut(error: Error | null): void {
    this.#wire.reset();
    this.#lose(error);
  }

  /** closeWire closes the wire of a session that was destroyed, without waiting for the peer. */
  closeWire(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    // It would keep the session for the rest of its time.
    clearTimeout(this.#lingerTimer);
    this.#wire.close();
    this.#host.onWireClosed?.();
  }

  // The wire.

  nextBuffer(): Buffer {
    return READ_BUFFER;
  }

  onRead(byteCount: number): void {
    this.readBytes += byteCount;
    if (this.isDead) return;
    try {
      const from = this.#prefaceBytes < PREFACE.length ? this.#readPreface(byteCount) : 0;
      this.#reader.read(READ_BUFFER, from, byteCount);
      if (this.#output.isOverfull) throw new Http2Error(CODE.ENHANCE_YOUR_CALM, 'answers are not read');
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

  /** A write failed. A backend may have answered before it closed: begin no stream, and read for two more turns of the loop what the kernel has. */
  onWriteError(error: Error): void {
    if (this.#options.isServer || this.streamCount === 0) this.#lose(error);
    else {
      this.#host.onUnwritable?.();
      setImmediate(() => setImmediate(() => this.#lose(error)));
    }
  }

  onDrain(): void {
    this.#output.onDrain();
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
    this.#output.stop();
    this.#streams.closeAll(code);
    this.#output.drop();
    this.#host.onClosed(error);
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
    const { type, streamId } = frame;
    if (this.#streams.openBlockId !== 0 && type !== FRAME.CONTINUATION)
      throw protocolError('another frame within a block of fields');
    switch (type) {
      case FRAME.HEADERS:
        this.#streams.onHeaders(frame);
        break;
      case FRAME.CONTINUATION:
        this.#streams.onContinuation(frame);
        break;
      case FRAME.SETTINGS:
        this.#onSettings(frame);
        break;
      case FRAME.WINDOW_UPDATE:
        this.#streams.onWindowUpdate(frame);
        break;
      case FRAME.RST_STREAM:
        this.#streams.onReset(frame);
        break;
      case FRAME.PING:
        this.#onPing(frame);
        break;
      case FRAME.GOAWAY:
        this.#onGoaway(frame);
        break;
      case FRAME.PUSH_PROMISE:
        throw protocolError('PUSH_PROMISE');
      default:
        if (type === FRAME.PRIORITY) checkPriority(streamId, frame.byteCount);
        this.#host.onNoise('control');
    }
  }

  #onPing({ flags, streamId, payload, from, to, byteCount }: Frame): void {
    if (streamId !== 0) throw protocolError('PING on a stream');
    if (byteCount !== 8) throw sizeError('PING');
    if ((flags & FLAG.ACK) === 0) {
      this.#output.frameControl(FRAME.PING, FLAG.ACK, 0, payload.subarray(from, to));
      this.#host.onNoise('ping');
    } else if (this.#pingCount-- > 0) this.#host.onPong?.();
    else throw protocolError('PING ACK that nobody waits for');
  }

  #onGoaway({ streamId, payload, from, byteCount }: Frame): void {
    if (streamId !== 0) throw protocolError('GOAWAY on a stream');
    if (byteCount < 8) throw sizeError('GOAWAY');
    const lastStreamId = payload.readUInt32BE(from) & WINDOW_MAX_BYTES;
    this.#host.onGoaway?.(lastStreamId, payload.readUInt32BE(from + 4));
    if (!this.#options.isServer) this.#streams.refuseAbove(lastStreamId);
  }

  // Settings.

  #sendSettings(): void {
    const { isServer, streamWindowBytes, connectionWindowBytes, maxStreams, maxListBytes } = this.#options;
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
    this.#output.frameControl(FRAME.SETTINGS, 0, 0, payload);
    const moreBytes = connectionWindowBytes - INITIAL_WINDOW_BYTES;
    if (moreBytes > 0) this.#output.frameNumber(FRAME.WINDOW_UPDATE, 0, moreBytes);
  }

  #onSettings({ flags, streamId, payload, from, to, byteCount }: Frame): void {
    if (streamId !== 0) throw protocolError('SETTINGS on a stream');
    if ((flags & FLAG.ACK) !== 0) {
      if (byteCount !== 0) throw sizeError('SETTINGS ACK');
      return;
    }
    if (byteCount % SETTING_BYTES !== 0) throw sizeError('SETTINGS');
    if (byteCount > SETTINGS_MAX * SETTING_BYTES)
      throw new Http2Error(CODE.ENHANCE_YOUR_CALM, 'too many settings');
    let windowBytes: number | null = null;
    for (let at = from; at < to; at += SETTING_BYTES) {
      const id = payload.readUInt16BE(at);
      const value = payload.readUInt32BE(at + 2);
      if (id === SETTING.MAX_CONCURRENT_STREAMS) this.#maxStreams = value;
      else if (id === SETTING.INITIAL_WINDOW_SIZE) windowBytes = value;
      else this.#set(id, value);
    }
    if (windowBytes !== null) this.#streams.changeWindows(windowBytes);
    this.#output.frameControl(FRAME.SETTINGS, FLAG.ACK, 0, NO_BYTES);
    this.#host.onNoise('settings');
    if (!this.isDead) this.#host.onSettings?.(this.#maxStreams);
  }

  #set(id: number, value: number): void {
    switch (id) {
      case SETTING.HEADER_TABLE_SIZE:
        this.#output.limitTable(value);
        break;
      case SETTING.ENABLE_PUSH:
        if (value > (this.#options.isServer ? 1 : 0)) throw protocolError('bad ENABLE_PUSH');
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
