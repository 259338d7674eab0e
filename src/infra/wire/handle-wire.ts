/**
 * A Wire on the handle inside a socket: the only file that uses node's private API, and only on the exact versions in
 * wire-choice.ts. The handle reads into the owner's memory and says at once whether the kernel took a write, so a small request
 * costs nothing in node's streams (figures: docs/performance.md).
 *
 * Sockets are made, connected, accepted and closed by node's documented API. In between only the wire reads and writes: the
 * socket's own stream sees neither data nor its end.
 */
import { Socket } from 'node:net';
import { getSystemErrorName } from 'node:util';
import { toError } from '../../contract/errors.ts';
import type { Wire } from '../../contract/wire.ts';
import { SocketBound } from './socket-bound.ts';
import type { ConnectEvents, WireMaker } from './wire.ts';

/** The handle of a TCP, pipe or TLS socket: node's LibuvStreamWrap or TLSWrap. */
interface Handle {
  /** Bytes written, and how many of them the kernel does not have yet. */
  readonly bytesWritten: number;
  readonly writeQueueSize: number;
  onread: (this: Handle) => Buffer | undefined;
  useUserBuffer(buffer: Buffer): void;
  readStart(): number;
  readStop(): number;
  writeLatin1String(request: WriteRequest, text: string): number;
  writeBuffer(request: WriteRequest, chunk: Buffer): number;
  writev(request: WriteRequest, parts: unknown[], allBuffers: boolean): number;
  [WIRE]: HandleWire;
}

/** Node keeps it only for a write that the kernel did not take at once. */
interface WriteRequest {
  oncomplete: (this: WriteRequest, status: number) => void;
  wire: HandleWire;
  /** The memory that node writes from; kept alive by this. */
  chunk: Buffer | null;
}

interface StreamWrap {
  WriteWrap: new () => WriteRequest;
  kReadBytesOrError: number;
  kLastWriteWasAsync: number;
  streamBaseState: Int32Array;
}

const WIRE = Symbol('wire');
const UV_EOF = -4095;

let streamWrap: StreamWrap;
/** The request object of the next write. A new one is made only after a write that the kernel did not take at once. */
let spareRequest: WriteRequest;

/** handleProblem is why node gives no access to its handles (its permission model may forbid it); null where it does. */
export function handleProblem(): string | null {
  try {
    streamWrapOfNode();
    return null;
  } catch (error) {
    return toError(error).message;
  }
}

/** Throws where node gives no access. */
function streamWrapOfNode(): StreamWrap {
  const { binding } = process as unknown as { binding: (name: string) => StreamWrap };
  return binding('stream_wrap');
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
      wire.connect(target, () => wire.connected(events));
      return wire;
    },
  };
}

class HandleWire extends SocketBound implements Wire {
  /** null before the connection is open, and after the wire is closed. */
  #handle: Handle | null = null;
  /** The handle reads into this. */
  #buffer: Buffer | null = null;
  #pendingWrites = 0;
  #peerEnded = false;

  /** attach takes over the handle of an open socket. node has started to read in this turn of the event loop. */
  attach(): void {
    const handle = (this.socket as unknown as { _handle: Handle | null })._handle;
    if (handle === null) return;
    this.#handle = handle;
    this.#buffer = this.events.nextBuffer();
    handle[WIRE] = this;
    handle.useUserBuffer(this.#buffer);
    handle.onread = onRead;
  }

  connected(events: ConnectEvents): void {
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
    return !this.closed && this.#pendingWrites > 0;
  }

  get takenBytes(): number {
    const handle = this.#handle;
    return handle === null ? 0 : handle.bytesWritten - handle.writeQueueSize;
  }

  /** read is called by the handle. @returns the memory for the next read, where it is not the same */
  read(countOrError: number): Buffer | undefined {
    if (this.closed || countOrError === 0) return undefined;
    if (countOrError < 0) {
      this.#peerEnded = true;
      if (countOrError === UV_EOF) this.events.onEnd();
      else this.broken(systemError('read', countOrError));
      return undefined;
    }
    this.events.onRead(countOrError);
    if (this.closed) return undefined;
    const next = this.events.nextBuffer();
    if (next === this.#buffer) return undefined;
    this.#buffer = next;
    return next;
  }

  writeText(text: string): boolean {
    const handle = this.#writable();
    if (handle === null) return !this.writeFailed;
    return this.#afterWrite(handle.writeLatin1String(spareRequest, text), null);
  }

  writeChunk(before: string, chunk: Buffer, after: string): boolean {
    const handle = this.#writable();
    if (handle === null) return !this.writeFailed;
    if (before === '' && after === '')
      return this.#afterWrite(handle.writeBuffer(spareRequest, chunk), chunk);
    const parts = [before, 'latin1', chunk, 'buffer', after, 'latin1'];
    return this.#afterWrite(handle.writev(spareRequest, parts, false), chunk);
  }

  probe(): void {
    const handle = this.#writable();
    if (handle !== null && this.#pendingWrites === 0) {
      this.#afterWrite(handle.writeLatin1String(spareRequest, ''), null);
    }
  }

  /** written is called when a write ends that the kernel did not take at once. */
  written(status: number): void {
    this.#pendingWrites--;
    if (this.closed) return;
    if (status < 0) this.failWrites(systemError('write', status));
    else if (this.#pendingWrites === 0) this.events.onDrain();
  }

  protected override applyPaused(): void {
    if (this.paused) this.#handle?.readStop();
    // A handle that is started after the end would tell of the end again.
    else if (!this.#peerEnded) this.#handle?.readStart();
  }

  protected override dropReferences(): void {
    this.#handle = null;
  }

  #writable(): Handle | null {
    return this.closed || this.writeFailed || this.finSent ? null : this.#handle;
  }

  /** @returns whether the kernel has all that was ever written */
  #afterWrite(code: number, chunk: Buffer | null): boolean {
    if (code !== 0) {
      this.failWrites(systemError('write', code));
      return false;
    }
    const { streamBaseState, kLastWriteWasAsync } = streamWrap;
    if (streamBaseState[kLastWriteWasAsync] === 0) return this.#pendingWrites === 0;
    const request = spareRequest;
    spareRequest = new streamWrap.WriteWrap();
    request.oncomplete = onWritten;
    request.wire = this;
    request.chunk = chunk;
    this.#pendingWrites++;
    return false;
  }
}

function onRead(this: Handle): Buffer | undefined {
  return this[WIRE].read(streamWrap.streamBaseState[streamWrap.kReadBytesOrError]!);
}

function onWritten(this: WriteRequest, status: number): void {
  this.chunk = null;
  this.wire.written(status);
}

function systemError(call: string, code: number): Error {
  const name = getSystemErrorName(code);
  return Object.assign(new Error(`${call} ${name}`), { code: name, errno: code, syscall: call });
}
