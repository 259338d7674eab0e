/** The bytes that a client sends: read, kept until their turn comes, and not read from a client that is too far ahead. */
import type { ClientFacts } from '../../../contract/downstream.ts';
import type { Wire, WireEvents } from '../../../contract/wire.ts';
import { RequestHeadReader } from '../../../http1/request-head-reader.ts';
import { PENDING_MAX_BYTES, PendingBytes, type PendingMemory } from '../../../memory/pending-bytes.ts';
import type { ConnectionOwner } from '../base-connection.ts';
import type { ClientBody } from './client-body.ts';
import type { ClientRequest } from './client-request.ts';
import { Http1Connection } from './http1-connection.ts';

/** When this much waits after the request that is served, the client is no longer read. */
const AHEAD_MAX_BYTES = 32_768;
/**
 * Up to this much a client that is ahead is still read once per tick, so that a FIN after the bytes ends its request. It is not read
 * while clients take half of PENDING_MAX_BYTES, because nobody must be cut only to see a FIN. A reset is always seen.
 */
const LOOK_AHEAD_MAX_BYTES = 262_144;
/** Requests of one connection that are answered before other connections have their turn. */
const TURN_MAX_REQUESTS = 32;

/** ClientInput owns the wire, the unread bytes and the pace of the reading. ClientConnection has the states, and says what is read next. */
export abstract class ClientInput extends Http1Connection<ClientRequest> implements WireEvents {
  readonly wire: Wire;
  readonly pendingMemory: PendingMemory;
  protected readonly heads = new RequestHeadReader();
  /** Bytes have come since the connection became idle. */
  protected received = false;
  /** Made with the first request that has one. */
  body: ClientBody | null = null;
  protected readBytes = 0;
  protected readonly pending: PendingBytes;
  /** Bytes after the head or the piece of body that was read last, without empty lines (RFC 9112 §2.2). */
  restBytes = 0;
  /** A FIN has come; it is handled after the pending bytes. */
  protected endWaits = false;

  /** The memory of the next read, or of the one under way. */
  #lent: Buffer;
  #advancing = false;
  #turnRequests = 0;
  /** The pending bytes wait for the next turn of the event loop. */
  #yielding = false;
  #paused = false;

  constructor(
    client: ClientFacts,
    owner: ConnectionOwner,
    makeWire: (events: WireEvents) => Wire,
    pendingMemory: PendingMemory,
  ) {
    super(client, owner);
    this.#lent = owner.buffers.shared;
    this.pendingMemory = pendingMemory;
    this.pending = new PendingBytes(this);
    this.wire = makeWire(this);
    // From the accept of the connection, not from its first byte, to the first whole head (B13).
    this.armFromAccept(owner.plan.timeouts.headersMs);
  }

  /** onFirstByte is called when `received` becomes true. */
  protected abstract onFirstByte(): void;
  /** step handles the next head or piece of body in the bytes at…to-1. @returns the index after it; `at` or less: it must wait */
  protected abstract step(buffer: Buffer, at: number, to: number): number;
  protected abstract onInputEnd(): void;
  abstract onDrain(): void;
  abstract onBroken(error: Error): void;

  nextBuffer(): Buffer {
    this.#lent = this.body?.readBuffer ?? this.owner.buffers.shared;
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
      if (at < byteCount) pending.append(buffer, at, byteCount);
      this.#pace();
    }
    this.body?.afterRead(byteCount);
    this.owner.buffers.afterRead();
  }

  /** advancePending handles the pending bytes as far as the states allow, and sets the pace of the reading. */
  advancePending(): void {
    if (this.#advancing) return;
    const pending = this.pending;
    if (pending.length > 0 && !this.#yielding) {
      const { buffer, from, to } = pending;
      const at = this.#advance(buffer, from, to);
      // The connection may have died meanwhile, and dropped everything.
      if (pending.buffer === buffer) pending.consumeTo(at);
    }
    this.#pace();
  }

  /** Handles the bytes from…to-1 as far as the states allow. @returns the index after them */
  #advance(buffer: Buffer, from: number, to: number): number {
    this.#advancing = true;
    let at = from;
    while (at < to) {
      const next = this.step(buffer, at, to);
      if (next <= at) break;
      at = next;
    }
    this.heads.forget();
    this.restBytes = to - at;
    this.#advancing = false;
    return at;
  }

  /** takeTurn tells whether one more request may be read in this turn of the event loop; else the next turn reads it. */
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

  /** Stops or resumes reading, as the client is too far ahead or not; before that, cuts clients where too much waits in the worker. */
  #pace(): void {
    if (this.#advancing) return;
    this.pendingMemory.cutExcess(this.owner);
    if (this.wire.closed) return;
    const isAhead = this.pending.length >= AHEAD_MAX_BYTES || this.body?.paused === true;
    this.#setPaused(isAhead && (this.current !== null || this.#yielding));
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

  /** A reset or a FIN must end the request at once (B28), but a wire that is not read tells of neither. */
  protected watchForEnd(): void {
    if (this.#paused && this.current !== null) this.arm(0);
  }

  protected lookForEnd(): void {
    if (!this.#paused) return;
    // Bytes that wait to leave tell of a reset by themselves.
    if (!this.wire.blocked) this.wire.probe();
    const mayReadOn =
      this.body?.paused !== true &&
      this.pending.length < LOOK_AHEAD_MAX_BYTES &&
      this.pendingMemory.bytes < PENDING_MAX_BYTES / 2;
    // The next read pauses again.
    if (mayReadOn) this.#setPaused(false);
    else this.watchForEnd();
  }

  onWriteError(error: Error): void {
    this.onBroken(error);
  }

  onEnd(): void {
    if (this.#yielding) this.endWaits = true;
    else this.onInputEnd();
  }
}
