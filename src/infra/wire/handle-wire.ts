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
  /** Only of TLSWrap: the handle below. */
  readonly _parent: Handle;
  [WIRE]: HandleWire;
}

/** Node keeps it only for a write that the kernel did not take at once. */
interface WriteRequest {
  oncomplete: (this: WriteRequest, status: number) => void;
  wire: HandleWire;
  /** The memory that node writes from; kept alive by this. */
  memory: unknown;
  /** Whether the wire is blocked until it ends. */
  blocks: boolean;
}

interface StreamWrap {
  WriteWrap: new () => WriteRequest;
  kReadBytesOrError: number;
  kLastWriteWasAsync: number;
  streamBaseState: Int32Array;
}

const WIRE = Symbol('wire');
const UV_EOF = -4095;
/**
 * One read of the network may bring several TLS records, and node reads them all, also after a pause or a close by the first. The
 * later ones go here: nobody may write into memory of the owner then.
 */
const OVERFLOW = Buffer.allocUnsafeSlow(16_384);

/** Up to this much, TLSWrap hands over all that it has encrypted in one write. */
const SECURE_WRITE_BYTES = 16_384;

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
  /** Writes, and the queue, that block the wire. */
  #pendingWrites = 0;
  #peerEnded = false;
  /** The TCP handle below TLS; null without TLS. */
  #lower: Handle | null = null;
  /** TLSWrap is writing, and aborts the process if it is given more before that ends, a turn of the event loop later at the earliest. */
  #busy = false;
  /** The request of its last write. */
  #current: WriteRequest | null = null;
  /** What waits for that, as `writev` takes it; null: nothing. */
  #queue: unknown[] | null = null;
  #endWaits = false;
  /** Over TLS: what came after the owner had paused. */
  readonly #rest: Buffer[] = [];
  /** Over TLS: the end (a code of node) that came after the rest; 0: none waits. */
  #waitingEnd = 0;

  /** attach takes over the handle of an open socket. node has started to read in this turn of the event loop. */
  attach(): void {
    const handle = (this.socket as unknown as { _handle: Handle | null })._handle;
    if (handle === null) return;
    this.#handle = handle;
    this.#buffer = this.events.nextBuffer();
    handle[WIRE] = this;
    handle.useUserBuffer(this.#buffer);
    handle.onread = onRead;
    if ('encrypted' in this.socket) {
      handle.onread = onSecureRead;
      this.#lower = handle._parent;
    }
    // What somebody read before this wire and put back (unshift).
    const putBack: Buffer | null = this.socket.readableLength > 0 ? this.socket.read() : null;
    if (putBack !== null) process.nextTick(readPutBack, this, putBack);
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

  connected(events: ConnectEvents): void {
    this.attach();
    // Otherwise node would start reading after its `connect` event, and close a handle that the owner has started by then.
    this.socket.pause();
    events.onConnect();
    if (!this.paused) this.#handle?.readStart();
  }

  get readable(): boolean {
    return !this.closed && (!this.#peerEnded || this.#rest.length > 0);
  }

  get blocked(): boolean {
    return !this.closed && this.#pendingWrites > 0;
  }

  get takenBytes(): number {
    const handle = this.#lower ?? this.#handle;
    return handle === null ? 0 : handle.bytesWritten - handle.writeQueueSize;
  }

  /** read is called by the handle. @returns the memory for the next read, where it is not the same */
  read(countOrError: number): Buffer | undefined {
    if (this.closed || countOrError === 0) return undefined;
    if (countOrError < 0) {
      this.#onEnd(countOrError);
      return undefined;
    }
    this.events.onRead(countOrError);
    return this.closed ? undefined : this.#readInto(this.events.nextBuffer());
  }

  /** readSecure is read() over TLS. */
  readSecure(countOrError: number): Buffer | undefined {
    if (countOrError === 0) return undefined;
    if (this.closed) return OVERFLOW;
    if (countOrError < 0) {
      if (this.#mustWait) this.#waitingEnd = countOrError;
      else this.#onEnd(countOrError);
      return undefined;
    }
    if (this.#buffer !== OVERFLOW) this.events.onRead(countOrError);
    else {
      this.#rest.push(Buffer.from(OVERFLOW.subarray(0, countOrError)));
      this.#giveRest();
    }
    return this.#readInto(this.closed || this.#mustWait ? OVERFLOW : this.events.nextBuffer());
  }

  get #mustWait(): boolean {
    return this.paused || this.#rest.length > 0;
  }

  #giveRest(): void {
    for (let piece = this.#rest[0]; piece !== undefined && !this.paused; piece = this.#rest[0]) {
      const count = piece.copy(this.events.nextBuffer());
      if (count === piece.length) this.#rest.shift();
      else this.#rest[0] = piece.subarray(count);
      this.events.onRead(count);
    }
  }

  /** goOn gives out the rest when the owner reads again. */
  goOn(): void {
    this.#giveRest();
    if (this.closed || this.#mustWait) return;
    if (this.#waitingEnd === 0) this.applyPaused();
    else this.#onEnd(this.#waitingEnd);
  }

  #onEnd(code: number): void {
    if (this.#peerEnded) return;
    this.#peerEnded = true;
    if (code === UV_EOF) this.events.onEnd();
    else this.broken(systemError('read', code));
  }

  /** @returns the memory for the next read, where it is not the same */
  #readInto(next: Buffer): Buffer | undefined {
    if (next === this.#buffer) return undefined;
    this.#buffer = next;
    return next;
  }

  writeText(text: string): boolean {
    const handle = this.#writable();
    if (handle === null) return !this.writeFailed;
    if (this.#busy) return this.#enqueue(text, 'latin1');
    return this.#afterWrite(handle.writeLatin1String(this.#request(), text), null);
  }

  writeChunk(before: string, chunk: Buffer, after: string): boolean {
    const handle = this.#writable();
    if (handle === null) return !this.writeFailed;
    const isAlone = before === '' && after === '';
    if (isAlone && !this.#busy) return this.#afterWrite(handle.writeBuffer(this.#request(), chunk), chunk);
    const parts = isAlone ? [chunk, 'buffer'] : [before, 'latin1', chunk, 'buffer', after, 'latin1'];
    if (this.#busy) return this.#enqueue(...parts);
    return this.#afterWrite(handle.writev(this.#request(), parts, false), chunk);
  }

  #enqueue(...parts: unknown[]): boolean {
    if (this.#queue === null) {
      this.#queue = parts;
      this.#pendingWrites++;
    } else this.#queue.push(...parts);
    return false;
  }

  probe(): void {
    if (this.#writable() === null || this.#pendingWrites > 0 || this.#busy) return;
    // An empty write of TLSWrap may never end.
    const handle = this.#lower ?? this.#handle;
    const code = handle?.writeLatin1String(spareRequest, '') ?? 0;
    if (code !== 0) this.failWrites(systemError('write', code));
  }

  /** Over TLS a failed write ends before the call returns, so its request must be ready. */
  #request(): WriteRequest {
    if (this.#lower === null) return spareRequest;
    this.#busy = true;
    this.#current = this.#prepare(new streamWrap.WriteWrap());
    return this.#current;
  }

  #prepare(request: WriteRequest): WriteRequest {
    request.oncomplete = onWritten;
    request.wire = this;
    request.memory = null;
    request.blocks = false;
    return request;
  }

  /** written is called when a write ends that the kernel did not take at once, and at the end of each one over TLS. */
  written(status: number, blocks: boolean): void {
    const wasBlocked = this.#pendingWrites > 0;
    if (blocks) this.#pendingWrites--;
    this.#busy = false;
    if (this.closed) {
      if (this.#endWaits) super.tellEnd();
      return;
    }
    if (status < 0) {
      if (this.#queue !== null) this.#pendingWrites--;
      this.#queue = null;
      this.failWrites(systemError('write', status));
    } else {
      this.#writeQueue();
      if (wasBlocked && this.#pendingWrites === 0 && !this.writeFailed) this.events.onDrain();
      this.#endIfDue();
    }
  }

  #writeQueue(): void {
    const queue = this.#queue;
    if (queue === null) return;
    this.#queue = null;
    this.#pendingWrites--;
    const handle = this.writeFailed ? null : this.#handle;
    if (handle !== null) this.#afterWrite(handle.writev(this.#request(), queue, false), queue);
  }

  override end(): void {
    if (!this.#busy) super.end();
    // What was written must leave before the end (close_notify). A second call leaves it waiting.
    else if (!this.finSent) this.finSent = this.#endWaits = true;
  }

  protected override tellEnd(): void {
    if (this.#busy) this.#endWaits = true;
    else super.tellEnd();
  }

  #endIfDue(): void {
    if (!this.#endWaits || this.#busy || this.closed) return;
    this.#endWaits = false;
    this.socket.end();
  }

  protected override applyPaused(): void {
    if (this.paused) this.#handle?.readStop();
    // The rest comes first, but not from within the owner's call.
    else if (this.#rest.length > 0 || this.#waitingEnd !== 0) process.nextTick(goOn, this);
    // A handle that is started after the end would tell of the end again.
    else if (!this.#peerEnded) this.#handle?.readStart();
  }

  protected override dropReferences(): void {
    // It may go on reading until it is closed.
    if ('encrypted' in this.socket) {
      this.#handle?.readStop();
      this.#handle?.useUserBuffer(OVERFLOW);
    }
    this.#handle = this.#lower = this.#queue = null;
    this.#rest.length = 0;
  }

  #writable(): Handle | null {
    return this.closed || this.writeFailed || this.finSent ? null : this.#handle;
  }

  /** @returns whether the kernel has all that was ever written */
  #afterWrite(code: number, memory: unknown): boolean {
    if (code !== 0) {
      this.#busy = false;
      this.failWrites(systemError('write', code));
      return false;
    }
    if (this.#lower !== null) return this.#afterSecureWrite(this.#lower, memory);
    const { streamBaseState, kLastWriteWasAsync } = streamWrap;
    if (streamBaseState[kLastWriteWasAsync] === 0) return this.#pendingWrites === 0;
    this.#block(this.#prepare(spareRequest), memory);
    spareRequest = new streamWrap.WriteWrap();
    return false;
  }

  /** For node every write over TLS is asynchronous, also one that the kernel has taken. */
  #afterSecureWrite(lower: Handle, memory: unknown): boolean {
    // It has failed already.
    if (!this.#busy) return false;
    const restBytes = this.#handle?.writeQueueSize ?? 0;
    const isTaken = lower.writeQueueSize === 0 && restBytes <= SECURE_WRITE_BYTES;
    if (!isTaken && this.#current !== null) this.#block(this.#current, memory);
    return this.#pendingWrites === 0;
  }

  #block(request: WriteRequest, memory: unknown): void {
    request.memory = memory;
    request.blocks = true;
    this.#pendingWrites++;
  }
}

function onRead(this: Handle): Buffer | undefined {
  return this[WIRE].read(streamWrap.streamBaseState[streamWrap.kReadBytesOrError]!);
}

function onSecureRead(this: Handle): Buffer | undefined {
  return this[WIRE].readSecure(streamWrap.streamBaseState[streamWrap.kReadBytesOrError]!);
}

function goOn(wire: HandleWire): void {
  wire.goOn();
}

function readPutBack(wire: HandleWire, bytes: Buffer): void {
  wire.readPutBack(bytes);
}

function onWritten(this: WriteRequest, status: number): void {
  this.memory = null;
  this.wire.written(status, this.blocks);
}

function systemError(call: string, code: number): Error {
  const name = getSystemErrorName(code);
  return Object.assign(new Error(`${call} ${name}`), { code: name, errno: code, syscall: call });
}
