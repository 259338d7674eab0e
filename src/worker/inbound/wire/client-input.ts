/**
 * The bytes of a client's connection: read into memory that all connections share, kept where their turn has not come, and
 * held back where the client is too far ahead. What they mean is up to ClientConnection.
 */
import { type ByteCount, PendingBytes } from '../../../http1/pending-bytes.ts';
import type { Wire, WireEvents } from '../../../infra/wire/wire.ts';
import { BaseConnection } from '../base-connection.ts';
import type { ConnectionOwner } from '../engine.ts';
import type { ClientBody } from './client-body.ts';
import type { ClientRequest } from './client-request.ts';

/** Bytes that may wait behind the request that is served before the client is no longer read. */
const AHEAD_MAX_BYTES = 32_768;
/** Up to here a client that is ahead is still read once per tick, so that a FIN behind the bytes ends its request. */
const LOOK_AHEAD_MAX_BYTES = 262_144;
/** Memory for pending bytes of all clients of a worker. Above it, whoever has more than SPARED_BYTES waiting is cut. */
export const WORKER_PENDING_MAX_BYTES = 67_108_864;
const SPARED_BYTES = 4_096;
/** Requests of one connection that may be answered before other connections have their turn. */
const TURN_MAX_REQUESTS = 32;

/** ClientInput is the lower half of ClientConnection. */
export abstract class ClientInput extends BaseConnection<ClientRequest> implements WireEvents {
  readonly wire: Wire;
  /** Bytes have come since the connection became idle or began to linger. */
  protected received = false;
  /** Made with the first request that has one. */
  protected body: ClientBody | null = null;
  /** All that was ever read. */
  protected readBytes = 0;
  protected readonly pending: PendingBytes;
  /** Bytes behind the head or the piece of body that was read last, empty lines left out (RFC 9112 §2.2). */
  protected restBytes = 0;
  /** A FIN has come that is told behind the pending bytes. */
  protected endWaits = false;

  readonly #pendingOfWorker: ByteCount;
  /** The memory of the read under way or to come. */
  #lent: Buffer;
  #advancing = false;
  #turnRequests = 0;
  /** Pending bytes go on in the next turn of the event loop. */
  #yielding = false;
  #paused = false;

  /**
   * @param makeWire is called once; it may ask for memory at once
   * @param pendingOfWorker what all connections of the worker keep
   */
  constructor(
    remoteAddress: string | undefined,
    owner: ConnectionOwner,
    makeWire: (events: WireEvents) => Wire,
    pendingOfWorker: ByteCount,
  ) {
    super(remoteAddress, owner);
    this.#lent = owner.buffers.shared;
    this.#pendingOfWorker = pendingOfWorker;
    this.pending = new PendingBytes(pendingOfWorker);
    this.wire = makeWire(this);
  }

  /** Whether a request is served, so that bytes behind it must wait. */
  protected abstract readonly serving: boolean;
  /** Whether bytes are of no use any more. */
  protected abstract readonly deaf: boolean;
  /** onFirstByte is told where `received` becomes true. */
  protected abstract onFirstByte(): void;
  /** step takes the next of the bytes at…to-1; returns the index behind it, or `at` or less where none may be touched now. */
  protected abstract step(buffer: Buffer, at: number, to: number): number;
  /** forgetText lets go of what was made of the bytes of a read. */
  protected abstract forgetText(): void;
  protected abstract onInputEnd(): void;
  abstract onDrain(): void;
  abstract onWriteError(error: Error): void;
  abstract onBroken(error: Error): void;

  protected override get watched(): Wire {
    return this.wire;
  }

  nextBuffer(): Buffer {
    this.#lent = this.body?.readable ?? this.owner.buffers.shared;
    return this.#lent;
  }

  onRead(byteCount: number): void {
    if (!this.received) {
      this.received = true;
      this.onFirstByte();
    }
    this.#turnRequests = 0;
    this.readBytes += byteCount;
    const pending = this.pending;
    const buffer = this.#lent;
    if (pending.length > 0) {
      pending.append(buffer, 0, byteCount);
      this.advancePending();
    } else {
      const at = this.#advance(buffer, 0, byteCount);
      if (at < byteCount && !this.deaf) pending.append(buffer, at, byteCount);
      this.pace();
    }
    this.body?.afterRead(byteCount);
    this.owner.buffers.afterRead();
  }

  protected advancePending(): void {
    if (this.#advancing) return;
    const pending = this.pending;
    if (pending.length > 0 && !this.#yielding) {
      const { buffer, from, to } = pending;
      const at = this.#advance(buffer, from, to);
      // The connection may have died and dropped everything meanwhile.
      if (pending.buffer === buffer) pending.consumeTo(at);
    }
    this.pace();
  }

  /** Goes through bytes from…to-1 as far as the states allow; returns where it stopped. */
  #advance(buffer: Buffer, from: number, to: number): number {
    this.#advancing = true;
    let at = from;
    while (at < to) {
      const next = this.step(buffer, at, to);
      if (next <= at) break;
      at = next;
    }
    this.forgetText();
    this.restBytes = !this.deaf ? to - at : 0;
    this.#advancing = false;
    return at;
  }

  /** takeTurn tells whether a further request may be read in this turn; else it is read in the next one. */
  protected takeTurn(): boolean {
    if (++this.#turnRequests <= TURN_MAX_REQUESTS) return true;
    this.#yielding = true;
    setImmediate(() => this.#goOn());
    return false;
  }

  #goOn(): void {
    this.#yielding = false;
    this.#turnRequests = 0;
    if (this.wire.closed) return;
    this.advancePending();
    if (!this.endWaits || this.#yielding) return;
    this.endWaits = false;
    this.onEnd();
  }

  /** Stops reading a client that is too far ahead, reads on one that is not, and cuts it where the worker keeps too much. */
  protected pace(): void {
    if (this.#advancing || this.wire.closed) return;
    const aheadBytes = this.pending.length;
    if (aheadBytes > SPARED_BYTES && this.#pendingOfWorker.bytes > WORKER_PENDING_MAX_BYTES) {
      this.owner.onOverload();
      this.destroy();
      return;
    }
    const isAhead = aheadBytes >= AHEAD_MAX_BYTES || this.body?.paused === true;
    this.#setPaused(isAhead && (this.serving || this.#yielding));
  }

  #setPaused(paused: boolean): void {
    if (paused === this.#paused) return;
    this.#paused = paused;
    if (!paused) this.wire.resume();
    else {
      this.wire.pause();
      this.watchForEnd();
    }
  }

  /** A wire that is not read tells neither of a reset nor of a FIN, which shall end the request at once (B28). */
  protected watchForEnd(): void {
    if (this.#paused && this.serving) this.arm(0);
  }

  protected lookForEnd(): void {
    if (!this.#paused) return;
    // What waits to leave tells of a reset by itself.
    if (!this.wire.blocked) this.wire.probe();
    const mayReadOn =
      this.body?.paused !== true &&
      this.pending.length < LOOK_AHEAD_MAX_BYTES &&
      this.#pendingOfWorker.bytes < WORKER_PENDING_MAX_BYTES / 2;
    // The next read pauses it again.
    if (mayReadOn) this.#setPaused(false);
    else this.watchForEnd();
  }

  onEnd(): void {
    if (this.#yielding) this.endWaits = true;
    else this.onInputEnd();
  }
}
