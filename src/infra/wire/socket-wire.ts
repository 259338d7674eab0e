/**
 * A Wire on node's documented API. For an accepted socket node allocates a chunk per read, which is copied into the owner's
 * memory and freed at once; a socket to a backend reads into the owner's memory (`onread`).
 */
import { Socket, type SocketConstructorOpts } from 'node:net';
import type { Wire, WireEvents } from '../../contract/wire.ts';
import { SocketBound } from './socket-bound.ts';
import type { ConnectEvents, WireMaker } from './wire-maker.ts';

/** Smaller chunks may be parts of node's slab, and are not worth freeing. */
const FREE_MIN_BYTES = 4096;

export const socketWires: WireMaker = {
  name: 'socket',
  accept: (socket, events) => {
    const wire = new SocketWire(socket, events);
    wire.takeData();
    return wire;
  },
  connect: (target, events) => {
    // Over TLS a failed write closes the connection: what the backend has sent before is lost.
    const socket = target.tls ? new Socket({ allowHalfOpen: true }) : new OutboundSocket();
    const wire = new SocketWire(socket, events);
    if (socket instanceof OutboundSocket) socket.wire = wire;
    wire.connect(target, events);
    return wire;
  },
};

class SocketWire extends SocketBound implements Wire {
  /** The rest of a chunk that is longer than the owner's memory, or in the middle of which the owner paused. */
  #rest: Buffer | null = null;
  /** The peer's FIN has come; the owner is told after the rest. */
  #peerEnded = false;
  #endTold = false;
  /** onDrain must follow. */
  #draining = false;
  readonly #drained = (error?: Error | null): void => this.#onDrained(error ?? null);

  constructor(socket: Socket, events: WireEvents) {
    super(socket, events);
    this.listen();
  }

  /** listen waits for the ends of the socket; again when a TLS socket has taken its place. */
  listen(): void {
    const { socket } = this;
    socket.on('end', () => {
      this.#peerEnded = true;
      this.#tellEnd();
    });
    socket.on('finish', () => this.#tellDrained());
    socket.on('close', () => {
      // node destroys a socket when both sides have ended. That is not a failure, and the owner closes the wire.
      if (!this.finSent || !this.#peerEnded) this.broken(new Error('connection closed'));
    });
  }

  protected override opened(events: ConnectEvents): void {
    if (this.tcp !== null) {
      this.listen();
      this.takeData();
    }
    events.onConnect();
  }

  /** takeData takes the socket's chunks. A socket with `onread` has none. */
  takeData(): void {
    this.socket.on('data', (chunk: Buffer) => this.take(chunk));
  }

  get readable(): boolean {
    return !this.closed && (this.#rest !== null || this.socket.readable);
  }

  get blocked(): boolean {
    return !this.closed && this.socket.writableLength > 0;
  }

  /** A piece counts once all of it has left: node's documented API tells no more. */
  get takenBytes(): number {
    return this.socket.bytesWritten - this.socket.writableLength;
  }

  writeText(text: string): boolean {
    if (!this.#mayWrite()) return !this.writeFailed;
    this.socket.write(text, 'latin1');
    return this.#afterWrite();
  }

  writeChunk(before: string, chunk: Buffer, after: string): boolean {
    if (!this.#mayWrite()) return !this.writeFailed;
    const socket = this.socket;
    if (before === '' && after === '') {
      socket.write(chunk);
      return this.#afterWrite();
    }
    socket.cork();
    if (before !== '') socket.write(before, 'latin1');
    socket.write(chunk);
    if (after !== '') socket.write(after, 'latin1');
    socket.uncork();
    return this.#afterWrite();
  }

  probe(): void {
    // Over TLS node may never end an empty write. It reads ahead there, and notices a reset by that.
    const isPlain = !('encrypted' in this.socket);
    if (isPlain && this.#mayWrite() && !this.blocked) this.socket.write('', 'latin1');
  }

  /** goOn gives out the rest of a chunk when the owner reads again. */
  goOn(): void {
    const rest = this.#rest;
    if (rest === null || this.paused) return;
    this.#rest = null;
    this.take(rest);
    if (this.paused || this.closed) return;
    this.socket.resume();
    this.#tellEnd();
  }

  /** take gives a chunk to the owner, in pieces that fit into the owner's memory. */
  take(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length && !this.closed) {
      if (this.paused) {
        this.#rest = chunk.subarray(at);
        return;
      }
      const buffer = this.events.nextBuffer();
      const count = chunk.copy(buffer, 0, at);
      at += count;
      this.events.onRead(count);
    }
    free(chunk);
  }

  protected override applyPaused(): void {
    if (this.paused) this.socket.pause();
    // The rest of the last chunk comes first, but not from within the owner's call.
    else if (this.#rest === null) this.socket.resume();
    else process.nextTick(goOn, this);
  }

  protected override dropReferences(): void {
    this.#rest = null;
  }

  #tellEnd(): void {
    if (!this.#peerEnded || this.#endTold || this.#rest !== null || this.closed) return;
    this.#endTold = true;
    this.events.onEnd();
  }

  #mayWrite(): boolean {
    return !this.closed && !this.writeFailed && !this.finSent && this.socket.writable;
  }

  #afterWrite(): boolean {
    // node counts a failed write as done, and tells of the failure a tick later.
    if (!this.blocked) return this.socket.errored === null;
    if (!this.#draining) {
      this.#draining = true;
      this.socket.write('', this.#drained);
    }
    return false;
  }

  #onDrained(error: Error | null): void {
    // After end() no empty write can follow: `finish` tells.
    if (this.closed || error !== null || (this.finSent && this.blocked)) return;
    if (!this.blocked) this.#tellDrained();
    // Wait for what was written since.
    else this.socket.write('', this.#drained);
  }

  #tellDrained(): void {
    const isOwed = this.#draining;
    this.#draining = false;
    if (isOwed && !this.closed && !this.writeFailed) this.events.onDrain();
  }
}

type WriteCallback = (error?: Error | null) => void;

/** A socket that survives a failed write: node would destroy it, and with it an early answer (413) that waits to be read. */
class OutboundSocket extends Socket {
  wire: SocketWire | null = null;
  #buffer: Buffer = Buffer.alloc(0);
  #writeFailed = false;
  /** Of the write that is under way; streams have at most one. */
  #callback: WriteCallback | null = null;
  readonly #written: WriteCallback = (error) => {
    const callback = this.#callback;
    this.#callback = null;
    if (error && !this.destroyed) {
      this.#writeFailed = true;
      this.wire?.failWrites(error);
    }
    callback?.(this.destroyed ? error : null);
  };

  constructor() {
    const onread: SocketConstructorOpts['onread'] = {
      // node asks once more after a callback in which the wire was closed.
      buffer: () => {
        if (this.wire?.closed === false) this.#buffer = this.wire.events.nextBuffer();
        return this.#buffer;
      },
      callback: (byteCount) => {
        if (this.wire?.closed === false) this.wire.events.onRead(byteCount);
        return !this.isPaused();
      },
    };
    super({ onread, allowHalfOpen: true });
  }

  override _write(chunk: unknown, encoding: BufferEncoding, callback: WriteCallback): void {
    if (this.#discards(callback)) return;
    super._write(chunk, encoding, this.#written);
  }

  override _writev(chunks: { chunk: unknown; encoding: BufferEncoding }[], callback: WriteCallback): void {
    if (this.#discards(callback)) return;
    super._writev?.(chunks, this.#written);
  }

  #discards(callback: WriteCallback): boolean {
    if (this.#writeFailed) callback(null);
    else this.#callback = callback;
    return this.#writeFailed;
  }
}

function goOn(wire: SocketWire): void {
  wire.goOn();
}

/** Frees the memory of a chunk at once: V8 collects dead ArrayBuffers only after tens of MiB of them. */
function free(chunk: Buffer): void {
  const memory = chunk.buffer;
  if (chunk.length < FREE_MIN_BYTES || chunk.length !== memory.byteLength) return;
  if (memory instanceof ArrayBuffer && !memory.detached) memory.transfer(0);
}
