/**
 * A Wire on the handle inside a socket. It and its parts use private API of node, only on the exact versions in
 * wire-choice.ts. The handle reads into the owner's memory and says at once whether the kernel took a write, so a small request
 * costs nothing in node's streams (figures: docs/performance.md).
 *
 * Sockets are made, connected, accepted and closed by node's documented API. In between only the wire reads and writes: the
 * socket's own stream sees neither data nor its end.
 */
import { Socket } from 'node:net';
import { toError } from '../../contract/errors.ts';
import type { Wire } from '../../contract/wire.ts';
import { type Handle, type StreamWrap, streamWrapOfNode, systemError, type WriteRequest } from './handle.ts';
import { OVERFLOW, SecureReads } from './secure-reads.ts';
import { SecureWrites } from './secure-writes.ts';
import { SocketBound } from './socket-bound.ts';
import type { ConnectEvents, WireMaker } from './wire-maker.ts';

interface OwnedHandle extends Handle {
  onread: (this: OwnedHandle) => Buffer | undefined;
  [WIRE]: HandleWire;
}

/** The request of a write that the kernel did not take at once. */
interface PendingRequest extends WriteRequest {
  oncomplete: (this: PendingRequest, status: number) => void;
  wire: HandleWire;
  /** The memory that node writes from; kept alive by this. */
  memory: unknown;
}

const WIRE = Symbol('wire');
const UV_EOF = -4095;

let streamWrap: StreamWrap;
/** The request object of the next write. Node keeps it, and a new one is made, only if the kernel does not take all at once. */
let spareRequest: WriteRequest;

/** handleProblem is why node gives no access to its handles; null where it does. */
export function handleProblem(): string | null {
  try {
    streamWrapOfNode();
    return null;
  } catch (error) {
    return toError(error).message;
  }
}

/** handleWires is called once per process, where chooseDataPath (wire-choice.ts) allows it. */
export function handleWires(): WireMaker {
  streamWrap = streamWrapOfNode();
  spareRequest = new streamWrap.WriteWrap();
  return {
    name: 'handle',
    accept: (socket, events) => {
      const wire = new HandleWire(socket, events);
      wire.attach();
      return wire;
    },
    connect: (target, events) => {
      const wire = new HandleWire(new Socket(), events);
      wire.connect(target, events);
      return wire;
    },
  };
}

class HandleWire extends SocketBound implements Wire {
  /** null before the connection is open, and after the wire is closed. */
  #handle: OwnedHandle | null = null;
  /** The handle that the kernel knows: that below TLS, else #handle. */
  #transport: Handle | null = null;
  /** The handle reads into this. */
  #buffer: Buffer | null = null;
  /** Writes that the kernel did not take at once. */
  #pendingWrites = 0;
  #peerEnded = false;
  /** Both are null without TLS. */
  #secureReads: SecureReads | null = null;
  #secureWrites: SecureWrites | null = null;
  /** end() or close() waits for a write over TLS. */
  #endWaits = false;

  /** attach takes over the handle of an open socket, which node may have begun to read. */
  attach(): void {
    const handle = (this.socket as unknown as { _handle: OwnedHandle | null })._handle;
    if (handle === null) return;
    this.#handle = this.#transport = handle;
    this.#buffer = this.events.nextBuffer();
    handle[WIRE] = this;
    handle.useUserBuffer(this.#buffer);
    handle.onread = onRead;
    if ('encrypted' in this.socket) this.#secure(handle);
    // What somebody read before this wire and put back (unshift).
    const putBack: Buffer | null = this.socket.readableLength > 0 ? this.socket.read() : null;
    if (putBack !== null) process.nextTick(readPutBack, this, putBack);
  }

  #secure(handle: OwnedHandle): void {
    this.#transport = handle._parent;
    this.#secureReads = new SecureReads(this);
    this.#secureWrites = new SecureWrites(this, handle, streamWrap.WriteWrap);
    handle.onread = onSecureRead;
  }

  /** readPutBack gives the owner these bytes as if they came now. */
  readPutBack(bytes: Buffer): void {
    for (let at = 0; this.#buffer !== null && at < bytes.length && !this.closed; ) {
      const count = bytes.copy(this.#buffer, 0, at);
      at += count;
      const next = this.read(count);
      if (next !== undefined) this.#handle?.useUserBuffer(next);
    }
  }

  protected override opened(events: ConnectEvents): void {
    this.attach();
    // Otherwise node would start reading after its `connect` event, and close a handle that the owner has started by then.
    this.socket.pause();
    events.onConnect();
    if (!this.paused) this.#handle?.readStart();
  }

  get readable(): boolean {
    return !this.closed && !this.#peerEnded;
  }

  get blocked(): boolean {
    if (this.closed) return false;
    return this.#secureWrites === null ? this.#pendingWrites > 0 : this.#secureWrites.blocked;
  }

  get takenBytes(): number {
    const transport = this.#transport;
    return transport === null ? 0 : transport.bytesWritten - transport.writeQueueSize;
  }

  /** read is called by the handle. @returns the memory for the next read, where it is not the same */
  read(countOrError: number): Buffer | undefined {
    if (this.closed || countOrError === 0) return undefined;
    if (countOrError < 0) {
      this.peerEnded(countOrError);
      return undefined;
    }
    this.events.onRead(countOrError);
    if (this.closed) return undefined;
    const next = this.events.nextBuffer();
    if (next === this.#buffer) return undefined;
    this.#buffer = next;
    return next;
  }

  readSecure(countOrError: number): Buffer | undefined {
    return this.#secureReads?.read(countOrError);
  }

  /** peerEnded is called when nothing more comes. @param code of node */
  peerEnded(code: number): void {
    if (this.#peerEnded) return;
    this.#peerEnded = true;
    if (code === UV_EOF) this.events.onEnd();
    else this.broken(systemError('read', code));
  }

  writeText(text: string): boolean {
    const handle = this.#writable();
    if (handle === null) return !this.writeFailed;
    if (this.#secureWrites !== null) return this.#secureWrites.writeText(text);
    return this.#afterWrite(handle.writeLatin1String(spareRequest, text), null);
  }

  writeChunk(before: string, chunk: Buffer, after: string): boolean {
    const handle = this.#writable();
    if (handle === null) return !this.writeFailed;
    if (this.#secureWrites !== null) return this.#secureWrites.writeChunk(before, chunk, after);
    if (before === '' && after === '')
      return this.#afterWrite(handle.writeBuffer(spareRequest, chunk), chunk);
    const parts = [before, 'latin1', chunk, 'buffer', after, 'latin1'];
    return this.#afterWrite(handle.writev(spareRequest, parts, false), chunk);
  }

  probe(): void {
    if (this.#writable() === null || this.blocked || this.#secureWrites?.writing) return;
    // Below TLS: an empty write of TLSWrap may never end.
    const code = this.#transport?.writeLatin1String(spareRequest, '') ?? 0;
    if (code !== 0) this.failWrites(systemError('write', code));
  }

  /** written is called when a write ends that the kernel did not take at once. */
  written(status: number): void {
    this.#pendingWrites--;
    if (this.closed) return;
    if (status < 0) this.failWrites(systemError('write', status));
    else if (this.#pendingWrites === 0 && !this.writeFailed) this.events.onDrain();
  }

  /** onWritten is `written` over TLS. */
  onWritten(drained: boolean): void {
    if (this.closed) {
      if (this.#endWaits) super.tellEnd();
    } else if (!this.writeFailed) {
      if (drained) this.events.onDrain();
      this.#endIfDue();
    }
  }

  override end(): void {
    // What was written must leave before the end (close_notify). A second call leaves it waiting.
    if (this.#secureWrites?.awaitEnd() !== true) super.end();
    else if (!this.finSent && !this.closed) this.finSent = this.#endWaits = true;
  }

  protected override tellEnd(): void {
    this.#endWaits = this.#secureWrites?.awaitEnd() === true;
    if (!this.#endWaits) super.tellEnd();
  }

  #endIfDue(): void {
    if (!this.#endWaits || this.closed || this.#secureWrites?.awaitEnd()) return;
    this.#endWaits = false;
    this.socket.end();
  }

  /** applyPaused is also called when nothing waits in #secureReads any more. */
  override applyPaused(): void {
    if (this.paused) this.#handle?.readStop();
    // What waits comes first, but not from within the owner's call.
    else if (this.#secureReads?.waiting) process.nextTick(goOn, this.#secureReads);
    // A handle that is started after the end would tell of the end again.
    else if (!this.#peerEnded) this.#handle?.readStart();
  }

  protected override dropReferences(): void {
    if (this.#secureReads !== null) {
      // The handle may go on reading until it is closed.
      this.#handle?.readStop();
      this.#handle?.useUserBuffer(OVERFLOW);
      this.#secureReads.drop();
      this.#secureWrites?.drop();
    }
    this.#handle = this.#transport = null;
  }

  #writable(): OwnedHandle | null {
    return this.closed || this.writeFailed || this.finSent ? null : this.#handle;
  }

  /** @returns whether the kernel has all that was ever written */
  #afterWrite(code: number, memory: unknown): boolean {
    if (code !== 0) {
      this.failWrites(systemError('write', code));
      return false;
    }
    const { streamBaseState, kLastWriteWasAsync } = streamWrap;
    if (streamBaseState[kLastWriteWasAsync] === 0) return this.#pendingWrites === 0;
    this.#pendingWrites++;
    const pending: Omit<PendingRequest, 'getAsyncId'> = { oncomplete: onWritten, wire: this, memory };
    Object.assign(spareRequest, pending);
    spareRequest = new streamWrap.WriteWrap();
    return false;
  }
}

function onRead(this: OwnedHandle): Buffer | undefined {
  return this[WIRE].read(streamWrap.streamBaseState[streamWrap.kReadBytesOrError]!);
}

function onSecureRead(this: OwnedHandle): Buffer | undefined {
  return this[WIRE].readSecure(streamWrap.streamBaseState[streamWrap.kReadBytesOrError]!);
}

function goOn(reads: SecureReads): void {
  reads.goOn();
}

function readPutBack(wire: HandleWire, bytes: Buffer): void {
  wire.readPutBack(bytes);
}

function onWritten(this: PendingRequest, status: number): void {
  this.memory = null;
  this.wire.written(status);
}
