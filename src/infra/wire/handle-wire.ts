/**
 * A Wire on the handle inside a socket: the only file that touches what node keeps for itself. The handle reads into the
 * owner's memory and says at once whether the kernel took a write, so a small proxied request passes by both directions of
 * node's stream machinery. It is chosen only on the exact versions in wire-choice.ts; figures: docs/performance.md.
 *
 * Sockets are made, connected and accepted by node's documented API, and closed by it. In between nobody but the wire reads
 * or writes them: node's own stream of the socket sees neither data nor its end.
 */
import { Socket } from 'node:net';
import { getSystemErrorName } from 'node:util';
import { toError } from '../../contract/errors.ts';
import { SocketBound } from './socket-bound.ts';
import type { ConnectEvents, Wire, WireMaker } from './wire.ts';

/** Of the handle of a TCP, pipe or TLS socket (node's LibuvStreamWrap and TLSWrap). */
interface Handle {
  /** Handed over for writing, and of that not yet with the kernel. */
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

/** Needed, and kept by node, only for a write that the kernel did not take at once. */
interface WriteRequest {
  oncomplete: (this: WriteRequest, status: number) => void;
  wire: HandleWire;
  /** Keeps the memory alive that node writes from. */
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
/** The next write's request; used up only by one that is not over at once. */
let spareRequest: WriteRequest;

/** handleProblem is why node does not give its handles away, null where it does: its permission model may forbid it. */
export function handleProblem(): string | null {
  try {
    streamWrapOfNode();
    return null;
  } catch (error) {
    return toError(error).message;
  }
}

/** Throws where node refuses. */
function streamWrapOfNode(): StreamWrap {
  const { binding } = process as unknown as { binding: (name: string) => StreamWrap };
  return binding('stream_wrap');
}

/** handleWires is called once per process, and only on a version that the list names. */
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
  /** null before the connection is open, and once the wire is closed. */
  #handle: Handle | null = null;
  /** What the handle reads into. */
  #buffer: Buffer | null = null;
  #pendingWrites = 0;
  #peerEnded = false;

  /** attach takes the handle of an open socket over; node has started reading on it, in this turn of the loop. */
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
    // Else node starts the handle behind its event, and gives up one that the owner has started by then.
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

  /** read is the handle's: a count, or the code of an error. Returns the memory for the next read where it is another. */
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
    return this.#settle(handle.writeLatin1String(spareRequest, text), null);
  }

  writeChunk(before: string, chunk: Buffer, after: string): boolean {
    const handle = this.#writable();
    if (handle === null) return !this.writeFailed;
    if (before === '' && after === '') return this.#settle(handle.writeBuffer(spareRequest, chunk), chunk);
    const parts = [before, 'latin1', chunk, 'buffer', after, 'latin1'];
    return this.#settle(handle.writev(spareRequest, parts, false), chunk);
  }

  probe(): void {
    const handle = this.#writable();
    if (handle !== null && this.#pendingWrites === 0) {
      this.#settle(handle.writeLatin1String(spareRequest, ''), null);
    }
  }

  /** written is the request's, for a write that was not over at once. */
  written(status: number): void {
    this.#pendingWrites--;
    if (this.closed) return;
    if (status < 0) this.failWrites(systemError('write', status));
    else if (this.#pendingWrites === 0) this.events.onDrain();
  }

  protected override applyPaused(): void {
    if (this.paused) this.#handle?.readStop();
    // A handle that is started again behind the end would tell of the end again.
    else if (!this.#peerEnded) this.#handle?.readStart();
  }

  protected override letGo(): void {
    this.#handle = null;
  }

  #writable(): Handle | null {
    return this.closed || this.writeFailed || this.finSent ? null : this.#handle;
  }

  /** @returns whether the kernel has all that was ever written */
  #settle(code: number, chunk: Buffer | null): boolean {
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
